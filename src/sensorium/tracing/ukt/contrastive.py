"""The contrastive term: the two views of a sequence are the nearest states of a batch.

Ours: states as [mean_t mu ; mean_t sd] over real rows, on the unit sphere; the logits of the 2B - 1 other states are
-||g_i - g_j||² / .1, the target is the other view of the same sequence. Nearer is larger.

`released` keeps what the released code does: similarities 1 / (1 + W2) at temperature 1, those across views with a
minus, states divided by the length with its padding. One step of it drives the two views of a sequence apart.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

TEMPERATURE = 0.1
RELEASED_WEIGHT = 0.02


def pooled(state: Tensor, sd: Tensor | None, mask: Tensor, *, padding: bool = False) -> Tensor:
    """Return the mean state and deviation of each sequence, float [B, 2 d] ([B, d] in a point model).

    Args:
        state: float [B, T, d].
        sd: float [B, T, d].
        mask: bool [B, T], real rows.
        padding: Divide by the length with its padding, and count the padding in, as released.
    """
    rows = state if sd is None else torch.cat([state, sd], dim=-1)
    if padding:
        return rows.mean(dim=1)
    kept = torch.where(mask[..., None], rows, torch.zeros_like(rows))
    return kept.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def contrastive_loss(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean cross-entropy of picking the other view, a scalar in nats; log(2B - 1) knows nothing.

    Args:
        a: float [B, n], pooled states of one view.
        b: float [B, n], of the other.
    """
    both = functional.normalize(torch.cat([a, b]), dim=-1)
    squared = (2 - 2 * both @ both.T).clamp(min=0)
    return _pick_partner(-squared / TEMPERATURE)


def released_loss(a: Tensor, b: Tensor) -> Tensor:
    """Return the released code's term for pooled states, float [B, n] each; a scalar in nats."""
    both = torch.cat([a, b])
    squared = (both[:, None, :] - both[None, :, :]).square().sum(-1)
    similarity = 1 / (1 + squared)
    view = torch.arange(2, device=a.device).repeat_interleave(len(a))
    across = view[:, None] != view[None, :]
    return _pick_partner(torch.where(across, -similarity, similarity))


def _pick_partner(logits: Tensor) -> Tensor:
    size = len(logits)
    itself = torch.eye(size, dtype=torch.bool, device=logits.device)
    partner = torch.arange(size, device=logits.device).roll(size // 2)
    return functional.cross_entropy(logits.masked_fill(itself, float("-inf")), partner)
