"""What rows of a sparse matrix have in common, the largest for each row: c_ij = sum_a M_ia M_ja, without a dense c.

Counts are made for blocks of rows by a sparse product. Equal values at the cut are chosen by a seeded permutation of
the rows, never by id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from sensorium.core.resources import require_memory

Integers = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.floating[Any]]

BLOCK_COUNTS = 1 << 23  # common counts held at once, at most
BYTES_PER_COUNT = 80  # with all that is made of a block on the way
BYTES_PER_ENTRY = 32  # of a kept value: as it is stored, and transposed in float64 for the scores
_LARGEST = (1 << 31) - 1


class Overlaps(NamedTuple):
    """The k largest overlaps of every row, as the rows of a sparse matrix: largest first.

    Attributes:
        offset: int64 [n + 1]; those of row i are the entries offset[i] to offset[i + 1] - 1.
        other: int32 [entries], the other row.
        value: float32 [entries], above 0.
    """

    offset: npt.NDArray[np.int64]
    other: npt.NDArray[np.int32]
    value: npt.NDArray[np.float32]


def largest_overlaps(
    matrix: csr_matrix,
    k: int,
    *,
    tie_order: npt.NDArray[np.int64],
    what: str,
    value: Callable[[Floats, Integers, Integers], Floats] = lambda common, row, other: common,
) -> Overlaps:
    """Return each row's k largest overlaps with other rows; fewer where there are fewer, none that is 0.

    Args:
        matrix: float [n, m], no value below 0.
        k: How many are kept.
        tie_order: int64 [n], a permutation: of equal ones that with the smaller place is kept.
        what: For the message when there is no memory for it, as the subject of a sentence.
        value: From common counts c_ij, i and j, each [entries], to what is compared and kept; c_ij itself by default.

    Raises:
        ResourceError: The overlaps do not fit the memory that is free.
    """
    n_rows = matrix.shape[0]
    matrix = csr_matrix(matrix, copy=True)
    matrix.eliminate_zeros()
    transposed = matrix.T.tocsr()  # [m, n]
    row_at = np.argsort(tie_order).astype(np.int32)
    # Every column of a row brings at most all the rows of that column; there are never more than n.
    ones = csr_matrix((np.ones(matrix.nnz), matrix.indices, matrix.indptr), matrix.shape)
    bound = np.minimum(ones @ np.diff(transposed.indptr), n_rows)
    require_memory(
        int(BYTES_PER_ENTRY * np.minimum(bound, k).sum()) + BYTES_PER_COUNT * min(BLOCK_COUNTS, int(bound.sum())), what
    )
    sizes, others, values = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    for start, stop in _blocks(bound):
        common = (matrix[start:stop] @ transposed).tocoo()  # c_ij [block, n]
        distinct = common.row + start != common.col
        row, other = common.row[distinct], common.col[distinct]
        worth = value(common.data[distinct], row + start, other).astype(np.float32)
        kept, place, largest = _largest_of_rows(row, tie_order[other], worth, n_rows=stop - start, n_places=n_rows, k=k)
        sizes.append(kept)
        others.append(row_at[place])
        values.append(largest)
    return Overlaps(np.cumsum(np.concatenate(sizes)), np.concatenate(others), np.concatenate(values))


def _blocks(bound: npt.NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Cut the rows into blocks of at most `BLOCK_COUNTS` common counts; yield first and last (excluded) rows.

    Args:
        bound: [n], the largest number of rows with which each row can have anything in common.
    """
    n_rows = len(bound)
    most_rows = 1 << (32 - n_rows.bit_length())  # what `_largest_of_rows` has bits for
    counts = np.cumsum(bound)
    start = 0
    while start < n_rows:
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
