"""Losses of next-item prediction, all in float32, over states [R, d] that each predict one item: one value a state.

In-batch, with popularity taken out (code of MicroLens, arXiv 2309.15379): the items of the batch's windows are the
negatives of all states, each as often as it occurs; those of a state's own window are none of its negatives.

    z_c = <h, e_c> - alpha log p_c,   l = -z_t + log(exp z_t + sum over columns c outside the window exp z_c)

Columns of one item have one score, so that n_c of them are one column of z_c + log n_c: the same number and the same
gradient from a matrix of distinct items.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

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


def full_cross_entropy(states: Tensor, target: Tensor, vectors: Tensor, competing: Tensor, chunk: int = 256) -> Tensor:
    """Return the cross-entropy over the whole catalogue, float32 [R]; the scores of `chunk` states are held at once.

    Args:
        states: [R, d].
        target: int64 [R], item ids, all of which compete.
        vectors: [I, d].
        competing: bool [I].
        chunk: States at once: memory is chunk * I * 4 bytes, so that they stay in the processor's cache.
    """
    with torch.autocast(states.device.type, enabled=False):
        place = torch.cumsum(competing, 0) - 1
        lost: Tensor = _FullCrossEntropy.apply(  # type: ignore[no-untyped-call]
            states.float(), place[target], vectors.float()[competing], chunk
        )
        return lost


class _FullCrossEntropy(torch.autograd.Function):
    """The gradient of a chunk is taken while its scores are there, for losses that all weigh alike, as in a mean:
    dl/dh = p E - e_t and dl/dE = p^T h, p the softmax less 1 at the target. Other weights compute the scores again.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, target: Tensor, vectors: Tensor, chunk: int) -> Tensor:
        lost = states.new_empty(len(states))
        of_states, of_vectors = torch.empty_like(states), torch.zeros_like(vectors)
        for part in _chunks(len(states), chunk):
            scores = states[part] @ vectors.T
            right = scores.gather(1, target[part].unsqueeze(1))
            largest = scores.amax(1, keepdim=True)
            total = scores.sub_(largest).exp_().sum(1, keepdim=True)
            lost[part] = (total.log() + largest - right).squeeze(1)
            share = scores.div_(total).scatter_add_(1, target[part].unsqueeze(1), -torch.ones_like(right))
            torch.mm(share, vectors, out=of_states[part])
            of_vectors.addmm_(share.T, states[part])
        ctx.save_for_backward(states, target, vectors, of_states, of_vectors)
        ctx.chunk = chunk
        return lost

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor, None, Tensor, None]:
        states, target, vectors, of_states, of_vectors = ctx.saved_tensors
        if len(weight) and bool((weight == weight[0]).all()):
            return weight[0] * of_states, None, weight[0] * of_vectors, None
        again = torch.zeros_like(vectors)
        for part in _chunks(len(states), ctx.chunk):
            share = (states[part] @ vectors.T).softmax(1)
            share.scatter_add_(1, target[part].unsqueeze(1), share.new_full((len(share), 1), -1.0))
            again.addmm_(share.T, weight[part].unsqueeze(1) * states[part])
        return weight.unsqueeze(1) * of_states, None, again, None


def _chunks(rows: int, chunk: int) -> Iterator[slice]:
    return (slice(start, start + chunk) for start in range(0, rows, chunk))
