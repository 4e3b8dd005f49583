"""ContentKNN: an item is recommended for the items that a user had and whose content is like its own.

    x_i = [sqrt(a_1) u(x_i^1 - c^1); ...; sqrt(a_M) u(x_i^M - c^M)]       u: length 1; c^m: mean of the trained items
    s_ij = cos(x_i, x_j), above 0       s_ii = 0; the k largest of each row i are kept, the others become 0
    score(u, i) = sum over the items j of u of s_ij, with s from row i

For two items that have all content, s_ij is the mean of their cosines over modalities, weighted by a_m. What an item
lacks counts as nothing in the product and in its length, so that items are compared by what they have; an item without
any content has no neighbours and is nobody's. An item needs no train row: what people had of its kind is enough.

The measure of what content knows by itself, and the line that every multimodal model should stay above. Features are
centred, because raw vectors of an encoder all point one way: their mean pairwise cosine is .97 (sound of lfm2k).

Lops, de Gemmis, Semeraro: Content-based Recommender Systems: State of the Art and Trends. Recommender Systems Handbook
2011.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sensorium.core.errors import ConfigError
from sensorium.data.dataset import Features
from sensorium.data.features import huge_rows
from sensorium.data.view import TrainView
from sensorium.nn.item_graphs import item_neighbours
from sensorium.recommenders.base import ModelInfo, Recommender
from sensorium.recommenders.collaborative.content import choose_features
from sensorium.recommenders.collaborative.neighbours import NeighbourRecommender, Neighbours

ON_THE_CENTER = 1e-6
"""A vector that differs from the center by less than this share of its length points nowhere."""


class ContentKNN(NeighbourRecommender):
    """Nearest neighbours of items by their content. Complete once built."""

    info = ModelInfo(
        summary="items whose content is like what the user had",
        citation="Lops, de Gemmis, Semeraro: Content-based Recommender Systems: State of the Art and Trends. "
        "Recommender Systems Handbook, 2011",
        features="required",
        trained=False,
    )

    class Config(Recommender.Config):
        """The keys of ContentKNN."""

        k: int = Field(10, ge=1, description="neighbours kept for each item")
        features: list[str] | None = Field(None, description="features that are read; null = all of the data set")
        modality_weights: dict[str, float] = Field(
            default_factory=dict, description="weight of each modality; empty = the same for all"
        )
        center: bool = Field(True, description="subtract the mean of the trained items from every vector")

    config: Config

    def __init__(self, view: TrainView, config: Config) -> None:
        chosen = choose_features(view, config.features, model="contentknn")
        weights = _weights(config.modality_weights, list(chosen))
        trained = view.item_count > 0
        parts = [_directions(chosen[name], trained, config.center) * np.sqrt(weights[name]) for name in chosen]
        x = np.concatenate(parts, axis=1).astype(np.float32)
        present = np.asarray(x.any(axis=1))
        found = item_neighbours(x, present, config.k + 1, center=None, order=view.item_order)
        super().__init__(view, config, _without_itself(found.item, found.cosine))


def _weights(given: Mapping[str, float], names: list[str]) -> Mapping[str, float]:
    """Return the weight of each modality, of sum 1.

    Raises:
        ConfigError: The names are not those of the features that are read, or a weight is not above 0.
    """
    if given and given.keys() != set(names):
        raise ConfigError(
            f"model.modality_weights names {', '.join(given)} and the model reads {', '.join(names)}: "
            "give a weight for each of them, or none at all"
        )
    if any(not 0 < weight < float("inf") for weight in given.values()):
        raise ConfigError(
            "model.modality_weights must be above 0: leave a modality that should not count out of features"
        )
    total = sum(given.values()) if given else len(names)
    return {name: given.get(name, 1.0) / total for name in names}


def _directions(features: Features, trained: npt.NDArray[np.bool_], center: bool) -> npt.NDArray[np.float64]:
    """Return one modality's vectors with length 1, [I, d]; 0 for an item without content, or with that of the mean.

    Rows that dwarf the others (`data.features.huge_rows`) are no part of the mean.
    """
    x, present = features
    result = np.zeros(x.shape)
    held = x[present].astype(np.float64)
    among = trained & present
    measured = held[(among & ~huge_rows(x, among))[present]]
    moved = held - measured.mean(0) if center and len(measured) else held
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    points = length > ON_THE_CENTER * np.linalg.norm(held, axis=1, keepdims=True)
    result[present] = np.where(points, moved / np.where(points, length, 1), 0)
    return result


def _without_itself(item: npt.NDArray[np.int32], cosine: npt.NDArray[np.float32]) -> Neighbours:
    """Return a table of nearest items [I, k + 1], each row's own first, as a sparse matrix without the own ones."""
    item, cosine = item[:, 1:], cosine[:, 1:]
    kept = (item >= 0) & (cosine > 0)
    offset = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept.sum(1))])
    return Neighbours(offset, item[kept], cosine[kept])
