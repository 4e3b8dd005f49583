"""ItemKNN: an item is recommended for the items that a user had and that many people had together with it.

Deshpande, Karypis: Item-Based Top-N Recommendation Algorithms. TOIS 2004; with a shrinkage:

    c_ij = |U_i ∩ U_j|                          users who had both
    s_ij = c_ij / (sqrt(n_i n_j) + shrink)      s_ii = 0; the k largest of each row i are kept, the others become 0
    score(u, i) = sum over the items j of u of s_ij, with s from row i

Counts are made for blocks of items by a sparse product, so that neither a dense I x I nor a users x items matrix
exists. Equal similarities at the cut are chosen by the seeded permutation of the catalogue, never by id. Scores are
summed in float64 and rounded once, so that sums that are equal by the formula stay equal in whatever order they are
made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy.sparse import csr_matrix
from torch import Tensor

from sensorium.core.resources import require_memory
from sensorium.core.seeds import catalogue_order
from sensorium.data.view import TrainView
from sensorium.recommenders.base import ModelInfo, Recommender, Versions, known_ids, versions
from sensorium.training.protocols import Phase

BLOCK_COUNTS = 1 << 23  # co-counts held at once, at most
BYTES_PER_COUNT = 80  # with all that is made of a block on the way
BYTES_PER_ENTRY = 32  # of a kept similarity: as it is stored, and transposed in float64 for the scores
_LARGEST = (1 << 31) - 1


class ItemKNN(Recommender):
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
    # The neighbours of item i are the entries offset[i] to offset[i + 1] - 1, most similar first.
    neighbour_offset: Tensor  # int64 [I + 1]
    neighbour: Tensor  # int32 [entries]
    similarity: Tensor  # float32 [entries]

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config)
        self._interactions = view.matrix
        self._table: tuple[Versions, csr_matrix] | None = None
        order = catalogue_order(view.n_items, view.seed)
        found = nearest_neighbours(view.matrix, k=config.k, shrink=config.shrink, tie_order=order)
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


def nearest_neighbours(matrix: csr_matrix, *, k: int, shrink: float, tie_order: npt.NDArray[np.int64]) -> Neighbours:
    """Return each item's k most similar other items with a user in common; fewer where there are fewer.

    Args:
        matrix: float32 [U, I], 1 where a user had an item.
        k: Neighbours kept.
        shrink: Added to the denominator.
        tie_order: int64 [I], a permutation: of equally similar items the one with the smaller place is kept.
    """
    n_items = matrix.shape[1]
    by_item = matrix.T.tocsr()  # [I, U]
    count = np.diff(by_item.indptr)  # n_i
    item_at = np.argsort(tie_order).astype(np.int32)
    # Every user of an item brings at most all the user's items; there are never more than I.
    bound = np.minimum(by_item @ np.diff(matrix.indptr), n_items)
    require_memory(
        int(BYTES_PER_ENTRY * np.minimum(bound, k).sum()) + BYTES_PER_COUNT * min(BLOCK_COUNTS, int(bound.sum())),
        f"the neighbourhood of {n_items:,} items, {k} neighbours each,",
    )
    sizes, neighbours, similarities = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    for start, stop in _blocks(bound):
        common = (by_item[start:stop] @ matrix).tocoo()  # c_ij [block, I]
        other = common.row + start != common.col
        row, item = common.row[other], common.col[other]
        similarity = common.data[other] / (np.sqrt(count[row + start].astype(np.float64) * count[item]) + shrink)
        kept, place, value = _largest_of_rows(
            row, tie_order[item], similarity.astype(np.float32), n_rows=stop - start, n_places=n_items, k=k
        )
        sizes.append(kept)
        neighbours.append(item_at[place])
        similarities.append(value)
    return Neighbours(np.cumsum(np.concatenate(sizes)), np.concatenate(neighbours), np.concatenate(similarities))


def _blocks(bound: npt.NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Cut the items into blocks of at most `BLOCK_COUNTS` co-counts; yield first and last (excluded) items.

    Args:
        bound: [I], the largest number of items with which each item can have users in common.
    """
    n_items = len(bound)
    most_rows = 1 << (32 - n_items.bit_length())  # what `_largest_of_rows` has bits for
    counts = np.cumsum(bound)
    start = 0
    while start < n_items:
        limit = BLOCK_COUNTS + (counts[start - 1] if start else 0)
        stop = min(max(int(np.searchsorted(counts, limit, side="right")), start + 1), start + most_rows)
        yield start, stop
        start = stop


def _largest_of_rows(
    row: npt.NDArray[np.int32],
    place: npt.NDArray[np.int64],
    value: npt.NDArray[np.float32],
    *,
    n_rows: int,
    n_places: int,
    k: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Choose the k largest values of each row, of equal ones those with the smaller place.

    Returns:
        How many were chosen of each row, and their places and values, row after row, largest first.

    Row, value and place of an entry are packed into one int64 whose order is the order wanted: sorting plain numbers is
    many times faster than sorting by three keys. The bits of positive float32 compare as the numbers do.
    """
    place_bits = n_places.bit_length()
    descending = _LARGEST - value.view(np.int32).astype(np.int64)
    keys = np.sort(((row.astype(np.int64) << 31 | descending) << place_bits) | place)
    sizes = np.bincount(row, minlength=n_rows)
    rank = np.arange(len(keys)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    keys = keys[rank < k]
    values = (_LARGEST - (keys >> place_bits & _LARGEST)).astype(np.int32).view(np.float32)
    return np.minimum(sizes, k), keys & ((1 << place_bits) - 1), values
