"""ItemKNN: an item is recommended for the items that a user had and that many people had together with it.

Deshpande, Karypis: Item-Based Top-N Recommendation Algorithms. TOIS 2004; with a shrinkage:

    c_ij = |U_i ∩ U_j|                          users who had both
    s_ij = c_ij / (sqrt(n_i n_j) + shrink)      s_ii = 0; the k largest of each row i are kept, the others become 0
    score(u, i) = sum over the items j of u of s_ij, with s from row i

Counts are made for blocks of items by a sparse product (`overlaps`), so that neither a dense I x I nor a users x items
matrix exists. Equal similarities at the cut are chosen by the seeded permutation of the catalogue, never by id.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.sparse import csr_matrix

from sensorium.data.view import TrainView
from sensorium.recommenders.base import ModelInfo, Recommender
from sensorium.recommenders.collaborative.neighbours import NeighbourRecommender, Neighbours
from sensorium.recommenders.collaborative.overlaps import Floats, Integers, largest_overlaps


class ItemKNN(NeighbourRecommender):
    """Nearest neighbours of items by the users they share. Complete once built."""

    info = ModelInfo(
        summary="items that people had together with what the user had",
        citation="Deshpande, Karypis: Item-Based Top-N Recommendation Algorithms. ACM TOIS 22(1), 2004",
        trained=False,
    )

    class Config(Recommender.Config):
        """The keys of ItemKNN."""

        k: int = Field(200, ge=1, description="neighbours kept for each item")
        shrink: float = Field(0.0, ge=0, description="added to the denominator: similarities from few users count less")

    config: Config

    def __init__(self, view: TrainView, config: Config) -> None:
        found = nearest_neighbours(view.matrix, k=config.k, shrink=config.shrink, tie_order=view.item_order)
        super().__init__(view, config, found)


def nearest_neighbours(matrix: csr_matrix, *, k: int, shrink: float, tie_order: npt.NDArray[np.int64]) -> Neighbours:
    """Return each item's k most similar other items with a user in common; fewer where there are fewer.

    Args:
        matrix: float32 [U, I], 1 where a user had an item.
        k: Neighbours kept.
        shrink: Added to the denominator.
        tie_order: int64 [I], a permutation: of equally similar items the one with the smaller place is kept.
    """
    by_item = matrix.T.tocsr()  # [I, U]
    count = np.diff(by_item.indptr)  # n_i

    def similarity(common: Floats, item: Integers, other: Integers) -> Floats:
        similar: Floats = common / (np.sqrt(count[item].astype(np.float64) * count[other]) + shrink)
        return similar

    what = f"the neighbourhood of {matrix.shape[1]:,} items, {k} neighbours each,"
    return Neighbours(*largest_overlaps(by_item, k, tie_order=tie_order, what=what, value=similarity))
