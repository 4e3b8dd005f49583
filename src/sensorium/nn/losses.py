"""The losses and regularisers of the user–item family. Each returns one number.

B is the number of rows of a batch. Where a batch is divided over processes, each computes the loss of its rows, and the
mean over the processes is that of the whole batch (`across.py`). A batch's weights have mean 1 over all train rows, so
that a weighted sum is divided by B, not by the sum of the batch's weights.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sensorium.core.processes import current_slice
from sensorium.nn.across import mean_over_processes, rows_of_all


def bpr(positive: Tensor, negative: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the pairwise ranking loss (1/B) sum_b w_b softplus(-(s_b+ - s_b-)).

    Rendle, Freudenthaler, Gantner, Schmidt-Thieme: BPR: Bayesian Personalized Ranking from Implicit Feedback. UAI
    2009. In natural logarithms, and without an epsilon: softplus is finite everywhere.

    Args:
        positive: Scores of the positives [B].
        negative: Scores of the negatives [B] or [B, N]; the mean is taken over a row's N negatives.
        weight: [B], or None for 1 each.
    """
    if negative.ndim == 1:
        negative = negative.unsqueeze(1)
    return bpr_of_margins(positive.unsqueeze(1) - negative, weight)


def bpr_of_margins(margins: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return `bpr` of the differences between the positives' scores and those of their negatives, [B, N]."""
    rows = functional.softplus(-margins).mean(1)  # [B]
    return rows.mean() if weight is None else (weight * rows).mean()


def embedding_norm(*tensors: Tensor, batch: int, whole: bool = False) -> Tensor:
    """Return the sum of the tensors' Frobenius norms, not squared, divided by B = `batch` (`reg="emb_norm"`).

    As in the code that the published tables were made with: its weights do not compare with those of a squared L2.

    Args:
        tensors: Rows of a batch, or of the slice of it that this process has.
        batch: Their number, B.
        whole: The tensors are whole tables instead, the same in every process, and `batch` any divisor.
    """
    if whole or current_slice().rows is None:
        return torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors]).sum() / batch
    return norm_of_squares(torch.stack([tensor.square().sum() for tensor in tensors]), batch)


def norm_of_squares(squares: Tensor, batch: int) -> Tensor:
    """Return `embedding_norm` of tensors whose sums of squares are given, [n]; a norm of 0 has the gradient 0.

    The norm is one of the whole batch: sqrt(S) / B = sqrt(mean over processes of S_r / B_r, by their shares, / B).
    """
    rows = current_slice().rows or batch
    mean = mean_over_processes(squares / batch)
    return (mean / rows).clamp_min(torch.finfo(mean.dtype).tiny).sqrt().sum()


def l2(*tensors: Tensor, batch: int) -> Tensor:
    """Return half the sum of all squares of the tensors, divided by B = `batch` (`reg="l2"`)."""
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum() / (2 * batch)


def infonce(anchors: Tensor, others: Tensor, temperature: float) -> Tensor:
    """Return the contrastive loss in a batch: of all rows of `others`, row b is the right one for row b of `anchors`.

        mean_b -log( exp(cos(a_b, o_b) / t) / sum_c exp(cos(a_b, o_c) / t) )

    van den Oord, Li, Vinyals: Representation Learning with Contrastive Predictive Coding. 2018.

    Args:
        anchors: [B, d].
        others: [B, d].
        temperature: t, above 0.
    """
    candidates, first = rows_of_all(functional.normalize(others, dim=1))
    logits = functional.normalize(anchors, dim=1) @ candidates.T / temperature  # [B, B]
    return functional.cross_entropy(logits, torch.arange(first, first + len(logits), device=logits.device))
