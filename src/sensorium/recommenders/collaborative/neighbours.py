"""Recommenders by a table of each item's neighbours: an item is worth what it resembles of what somebody had.

    score(u, i) = sum over the items j of u of s_ij, with s from row i

Scores are summed in float64 and rounded once, so that sums that are equal by the formula stay equal in whatever order
they are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from sensorium.data.view import TrainView
from sensorium.recommenders.base import Recommender, Versions, known_ids, versions
from sensorium.training.protocols import Phase


class Neighbours(NamedTuple):
    """The k most similar items of every item, as the rows of a sparse matrix: most similar first.

    Attributes:
        neighbour_offset: int64 [I + 1]; the neighbours of item i are the entries offset[i] to offset[i + 1] - 1.
        neighbour: int32 [entries].
        similarity: float32 [entries], above 0.
    """

    neighbour_offset: npt.NDArray[np.int64]
    neighbour: npt.NDArray[np.int32]
    similarity: npt.NDArray[np.float32]


class NeighbourRecommender(Recommender):
    """A recommender that is complete once its neighbours are known. A subclass gives them to the constructor."""

    # As in `Neighbours`.
    neighbour_offset: Tensor
    neighbour: Tensor
    similarity: Tensor

    def __init__(self, view: TrainView, config: Recommender.Config, found: Neighbours) -> None:
        super().__init__(view, config)
        self._interactions = view.matrix
        self._table: tuple[Versions, csr_matrix] | None = None
        for name, values in found._asdict().items():
            self.register_buffer(name, torch.from_numpy(values))

    def phases(self) -> list[Phase]:
        """Return nothing: there is nothing to train."""
        return []

    def score(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """Return scores float32 [n, I] of users int64 [n], or [n, m] for the items int64 [m].

        Raises:
            DataError: An id is not one of this model's users or items.
        """
        rows = known_ids(queries, self.n_users, "user").cpu().numpy()
        found = self._sum_similarities(self._interactions[rows])
        return found if items is None else found[:, known_ids(items, self.n_items, "item").to(found.device)]

    def score_history(self, histories: Sequence[Tensor]) -> Tensor:
        """Return scores float32 [n, I] for histories of item ids, each int64 [any length]; an item counts once.

        Raises:
            DataError: An id is not one of this model's items.
        """
        known = [np.unique(known_ids(history, self.n_items, "item").cpu().numpy()) for history in histories]
        items = np.concatenate([np.zeros(0, dtype=np.int64), *known])
        offsets = np.cumsum([0, *map(len, known)])
        return self._sum_similarities(csr_matrix((np.ones(len(items)), items, offsets), (len(known), self.n_items)))

    def _sum_similarities(self, had: csr_matrix) -> Tensor:
        """Return the items that were had [n, I] times the transposed similarities [I, I], dense."""
        sums = (had.astype(np.float64) @ self._similarity_to()).toarray()
        return torch.from_numpy(sums.astype(np.float32)).to(self.similarity.device)

    def _similarity_to(self) -> csr_matrix:
        """Return s transposed, float64: row j holds the items that have j among their neighbours. Remembered."""
        current = versions(self)
        if self._table is None or self._table[0] != current:
            parts = (self.similarity.double(), self.neighbour, self.neighbour_offset)
            table = csr_matrix(tuple(part.cpu().numpy() for part in parts), (self.n_items, self.n_items))
            self._table = current, table.T.tocsr()
        return self._table[1]
