"""What the losses without negatives of this family share: rows of a batch's pairs, damaged copies, weighted means."""

from __future__ import annotations

import torch
from torch import Tensor

from sensorium.data.batches import Batch
from sensorium.nn.across import dropout_of_batch


def gather_pairs(nodes: Tensor, n_users: int, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return a batch's rows of the vectors of all nodes [U + I, d]: of its users and of its positives, [B, d] each.

    One gather for both, as in `pairs`.
    """
    rows = nodes.index_select(0, torch.cat([batch.user, n_users + batch.pos]))
    user, item = torch.split(rows, len(batch))
    return user, item


def damaged(vectors: Tensor, dropout: float) -> Tensor:
    """Return a copy of a batch's rows that passes no gradient, by dropout: others grow by 1/(1 - it)."""
    return dropout_of_batch(vectors.detach(), dropout)


def weighted_mean(rows: Tensor, weight: Tensor | None) -> Tensor:
    """Return (1/B) sum_b w_b r_b of one number a row [B]; None weighs each by 1."""
    return rows.mean() if weight is None else (weight * rows).mean()
