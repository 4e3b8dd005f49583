"""Towers of stored features: e_i = W (f_i - mu) / sigma + b, alone or beside an id's own vector.

mu [D] is the mean and sigma one number, the root of the mean square around it, both over items that training shows and
that have content. An item without content is 0 after that: its vector is b. The features themselves are not trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sensorium.data.dataset import Features
from sensorium.nn.tokens import PADDING
from sensorium.recommenders.towers.base import Draw, Tower, projection
from sensorium.recommenders.towers.id import IDTower


class FeatureTower(Tower):
    """A linear layer over standardised features; several features are concatenated."""

    table: Tensor

    def __init__(
        self, features: Sequence[Features], shown: npt.NDArray[np.bool_], width: int, draw: Draw, name: str = "features"
    ) -> None:
        """Standardise the features.

        Args:
            features: (x [I, D], present bool [I]) each, at least one.
            shown: bool [I], items that training shows.
            width: d.
            draw: Of the first values.
            name: Of this tower among others, for the draw.
        """
        super().__init__()
        self.width = width
        standardised = np.concatenate([centred(x, present, shown) for x, present in features], axis=1)
        table = np.concatenate([np.zeros((1, standardised.shape[1]), np.float32), standardised])
        self.register_buffer("table", torch.from_numpy(table), persistent=False)
        self.linear = projection(standardised.shape[1], width, draw(f"tower.{name}"))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the vectors of tokens int64 [n]: float32 [n, d]."""
        vectors: Tensor = self.linear(self.table[tokens])
        return vectors * (tokens != PADDING).unsqueeze(-1)


class IDPlusTower(Tower):
    """e_i = W_id[i] + W (f_i - mu) / sigma + b."""

    def __init__(self, own: IDTower, content: Tower) -> None:
        super().__init__()
        self.width = own.width
        self.own, self.content, self.costly = own, content, content.costly

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the sums of tokens int64 [n]: float32 [n, d]."""
        summed: Tensor = self.own(tokens) + self.content(tokens)
        return summed


class FusionTower(Tower):
    """e_i = W2 W1 [e^1; e^2; ...] over one tower for each modality: W1 [d, m d], W2 [d, d]."""

    def __init__(self, towers: Sequence[Tower], draw: Draw) -> None:
        super().__init__()
        self.width = towers[0].width
        self.towers, self.costly = nn.ModuleList(towers), any(tower.costly for tower in towers)
        self.mix = projection(sum(tower.width for tower in towers), self.width, draw("tower.mix"))
        self.out = projection(self.width, self.width, draw("tower.out"))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the mixed vectors of tokens int64 [n]: float32 [n, d]."""
        vectors: Tensor = self.out(self.mix(torch.cat([tower(tokens) for tower in self.towers], dim=-1)))
        return vectors * (tokens != PADDING).unsqueeze(-1)


def centred(
    x: npt.NDArray[np.floating], present: npt.NDArray[np.bool_], shown: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Return (x - mu) / sigma with one sigma for all columns: float32 [I, D], 0 where an item has no content."""
    measured = x[present & shown].astype(np.float64)
    mean = measured.mean(axis=0) if len(measured) else np.zeros(x.shape[1])
    sigma = float(np.sqrt(((measured - mean) ** 2).mean())) if len(measured) else 1.0
    found = np.zeros(x.shape, dtype=np.float32)
    found[present] = (x[present] - mean) / (sigma or 1.0)
    return found
