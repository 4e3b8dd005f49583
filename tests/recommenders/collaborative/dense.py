"""Definitions written out with dense matrices in double precision, for models to be compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from sensorium.data.batches import Batch, PairBatches, Step
from sensorium.data.view import TrainView


def interactions(view: TrainView, weight: Tensor | None = None) -> Tensor:
    """R [U, I]."""
    matrix = torch.zeros(view.n_users, view.n_items, dtype=torch.float64)
    values = torch.ones(len(view.user)) if weight is None else weight
    matrix[torch.from_numpy(view.user), torch.from_numpy(view.item)] = values.double()
    return matrix


def adjacency(view: TrainView, weight: Tensor | None = None) -> Tensor:
    """Â [(U + I), (U + I)]."""
    had = interactions(view, weight)
    upper = torch.cat([torch.zeros(view.n_users, view.n_users, dtype=torch.float64), had], dim=1)
    lower = torch.cat([had.T, torch.zeros(view.n_items, view.n_items, dtype=torch.float64)], dim=1)
    matrix = torch.cat([upper, lower])
    scale = (matrix.sum(1) + 1e-7).rsqrt()
    return scale[:, None] * matrix * scale


def propagated(matrix: Tensor, embeddings: Tensor, layers: int) -> Tensor:
    """LGN: the mean of the embeddings and their propagations."""
    stack = [embeddings]
    for _ in range(layers):
        stack.append(matrix @ stack[-1])
    return torch.stack(stack).mean(0)


def content(view: TrainView) -> dict[str, Tensor]:
    """x^m [I, d_m]: standardised over items with the content and a train row, 0 without content."""
    result = {}
    for name, (x, present) in view.features.items():
        values, used = torch.from_numpy(x).double(), torch.from_numpy(present & (view.item_count > 0))
        scaled = (values - values[used].mean(0)) / values[used].std(0, unbiased=False)
        result[name] = torch.where(torch.from_numpy(present)[:, None], scaled, 0.0)
    return result


def unit(rows: Tensor) -> Tensor:
    """Rows of length 1; zeros stay."""
    return torch.stack([row / row.norm() if row.norm() > 0 else row for row in rows])


def first_batch(view: TrainView, size: int = 24, weight: Tensor | None = None) -> Batch:
    """The first batch of a pass, with the given weights of its rows [size]."""
    batch = PairBatches(view, batch_size=size).batch(Step(seed=0, phase="main", epoch=0, index=0))
    batch.weight = weight
    return batch


def alike_items(view: TrainView, k: int, weight: str) -> dict[str, Tensor]:
    """S_m [I, I] of each modality, centred, by a sort of all pairs; the seed's order decides between equals."""
    graphs = {}
    for name, (x, present) in view.features.items():
        held, used = torch.from_numpy(present), torch.from_numpy(present & (view.item_count > 0))
        values = torch.from_numpy(x).double()
        cosine = unit(values - values[used].mean(0)) @ unit(values - values[used].mean(0)).T
        weights = torch.eye(view.n_items, dtype=torch.float64)
        for i in torch.nonzero(held).flatten().tolist():
            others = [j for j in torch.nonzero(held).flatten().tolist() if j != i]
            others.sort(key=lambda j: (-cosine[i, j].item(), view.item_order[j]))
            for j in others[: k - 1]:
                weights[i, j] = 1.0 if weight == "binary" else cosine[i, j].clamp_min(0)
        graphs[name] = symmetrically(weights)
    return graphs


def symmetrically(weights: Tensor) -> Tensor:
    """w_ij / sqrt(r_i r_j) with r the row sums."""
    scale = weights.sum(1).rsqrt()
    return scale[:, None] * weights * scale
