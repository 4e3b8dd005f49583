"""The weights that the released code of GUIDER computes, to compare with: `legacy_weights`.

One number for each item, the distance between its first two modalities under two projections that are never trained,
scaled to [0, 1] within the batch. Rows above .7, the doubtful ones, keep the weight 1; the others get the share of
equal signs of two random projections, about one half. So a row that looks clean counts less than one that does not.

This follows a description of that code's behaviour, not its text.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.recommenders.base import Recommender
from sensorium.recommenders.collaborative.content import choose_features

CUT = 0.7
WIDTH = 64


class LegacyWeights(nn.Module):
    """Weights of the rows of a batch.

    Args:
        model: Whose generators give the projections.
        view: With at least one modality; with one alone every row counts the same.
        names: The modalities that are read; None takes all.
    """

    distance: Tensor
    agreeing: Tensor
    both: Tensor

    def __init__(self, model: Recommender, view: TrainView, names: list[str] | None) -> None:
        super().__init__()
        chosen = list(choose_features(view, names, model="guider").items())[:2]
        projected, both = [], torch.ones(view.n_items, dtype=torch.bool)
        with torch.no_grad():
            for name, (x, present) in chosen:
                mask = torch.from_numpy(present)
                values = torch.where(mask[:, None], torch.from_numpy(x), 0.0)
                layer = model.linear(f"legacy {name}", x.shape[1], WIDTH, bias=False)
                projected.append(nn.functional.normalize(layer(values), dim=1))
                both &= mask
        several = len(projected) > 1
        one, other = projected[0], projected[-1]
        distance = (one - other).norm(dim=1) if several else torch.zeros(view.n_items)
        agreeing = (one.sign() == other.sign()).float().mean(1) if several else torch.ones(view.n_items)
        self.register_buffer("distance", torch.where(both, distance, 0.0), persistent=False)
        self.register_buffer("both", both, persistent=False)
        self.register_buffer("agreeing", torch.where(both, agreeing, 1.0), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Return the weights of the rows, float32 [B]; 1 where the item lacks one of the two."""
        distance, both = self.distance[batch.pos], self.both[batch.pos]
        if not both.any():
            return torch.ones_like(distance)
        low, high = distance[both].min(), distance[both].max()
        scaled = (distance - low) / (high - low).clamp_min(1e-12)
        return torch.where(both & (scaled <= CUT), self.agreeing[batch.pos], torch.ones_like(scaled))
