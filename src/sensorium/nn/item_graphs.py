"""Graphs between items whose content is alike: each item's k nearest by cosine, found in blocks, kept on disk.

    N(i) = i itself and the k - 1 other items of the largest cos(x_i, x_j)        x centred by a mean, or raw
    w_ij = 1 ("binary") or max(cos(x_i, x_j), 0) ("cosine") for j in N(i), else 0
    S_ij = w_ij / sqrt(r_i r_j),  r_i = sum_j w_ij                                 of the directed graph

Zhang et al.: Mining Latent Structures for Multimedia Recommendation. MM 2021 (equations 1 to 4). S is not symmetric:
an item can be near another that has nearer ones. An item without content has itself alone, and is nobody's neighbour;
whatever stands in its row of x is never read. Items that are equally near at the cut are taken by the seeded order of
the catalogue, never by id; "equally" allows for the rounding of a product in single precision.

No items x items matrix exists at any time: a block of rows is multiplied with all items, and each row is thinned out
to the groups of columns with the largest maxima before it is searched. One core of a shared AMD EPYC finds the
neighbours of 15,000 rows a second among 20,000 items of 64 dimensions, and of 3,800 among 100,000: most of it is the
product.
"""

from __future__ import annotations

import logging
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.core.files import digest, read_safetensors, write_safetensors
from sensorium.core.home import cache_home
from sensorium.core.progress import Progress

logger = logging.getLogger(__name__)

Weight = Literal["binary", "cosine"]

EQUAL = 1e-6
"""Cosines that differ by less are equal: the rounding of float32 products of unit vectors."""

ROWS = 1024  # of a block, at most
BLOCK_VALUES = 1 << 25  # cosines held at once, at most: 128 MiB
GROUP_WIDTH = 16  # columns whose maximum is looked at first
WHOLE_ROWS = 32  # rows with equal cosines at the cut that are searched whole at once
ROWS_IN_DOUBLE = 65_536  # rows normalised at once
WORTH_KEEPING = 1 << 31  # multiplications of a search that takes longer than reading its result from the disk
FORMAT = 1  # of the files in the cache


class Neighbours(NamedTuple):
    """The k nearest items of every item: itself first, then by falling cosine.

    Attributes:
        item: int32 [I, k]; -1 where an item has fewer.
        cosine: float32 [I, k], 1 for the item itself; 0 where there is no neighbour.
    """

    item: npt.NDArray[np.int32]
    cosine: npt.NDArray[np.float32]


def knn_graph(
    x: npt.NDArray[np.floating[Any]],
    present: npt.NDArray[np.bool_],
    k: int,
    weight: Weight,
    *,
    center: npt.NDArray[np.floating[Any]] | None,
    order: npt.NDArray[np.int64],
) -> csr_matrix:
    """Return S [I, I], float32, of the items' content. `nn.sparse.from_scipy` makes it a matrix to multiply with.

    Args:
        x: [I, d], the vectors of one modality.
        present: bool [I], which items have one.
        k: Neighbours of an item, itself included.
        weight: "binary" or "cosine".
        center: [d], subtracted from every vector first; None takes the vectors as they are.
        order: int64 [I], place of each item among equals (`TrainView.item_order`): the smaller one is taken.
    """
    return normalised(item_neighbours(x, present, k, center=center, order=order), weight)


def normalised(neighbours: Neighbours, weight: Weight) -> csr_matrix:
    """Return S [I, I], float32, of a table of neighbours."""
    held = neighbours.item >= 0
    values = np.where(held, 1.0 if weight == "binary" else neighbours.cosine.clip(0).astype(np.float64), 0.0)
    root = np.sqrt(values.sum(1))
    n_items = len(root)
    row, column = np.nonzero(held)[0], neighbours.item[held]
    data = (values[held] / (root[row] * root[column])).astype(np.float32)
    graph = csr_matrix((data, (row, column)), (n_items, n_items))
    graph.eliminate_zeros()
    return graph


def item_neighbours(
    x: npt.NDArray[np.floating[Any]],
    present: npt.NDArray[np.bool_],
    k: int,
    *,
    center: npt.NDArray[np.floating[Any]] | None,
    order: npt.NDArray[np.int64],
) -> Neighbours:
    """Return each item's nearest by content, from the cache where they stand there; the arguments of `knn_graph`.

    A table is kept under a hash of all that it depends on, in `cache_home()/item-graphs`. The weights of the edges are
    made from it, so that both kinds share one file. A file that cannot be read, or does not hold what was written, is
    made anew.

    Raises:
        ValueError: The lengths differ, or k is less than 1.
    """
    n_items, width = x.shape
    if not n_items == len(present) == len(order) or (center is not None and len(center) != width):
        raise ValueError(
            f"vectors {list(x.shape)}, {len(present)} marks of content, {len(order)} places and a center of "
            f"{'no' if center is None else len(center)} numbers do not belong together"
        )
    if k < 1:
        raise ValueError(f"an item has itself as a neighbour, so k must be at least 1, not {k}")
    by_place = np.argsort(order)
    having = by_place[present[by_place]]
    if len(having) ** 2 * width < WORTH_KEEPING:
        return _search(x, having, k, center)
    key = digest("item graph", FORMAT, n_items, x[having], having, k, center)
    path = cache_home() / "item-graphs" / f"{key}.safetensors"
    if path.exists():
        try:
            return _read(path.as_posix(), n_items, k)
        except DataError as error:
            logger.warning("the cached item graph is made anew: %s", error)
    found = _search(x, having, k, center)
    try:
        tensors = {name: torch.from_numpy(values) for name, values in found._asdict().items()}
        write_safetensors(path, {**tensors, "check": _check(found)})
    except (DataError, OSError) as error:  # the cache saves time; a run does without it
        logger.warning("the item graph is not kept for the next run: %s", error)
    return found


def nearest(unit: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return each row's nearest rows by dot product, itself first: int64 [n, min(k, n)] and float32 of that shape.

    Exact, on the vectors' device, without gradients. Rows that are equally near at the cut are taken in the order in
    which they stand.

    Args:
        unit: float32 [n, d], rows of length 1.
        k: Rows to find for each, itself included.
    """
    unit = unit.detach()
    n = len(unit)
    taken, groups = min(k, n), -(-n // GROUP_WIDTH)
    columns = torch.empty(n, taken, dtype=torch.int64, device=unit.device)
    cosines = unit.new_empty(n, taken)
    rows = max(1, min(ROWS, BLOCK_VALUES // max(n, 1)))
    buffer = unit.new_full((rows, groups * GROUP_WIDTH), float("-inf"))  # the last columns stay -inf
    with Progress(n, "item graph", unit="items") as bar:
        for start in range(0, n, rows):
            block = buffer[: min(rows, n - start)]
            torch.mm(unit[start : start + rows], unit.T, out=block[:, :n])
            own = torch.arange(len(block), device=unit.device)
            block[own, start + own] = float("inf")
            part = slice(start, start + len(block))
            columns[part], cosines[part] = _first(block, taken, n)
            bar.advance(len(block))
    cosines[:, :1] = 1.0
    return columns, cosines


def _first(block: Tensor, k: int, n: int) -> tuple[Tensor, Tensor]:
    """Return columns and values of the k largest of each row, largest first.

    The k + 1 largest values lie in the k + 1 groups of the largest maxima. Where the k-th is greater than the next one,
    the k columns are certain; the other rows are searched whole, and the first columns that reach the cut are taken.

    Args:
        block: [b, width], of which the first n columns count and the rest is -inf; the width is whole groups.
        k: At most n.
        n: How many columns count.
    """
    wanted = min(k + 1, n)
    groups = block.shape[1] // GROUP_WIDTH
    if groups > 2 * wanted:  # group g holds the columns g, g + groups, ...: maxima of whole slices of a row
        grouped = block.view(len(block), GROUP_WIDTH, groups)
        chosen = grouped.amax(dim=1).topk(wanted, dim=1, sorted=False).indices  # [b, k + 1]
        offsets = torch.arange(GROUP_WIDTH, device=block.device) * groups
        candidates = (chosen.unsqueeze(2) + offsets).flatten(1)  # [b, (k + 1) * GROUP_WIDTH]
        values, place = block.gather(1, candidates).topk(wanted, dim=1)
        columns = candidates.gather(1, place)
    else:
        values, columns = block.topk(wanted, dim=1)
    if wanted > k:
        tied = torch.nonzero(values[:, k - 1] - values[:, k] <= EQUAL).squeeze(1)
        values, columns = values[:, :k], columns[:, :k]
        for rows in torch.split(tied, WHOLE_ROWS):
            columns[rows], values[rows] = _with_ties(block[rows, :n], values[rows, -1:], k)
    return columns, values


def _with_ties(rows: Tensor, cut: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return all columns above the cut [b, 1], and the first ones that reach it: columns and values [b, k]."""
    n = rows.shape[1]
    number = torch.arange(n, dtype=torch.int32, device=rows.device)
    above = rows > cut + EQUAL
    equal = ~above & (cut - rows <= EQUAL)  # whatever reaches the cut is one or the other, however the sum is rounded
    key = torch.where(above, number - n, torch.where(equal, number, 2 * n))
    taken = key.topk(k, dim=1, largest=False).values
    columns = torch.where(taken < 0, taken + n, taken).long()
    values, by_value = rows.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return columns.gather(1, by_value), values


def _search(
    x: npt.NDArray[np.floating[Any]],
    having: npt.NDArray[np.int64],
    k: int,
    center: npt.NDArray[np.floating[Any]] | None,
) -> Neighbours:
    """Find the neighbours of the items `having` content, int64 [n] in the order that decides between equals."""
    unit, points = _directions(x, having, center)
    having = having[points]
    columns, cosines = nearest(torch.from_numpy(unit), k)
    item = np.full((len(x), k), -1, dtype=np.int32)
    cosine = np.zeros((len(x), k), dtype=np.float32)
    item[:, 0], cosine[:, 0] = np.arange(len(x)), 1.0
    item[having, : columns.shape[1]] = having[columns.numpy()]
    cosine[having, : columns.shape[1]] = cosines.numpy()
    return Neighbours(item, cosine)


def _directions(
    x: npt.NDArray[np.floating[Any]], having: npt.NDArray[np.int64], center: npt.NDArray[np.floating[Any]] | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return the chosen rows, centred and of length 1, float32 [n, d], without those that lie on the center; bool [n].

    A vector that equals the center up to rounding points nowhere: its item is treated as one without content.
    """
    middle = np.zeros(x.shape[1]) if center is None else center.astype(np.float64)
    unit = np.empty((len(having), x.shape[1]), dtype=np.float32)
    points = np.empty(len(having), dtype=bool)
    for start in range(0, len(having), ROWS_IN_DOUBLE):
        raw = x[having[start : start + ROWS_IN_DOUBLE]].astype(np.float64)
        moved = raw - middle
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        good = length > EQUAL * np.linalg.norm(raw, axis=1, keepdims=True)
        part = slice(start, start + len(raw))
        points[part] = good[:, 0]
        unit[part] = moved / np.where(good, length, 1)
    return unit[points], points


def _read(path: str, n_items: int, k: int) -> Neighbours:
    """Read a table from the cache.

    Raises:
        DataError: The file is damaged.
    """
    tensors = read_safetensors(path)
    if tensors.keys() != {"item", "cosine", "check"}:
        raise DataError(f"{path} holds {sorted(tensors)}, which is no item graph")
    found = Neighbours(tensors["item"].numpy(), tensors["cosine"].numpy())
    if found.item.shape != (n_items, k) or not torch.equal(tensors["check"], _check(found)):
        raise DataError(f"{path} does not hold what was written")
    return found


def _check(neighbours: Neighbours) -> Tensor:
    """Return a hash of a table: uint8 [32]."""
    return torch.tensor(list(digest(neighbours.item, neighbours.cosine).encode()), dtype=torch.uint8)
