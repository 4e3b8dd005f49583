"""Losses of next-item prediction, all in float32, over states [R, d] that each predict one item: one value a state.

In-batch, with popularity taken out (code of MicroLens, arXiv 2309.15379): the items of the batch's windows are the
negatives of all states, each as often as it occurs; those of a state's own window are none of its negatives.

    z_c = <h, e_c> - alpha log p_c,   l = -z_t + log(exp z_t + sum over columns c outside the window exp z_c)

Columns of one item have one score, so that n_c of them are one column of z_c + log n_c: the same number and the same
gradient from a matrix of distinct items.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

MASKED = -1e4
"""The score of a column that is no negative."""


def in_batch_cross_entropy(
    states: Tensor, window: Tensor, target: Tensor, vectors: Tensor, count: Tensor, own: Tensor, log_p: Tensor
) -> Tensor:
    """Return the debiased in-batch cross-entropy of each state: float32 [R].

    Args:
        states: [R, d].
        window: int64 [R], the window of each state.
        target: int64 [R], which of the distinct items comes next.
        vectors: [u, d], the distinct items of the batch.
        count: [u], how often each occurs in the batch's windows.
        own: bool [B, u], which items each window holds.
        log_p: [u], alpha log p of the items.
    """
    with torch.autocast(states.device.type, enabled=False):
        states, vectors = states.float(), vectors.float()
        scores = states @ vectors.T - log_p
        right = scores.gather(1, target.unsqueeze(1)).squeeze(1)
        others = (scores + count.float().log()).masked_fill(own[window], MASKED)
        return torch.logaddexp(others.logsumexp(1), right) - right


def sampled_cross_entropy(states: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Return softplus(-h e+) + mean over N of softplus(h e-): float32 [R].

    Args:
        states: [R, d].
        positive: [R, d].
        negative: [R, N, d].
    """
    with torch.autocast(states.device.type, enabled=False):
        states, positive, negative = states.float(), positive.float(), negative.float()
        right = (states * positive).sum(-1)
        wrong = (states.unsqueeze(1) * negative).sum(-1)
        return functional.softplus(-right) + functional.softplus(wrong).mean(-1)


def full_cross_entropy(states: Tensor, target: Tensor, vectors: Tensor, competing: Tensor, chunk: int = 1024) -> Tensor:
    """Return the cross-entropy over the whole catalogue, float32 [R]; the scores of `chunk` states are held at once.

    They are computed again for the gradient, which is exact.

    Args:
        states: [R, d].
        target: int64 [R], item ids, all of which compete.
        vectors: [I, d].
        competing: bool [I].
        chunk: States at once: memory is chunk * I * 4 bytes, a few times over.
    """
    with torch.autocast(states.device.type, enabled=False):
        states, vectors = states.float(), vectors.float()
        lost = []
        for start in range(0, len(states), chunk):
            part = slice(start, start + chunk)
            lost.append(
                checkpoint(
                    _of_all, states[part], target[part], vectors, ~competing, use_reentrant=False,
                    preserve_rng_state=False,
                )
            )  # fmt: skip
        return torch.cat(lost)


def _of_all(states: Tensor, target: Tensor, vectors: Tensor, absent: Tensor) -> Tensor:
    scores = (states @ vectors.T).masked_fill(absent, -torch.inf)
    return functional.cross_entropy(scores, target, reduction="none")
