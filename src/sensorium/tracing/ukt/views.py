"""The second view of a batch: blocks of answers that are predicted together, and histories with slips and guesses."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from sensorium.tracing.base import TracingBatch

Flip = Literal["symmetric", "slip", "guess"]
UNTOUCHED = 0.25  # share of sequences that keep their history


def random_blocks(mask: Tensor, size: int) -> Tensor:
    """Return the block of every position, int64 [B, T], cut at a random phase of its own in each sequence.

    Without the phase, position t mod size would always be the first of its block.
    """
    batch, length = mask.shape
    phase = torch.randint(size, (batch, 1), device=mask.device)
    return (torch.arange(length, device=mask.device) + phase) // size


def earlier_blocks(mask: Tensor, block: Tensor) -> Tensor:
    """Return which keys a query may see that knows nothing of its own block: bool [B, 1, T, T].

    Args:
        mask: bool [B, T], real rows.
        block: int64 [B, T], rising along a sequence.
    """
    return ((block[:, None, :] < block[:, :, None]) & mask[:, None, :])[:, None]


def flipped_history(response: Tensor, *, largest: float, flip: Flip) -> Tensor:
    """Return answers as a history with slips and guesses would have them, int64 [B, T].

    Each sequence draws a rate from U(0, largest), or 0 with probability .25; each of its answers flips at that rate.
    The targets of a loss stay what they were.

    Args:
        response: int64 [B, T] of 0 and 1.
        largest: The largest rate.
        flip: "slip" flips right answers only, "guess" wrong ones only.
    """
    if not largest:
        return response
    batch = len(response)
    rate = torch.rand(batch, 1, device=response.device) * largest
    rate = torch.where(torch.rand(batch, 1, device=response.device) < UNTOUCHED, torch.zeros_like(rate), rate)
    drawn = torch.rand(response.shape, device=response.device) < rate
    if flip != "symmetric":
        drawn &= response == (1 if flip == "slip" else 0)
    return torch.where(drawn, 1 - response, response)


def released_augmentation(response: Tensor, mask: Tensor) -> Tensor:
    """Return answers as the released code augments them: the first two flip where they equal the last; int64 [B, T]."""
    last = (mask.sum(dim=1) - 1).clamp(min=0)
    same = response == response.gather(1, last[:, None])
    early = torch.arange(response.shape[1], device=response.device) < 2
    return torch.where(same & early & mask, 1 - response, response)


def joint_loss(logit: Tensor, loading: Tensor | None, batch: TracingBatch, block: Tensor, draws: int) -> Tensor:
    """Return the mean joint negative log-likelihood of the answers of a block, per scored answer; a scalar in nats.

        L_J = -(1/n) sum_blocks log (1/K) sum_k prod_{t in block} p(r_t | m_t + a_t·eps_k)

    The K draws of eps are the same for all rows of a block and others for every other block and sequence.

    Args:
        logit: float [B, T], m, predicted from before the row's block.
        loading: float [B, T, d], a; None for a logit without noise.
        batch: Targets and scored rows.
        block: int64 [B, T].
        draws: K.
    """
    signs = (2 * batch.response.clamp(0, 1) - 1).to(logit.dtype)
    counted = batch.score_mask
    n = counted.sum().clamp(min=1)
    if loading is None:
        return -torch.where(counted, functional.logsigmoid(signs * logit), torch.zeros_like(logit)).sum() / n
    blocks = int(block[:, -1].max()) + 1
    eps = torch.randn(len(logit), blocks, draws, loading.shape[-1], device=logit.device, dtype=logit.dtype)
    rows = torch.arange(len(logit), device=logit.device)[:, None]
    noise = torch.einsum("btd,btkd->btk", loading, eps[rows, block])  # [B, T, K]
    each = functional.logsigmoid(signs[..., None] * (logit[..., None] + noise))
    each = torch.where(counted[..., None], each, torch.zeros_like(each))
    together = each.new_zeros(len(logit), blocks, draws)
    together = together.scatter_add(1, block[..., None].expand_as(each), each)  # sum over the rows of a block
    return -(torch.logsumexp(together, dim=-1) - math.log(draws)).sum() / n
