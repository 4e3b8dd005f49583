"""The quantity-aware triplet loss of ContrastiveGaussian over distances to the photo.

With d_p of N_p positive and d_n of N_n negative views, w_p = log2(1 + N_p), w_n = log2(1 + N_n):

    both sets      mean over pairs of [w_p d_p - w_n d_n + m]_+
    no negatives   mean of [d_p - m]_+            released:  [w_p d_p + 0.2]_+
    no positives   mean of [m - d_n]_+            released:  [2500 - w_n d_n]_+
    released m     1450

Normalised weights are 2 w / (w_p + w_n): their mean is one, so that the margin keeps its meaning. Distances that are
remembered are constants: pairs of two of them are left out, and alone they make no loss.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from sensorium.lifting.contrastive.splitting import NEGATIVE, POSITIVE

BOTH_RELEASED, POSITIVES_RELEASED, NEGATIVES_RELEASED = 1450.0, 0.2, 2500.0


def qa_triplet(
    distances: Tensor,
    labels: Tensor,
    *,
    remembered: Tensor | None = None,
    remembered_labels: Tensor | None = None,
    quantity: Literal["normalised", "raw", "none"] = "normalised",
    margins: Literal["single", "released"] = "single",
    margin: float = 0.1,
    gradient: Literal["both", "positives"] = "both",
) -> Tensor:
    """Return the loss, a scalar; 0 where no view of the step is positive or negative.

    Args:
        distances: To the photo, of the step's views, [B].
        labels: 1 positive, -1 negative, 0 neither, [B].
        remembered: Distances of earlier views, [Q].
        remembered_labels: Theirs, [Q].
        quantity: Weights of the two sets.
        margins: One margin, or those of the released program.
        margin: The single one.
        gradient: Whether negatives are moved too.
    """
    known = distances.new_zeros(0) if remembered is None else remembered.detach().to(distances)
    known_labels = labels.new_zeros(0) if remembered_labels is None else remembered_labels.to(labels)
    every, every_label = torch.cat([distances, known]), torch.cat([labels, known_labels])
    fresh = torch.arange(len(every), device=every.device) < len(distances)
    near, far = every_label == POSITIVE, every_label == NEGATIVE
    w_near, w_far = _weights(int(near.sum()), int(far.sum()), quantity)
    d_near, d_far = every[near], every[far]
    if gradient == "positives":
        d_far = d_far.detach()
    fresh_near, fresh_far = fresh[near], fresh[far]
    if len(d_near) and len(d_far):
        m = BOTH_RELEASED if margins == "released" else margin
        hinge = (w_near * d_near[:, None] - w_far * d_far[None] + m).clamp_min(0)  # [N_p, N_n]
        return _mean(hinge, fresh_near[:, None] | fresh_far[None])
    if len(d_near):
        hinge = w_near * d_near + POSITIVES_RELEASED if margins == "released" else d_near - margin
        return _mean(hinge.clamp_min(0), fresh_near)
    hinge = NEGATIVES_RELEASED - w_far * d_far if margins == "released" else margin - d_far
    return _mean(hinge.clamp_min(0), fresh_far)


def _weights(positives: int, negatives: int, quantity: str) -> tuple[float, float]:
    if quantity == "none":
        return 1.0, 1.0
    w_near, w_far = math.log2(1 + positives), math.log2(1 + negatives)
    if quantity == "raw" or not w_near + w_far:
        return w_near, w_far
    return 2 * w_near / (w_near + w_far), 2 * w_far / (w_near + w_far)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean over what is chosen; 0, with a graph, over nothing."""
    count = int(chosen.sum())
    return (values * chosen).sum() / max(count, 1)
