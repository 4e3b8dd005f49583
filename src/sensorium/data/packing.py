"""Packed sequences on disk: Arrow files that are mapped, not read, made while memory holds a small part of the log.

    offsets.arrow      offset int64 [n + 1]
    sequences.arrow    item int32 [T], and timestamp int64 [T] where it was asked for

Each file holds one record batch without compression, so that a mapped column is one array. The making goes twice over
the log: once to count each user's rows, once to divide them among buckets of neighbouring users, in files of their
own. Each bucket is then sorted alone and written to its place: sorting holds one bucket, 8 bytes for each user, and the
external ids of the items where times are tied.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from sensorium.core.errors import DataError
from sensorium.data.dataset import Dataset
from sensorium.data.order import by_time
from sensorium.data.schema import INTERACTIONS
from sensorium.data.store import full_disk_explained

OFFSETS, SEQUENCES = "offsets.arrow", "sequences.arrow"
BATCH = 1 << 19  # rows that are read at once
BUCKET = 1_000_000  # rows of a bucket, or more where there would be too many files
MAX_BUCKETS = 256

Integers = npt.NDArray[np.int64]
Columns = dict[str, npt.NDArray[np.int32] | Integers]
Labels = Callable[[int, int], npt.NDArray[np.bool_]]
"""From two row numbers to which rows from the first to before the second belong: bool [n]."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """Mapped arrays: item int32 [T], timestamp int64 [T] or None, offset int64 [n + 1]."""

    values: npt.NDArray[np.int32]
    offsets: Integers
    timestamps: Integers | None


# --- files ---


def write_arrays(folder: Path, arrays: Arrays) -> None:
    """Write the two files into a folder that is there."""
    columns: Columns = {"item": arrays.values}
    if arrays.timestamps is not None:
        columns["timestamp"] = arrays.timestamps
    with full_disk_explained(folder):
        _write(folder / OFFSETS, {"offset": arrays.offsets})
        _write(folder / SEQUENCES, columns)


def open_arrays(folder: Path) -> Arrays:
    """Map the two files of a folder.

    Raises:
        DataError: They are missing, damaged, or do not belong together.
    """
    try:
        offsets, columns = _map(folder / OFFSETS)["offset"], _map(folder / SEQUENCES)
        values, timestamps = columns["item"], columns.get("timestamp")
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DataError(f"{folder} holds no sequences: {error}") from None
    right = values.dtype == np.int32 and offsets.dtype == np.int64
    if not right or not len(offsets) or offsets[0] != 0 or offsets[-1] != len(values):
        raise DataError(f"{folder}: {SEQUENCES} and {OFFSETS} do not belong together: make the sequences anew")
    return Arrays(values.astype(np.int32, copy=False), offsets.astype(np.int64, copy=False), timestamps)


def _write(path: Path, columns: Mapping[str, npt.NDArray[np.int32] | Integers]) -> None:
    batch = pa.record_batch({name: pa.array(column) for name, column in columns.items()})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _map(path: Path) -> dict[str, Integers]:
    with pa.memory_map(str(path)) as mapped:
        batch = pa.ipc.open_file(mapped).get_batch(0)
    return {name: batch.column(name).to_numpy(zero_copy_only=True) for name in batch.schema.names}


def _places(path: Path) -> dict[str, int]:
    """Return where in a file each column's values begin, in bytes."""
    with pa.memory_map(str(path)) as mapped:
        start = mapped.read_buffer(8).address  # of the beginning of the file
        batch = pa.ipc.open_file(mapped).get_batch(0)
        return {name: batch.column(name).buffers()[1].address - start for name in batch.schema.names}


# --- making ---


def pack_dataset(
    dataset: Dataset, folder: Path, seed: int, *, chosen: Labels | None = None, timestamps: bool = False
) -> None:
    """Write the sequences of a data set's rows into a folder that is there.

    Args:
        dataset: The data set, with time or order.
        folder: The folder.
        seed: Of the order of equal times.
        chosen: Which rows; None takes all.
        timestamps: Whether to keep the times.

    Raises:
        DataError: The data have neither time nor order, or no time where it is to be kept; or the disk is full.
    """
    known = dataset.interactions().collect_schema().names()
    clocks = [name for name in ("timestamp", "order") if name in known]
    if not clocks:
        raise DataError(f"'{dataset.name}' has neither time nor order: it has no sequences")
    if timestamps and "timestamp" not in known:
        raise DataError(f"'{dataset.name}' has no time: its sequences are kept without timestamps")
    offsets = np.zeros(dataset.n_users + 1, dtype=np.int64)
    for columns in _batches(dataset, ["user"], chosen):
        user, count = np.unique(columns["user"], return_counts=True)
        offsets[user + 1] += count
    np.cumsum(offsets, out=offsets)
    first = _buckets(offsets)
    kinds = np.dtype([("user", np.int32), ("item", np.int32), *((clock, np.int64) for clock in clocks)])
    kept: dict[str, type] = {"item": np.int32} | ({"timestamp": np.int64} if timestamps else {})
    with full_disk_explained(folder):
        _write(folder / OFFSETS, {"offset": offsets})
        # The file gets its size and its layout from zeros; the values are written into their places afterwards.
        _write(folder / SEQUENCES, {name: np.zeros(offsets[-1], dtype=kind) for name, kind in kept.items()})
        parts = [folder / f".bucket-{number}" for number in range(len(first) - 1)]
        _divide(_batches(dataset, list(kinds.names or ()), chosen), parts, first, kinds)
        places = _places(folder / SEQUENCES)
        with (folder / SEQUENCES).open("r+b") as handle:
            for number, part in enumerate(parts):
                rows = np.fromfile(part, dtype=kinds)
                part.unlink()
                rows = rows[_Named(dataset, int(first[number]), int(first[number + 1])).order(rows, clocks, seed)]
                for name, kind in kept.items():
                    begin = places[name] + int(offsets[first[number]]) * np.dtype(kind).itemsize
                    os.pwrite(handle.fileno(), np.ascontiguousarray(rows[name]).data, begin)


def _buckets(offsets: Integers) -> Integers:
    """Return the first user of each bucket, and the number of users: int64 [buckets + 1]."""
    size = max(BUCKET, -(-int(offsets[-1]) // MAX_BUCKETS))
    ends = np.arange(0, int(offsets[-1]), size)
    first = np.unique(np.searchsorted(offsets, ends, side="right") - 1)
    return np.append(first, len(offsets) - 1) if len(first) else np.array([0, len(offsets) - 1])


def _batches(dataset: Dataset, names: Sequence[str], chosen: Labels | None) -> Iterator[Columns]:
    """Read the log in its order, a part at a time."""
    left, row = dataset.n_interactions, 0  # an earlier state of a data set is its first rows
    with pq.ParquetFile(dataset.root / INTERACTIONS) as file:
        for batch in file.iter_batches(BATCH, columns=list(names)):
            batch = batch.slice(0, left)
            left -= len(batch)
            columns = {name: batch.column(name).to_numpy() for name in names}
            if chosen is not None:
                here = chosen(row, row + len(batch))
                columns = {name: column[here] for name, column in columns.items()}
            row += len(batch)
            yield columns
            if not left:
                return


def _divide(batches: Iterable[Columns], parts: Sequence[Path], first: Integers, kinds: np.dtype[np.void]) -> None:
    """Append each row to the file of its user's bucket."""
    with ExitStack() as stack:
        files = [stack.enter_context(part.open("wb")) for part in parts]
        for columns in batches:
            bucket = np.searchsorted(first, columns["user"], side="right") - 1
            order = np.argsort(bucket, kind="stable")
            rows = np.empty(len(order), dtype=kinds)
            for name in kinds.names or ():
                rows[name] = columns[name][order]
            ends = np.searchsorted(bucket[order], np.arange(len(files)), side="right")
            for file, start, end in zip(files, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
                rows[start:end].tofile(file)


@dataclass(frozen=True)
class _Named:
    """The users of one bucket by their external ids, which are read only where times are tied."""

    dataset: Dataset
    first: int
    end: int

    def user_ids(self) -> pl.Series:
        """Return those of the bucket."""
        here = self.dataset.users().slice(self.first, self.end - self.first)
        return here.select("user_id").collect().to_series()

    def item_ids(self) -> pl.Series:
        """Return those of all items."""
        return self.dataset.item_ids()

    def order(self, rows: npt.NDArray[np.void], clocks: Sequence[str], seed: int) -> Integers:
        """Return the rows' positions by user, oldest first."""
        user, item = rows["user"].astype(np.int64) - self.first, rows["item"].astype(np.int64)
        timestamp, order = (rows[clock] if clock in clocks else None for clock in ("timestamp", "order"))
        return by_time(self, user, item, timestamp, order, seed)
