"""Sequences of items, packed: one array of items, and where each user's part of it begins. No object per user.

    user u's sequence = values[offsets[u] : offsets[u + 1]], oldest first

Rows are in order by time, then by the data's own order, and at equal times by a seeded hash of the external ids
(`data.order`), never by the file's order.

Large data sets keep their sequences on disk beside them, one folder for each split and choice of rows, made once and
mapped (`data.packing`): `sequences/<key>/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core.errors import DataError
from sensorium.core.files import digest
from sensorium.data.dataset import Dataset
from sensorium.data.order import by_time
from sensorium.data.packing import Arrays, open_arrays, pack_dataset, write_arrays
from sensorium.data.schema import INTERACTIONS, ITEMS, USERS
from sensorium.data.splits import Split
from sensorium.data.store import new_folder

if TYPE_CHECKING:
    from torch import Tensor

Integers = npt.NDArray[np.int64]

FOLDER = "sequences"
FORMAT_VERSION = 1
STORED_FROM = 2_000_000
"""Rows of a data set from which its sequences are kept in files; below, they are made faster than found."""

NO_ITEM = -1
"""What fills a window on its left where a sequence is shorter."""


@dataclass(frozen=True, eq=False)
class SequenceStore:
    """The sequences of n users, in memory or memory-mapped.

    Attributes:
        values: int32 [T], item ids 0..I-1.
        offsets: int64 [n + 1], where each sequence begins; the last one is T.
        timestamps: int64 [T], milliseconds since the epoch, UTC, where they were asked for; else None.
    """

    values: npt.NDArray[np.int32]
    offsets: Integers
    timestamps: Integers | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Integers:
        """Items of each sequence: int64 [n]."""
        return np.diff(self.offsets)

    def of(self, users: Integers) -> SequenceStore:
        """Return the sequences of some users, int64 [m], in this order.

        Raises:
            DataError: A user has no place here.
        """
        if len(users) and (users.min() < 0 or users.max() >= len(self)):
            wrong = users[(users < 0) | (users >= len(self))][0]
            raise DataError(f"user {int(wrong)} has no sequence here: there are users 0 to {len(self) - 1}")
        lengths = self.offsets[users + 1] - self.offsets[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        place = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - self.offsets[users], lengths)
        return self._at(place, offsets)

    def tail(self, length: int) -> SequenceStore:
        """Return the last items of every sequence, at most `length`."""
        kept = np.minimum(self.lengths, length)
        offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        place = np.arange(offsets[-1]) + np.repeat(self.offsets[1:] - offsets[1:], kept)
        return self._at(place, offsets)

    def _at(self, place: Integers, offsets: Integers) -> SequenceStore:
        """Return the entries at places, int64 [T'], as sequences of their own."""
        timestamps = None if self.timestamps is None else self.timestamps[place]
        return SequenceStore(self.values[place], offsets, timestamps)

    def windows(self, end: Integers, length: int, start: Integers) -> Integers:
        """Return the items before places of `values`, aligned to the right: int64 [m, length], NO_ITEM on the left.

        Args:
            end: int64 [m], place behind each window's last item.
            length: Columns.
            start: int64 [m], place before which nothing belongs to the window.
        """
        place = end[:, None] - length + np.arange(length)
        inside = place >= start[:, None]
        if not len(self.values):
            return np.full(place.shape, NO_ITEM, dtype=np.int64)
        return np.where(inside, self.values[np.where(inside, place, 0)], NO_ITEM).astype(np.int64)

    def last(self, length: int) -> Integers:
        """Return every sequence's last items: int64 [n, length], NO_ITEM on the left."""
        return self.windows(self.offsets[1:], length, self.offsets[:-1])

    def write(self, folder: Path) -> None:
        """Write the arrays to a new folder, which appears whole or not at all.

        Raises:
            DataError: The folder is there already, or cannot be written.
        """
        with new_folder(folder) as temporary:
            write_arrays(temporary, Arrays(self.values, self.offsets, self.timestamps))

    @classmethod
    def open(cls, folder: Path) -> SequenceStore:
        """Open what `write` wrote, memory-mapped.

        Raises:
            DataError: The folder holds no sequences, or arrays that do not belong together.
        """
        mapped = open_arrays(folder)
        return cls(mapped.values, mapped.offsets, mapped.timestamps)


def pack(user: Integers, item: Integers, order: Integers, n_users: int) -> SequenceStore:
    """Return the sequences of rows.

    Args:
        user: int64 [T].
        item: int64 [T].
        order: int64 [T], the positions of the rows by user, oldest first.
        n_users: n.
    """
    offsets = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=n_users))]).astype(np.int64)
    return SequenceStore(item[order].astype(np.int32), offsets)


def pack_histories(histories: Sequence[Tensor]) -> SequenceStore:
    """Return the sequences of a few histories, int64 item ids each, oldest first: what a caller asks with."""
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])]).astype(np.int64)
    parts = [history.detach().cpu().numpy().astype(np.int32) for history in histories]
    return SequenceStore(np.concatenate([np.zeros(0, dtype=np.int32), *parts]), offsets)


def sequences(dataset: Dataset, split: Split, labels: Sequence[int]) -> SequenceStore:
    """Return the sequences of a split's rows with some labels, one for each user of the data set.

    Args:
        dataset: The data set of the split.
        split: The split.
        labels: Which rows: [TRAIN], or [TRAIN, VALID] for what is known at test.

    Raises:
        DataError: The data have neither time nor order.
    """
    if dataset.n_interactions >= STORED_FROM and not (split.row < 0).any():
        return stored_sequences(dataset, split, labels)
    chosen = np.flatnonzero(np.isin(split.label, list(labels)))
    order = order_of_rows(dataset, split, chosen)
    return pack(split.user[chosen], split.item[chosen], order, split.n_users)


def everything(dataset: Dataset, seed: int, *, min_rating: float | None = None) -> SequenceStore:
    """Return the sequences of all that a data set holds, one for each user.

    Args:
        dataset: The data set.
        seed: Of the order of equal times.
        min_rating: Rows below it, or without a rating, are left out; None takes every row.

    Raises:
        DataError: The data have neither time nor order.
    """
    table = dataset.interactions()
    if min_rating is not None:
        table = table.filter(pl.col("rating") >= min_rating)
    clocks = [name for name in ("timestamp", "order") if name in table.collect_schema().names()]
    if not clocks:
        raise DataError(f"'{dataset.name}' has neither time nor order: it has no sequences")
    frame = table.select(pl.col("user", "item", *clocks).cast(pl.Int64)).collect()
    user, item = (frame[name].to_numpy() for name in ("user", "item"))
    timestamp, order = (frame[name].to_numpy() if name in clocks else None for name in ("timestamp", "order"))
    return pack(user, item, by_time(dataset, user, item, timestamp, order, seed), dataset.n_users)


def stored_sequences(
    dataset: Dataset, split: Split | None = None, labels: Sequence[int] = (), *, seed: int = 0, timestamps: bool = False
) -> SequenceStore:
    """Return sequences from their files below the data set, memory-mapped; made where they are not there yet.

    Args:
        dataset: The data set.
        split: Whose rows; None takes every row of the data set, without a look at the whole of it.
        labels: Which rows of the split.
        seed: Of the order of equal times, without a split; with one, the split's is used.
        timestamps: Whether the times are kept beside the items.

    Raises:
        DataError: The data have neither time nor order, the split holds added rows, or the folder cannot be written.
    """
    if split is not None and (split.row < 0).any():
        raise DataError(f"a split of '{dataset.name}' with added noise has no files of sequences: use sequences()")
    tables = [dataset.info.checksums.get(name) for name in (INTERACTIONS, ITEMS, USERS)]
    which = None if split is None else [split.config, split.seed, sorted(labels)]
    folder = dataset.root / FOLDER / digest(FORMAT_VERSION, tables, which, seed, timestamps)[:16]

    def chosen(first: int, end: int) -> npt.NDArray[np.bool_]:
        assert split is not None
        here = np.zeros(end - first, dtype=bool)
        start, stop = np.searchsorted(split.row, [first, end])
        here[split.row[start:stop] - first] = np.isin(split.label[start:stop], list(labels))
        return here

    if not folder.exists():
        try:
            with new_folder(folder) as temporary:
                tie_seed, rows = (seed, None) if split is None else (split.seed, chosen)
                pack_dataset(dataset, temporary, tie_seed, chosen=rows, timestamps=timestamps)
        except DataError:
            if not folder.exists():  # another process may have made it in the meantime
                raise
    return SequenceStore.open(folder)


def order_of_rows(dataset: Dataset, split: Split, chosen: Integers) -> Integers:
    """Return the positions of some rows of a split by user, oldest first: int64 [n] for int64 [n] row places.

    Raises:
        DataError: The data have neither time nor order, or the split holds added rows, which have none.
    """
    timestamp = None if split.timestamp is None else split.timestamp[chosen]
    order = None
    if "order" in dataset.interactions().collect_schema().names():
        if (split.row[chosen] < 0).any():
            raise DataError(f"'{dataset.name}' is ordered by its file, and added noise has no place in that order")
        column = dataset.interactions().select("order").collect().to_series().to_numpy()
        order = column[split.row[chosen]].astype(np.int64)
    if timestamp is None and order is None:
        raise DataError(f"'{dataset.name}' has neither time nor order: it has no sequences")
    return by_time(dataset, split.user[chosen], split.item[chosen], timestamp, order, split.seed)
