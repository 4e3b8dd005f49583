"""Everybody's history, packed: one array of items, oldest first, and where each user's part begins.

    store = sequence_store(data)
    store.history(7)                # int32, user 7's items, oldest first
    store.values[store.offsets[7]:store.offsets[8]]

A view of `interactions`, made once and kept below `<data set>/sequences/` as Arrow files that are memory-mapped:
opening it reads nothing. No Python object exists per user. Rows of one user are in the order of `order.by_time`: by
time, at equal times by a seeded hash of the external ids, never by the file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from sensorium.core.errors import DataError
from sensorium.core.files import atomic_path, digest
from sensorium.core.resources import require_memory
from sensorium.data.dataset import Dataset
from sensorium.data.order import by_time
from sensorium.data.schema import INTERACTIONS, ITEMS, USERS

FORMAT_VERSION = 1
ROWS, OFFSETS = "rows.arrow", "offsets.arrow"
BYTES_PER_ROW = 64  # while it is made: user, item, time, order and the sort's permutations as int64


@dataclass(frozen=True, eq=False)
class SequenceStore:
    """Everybody's history; memory-mapped and read-only.

    Attributes:
        values: int32 [T], item ids 0..I-1, by user and oldest first.
        offsets: int64 [U+1]; user u has values[offsets[u]:offsets[u+1]].
        timestamps: int64 [T], milliseconds since the epoch, UTC; None where only an order is known.
    """

    values: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    timestamps: npt.NDArray[np.int64] | None

    @property
    def n_users(self) -> int:
        """U, the number of users."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Rows of each user: int64 [U]."""
        return np.diff(self.offsets)

    def history(self, user: int) -> npt.NDArray[np.int32]:
        """Return one user's items, oldest first: int32 [n]."""
        return self.values[self.offsets[user] : self.offsets[user + 1]]

    def last(self, users: npt.NDArray[np.int64], length: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """Return the last `length` items of several users, padded on the left.

        Args:
            users: int64 [n].
            length: L.

        Returns:
            Items int32 [n, L], 0 where there is none, and bool [n, L] where there is one.
        """
        place = self.offsets[users + 1][:, None] + np.arange(-length, 0)  # [n, L]
        there = place >= self.offsets[users][:, None]
        taken = self.values[np.where(there, place, 0)] if len(self.values) else np.zeros(place.shape, np.int32)
        return np.where(there, taken, np.int32(0)), there


def sequence_store(dataset: Dataset, *, seed: int = 0) -> SequenceStore:
    """Return the packed histories of a data set: every row, from its file where it has been made before.

    Args:
        dataset: The data set.
        seed: Of the order of equal times.

    Raises:
        DataError: The rows have neither time nor order, or a file is damaged.
        ResourceError: Making it needs more memory than is free.
    """
    info = dataset.info
    if not (info.has_time or info.has_order):
        raise DataError(f"'{dataset.name}' has neither time nor order: nobody's history is known")
    tables = {name: info.checksums.get(name) for name in (INTERACTIONS, ITEMS, USERS)}
    folder = dataset.root / "sequences" / digest(FORMAT_VERSION, tables, seed)[:16]
    if not (folder / OFFSETS).is_file():
        require_memory(BYTES_PER_ROW * dataset.n_interactions, f"packing {dataset.n_interactions:,} rows by user")
        _write(folder, dataset, seed)
    return _open(folder)


def _write(folder: Path, dataset: Dataset, seed: int) -> None:
    columns = [name for name in ("user", "item", "timestamp", "order") if name in _columns(dataset)]
    rows = dataset.interactions().select(columns).collect(engine="streaming")
    parts = {name: rows[name].cast(pl.Int64).to_numpy() for name in columns}
    place = by_time(dataset, parts["user"], parts["item"], parts.get("timestamp"), parts.get("order"), seed)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(parts["user"], minlength=dataset.n_users))]).astype(np.int64)
    packed: dict[str, npt.NDArray[Any]] = {"values": parts["item"][place].astype(np.int32)}
    if "timestamp" in parts:
        packed["timestamps"] = parts["timestamp"][place]
    made = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}.tmp")
    made.mkdir(parents=True)
    try:
        _write_arrow(made / ROWS, packed)
        _write_arrow(made / OFFSETS, {"offsets": offsets})
        if not folder.exists():  # another process may have made the same in the meantime
            made.replace(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _columns(dataset: Dataset) -> list[str]:
    return dataset.interactions().collect_schema().names()


def _write_arrow(path: Path, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    table = pa.table(dict(columns))
    table = table.replace_schema_metadata({b"sensorium.sequences": json.dumps({"version": FORMAT_VERSION}).encode()})
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=max(table.num_rows, 1))


def _open(folder: Path) -> SequenceStore:
    rows, offsets = _mapped(folder / ROWS), _mapped(folder / OFFSETS)["offsets"]
    if not len(offsets) or offsets[-1] != len(rows["values"]):
        raise DataError(f"{folder} is damaged: its offsets end elsewhere than its rows; delete it")
    return SequenceStore(rows["values"], offsets, rows.get("timestamps"))


def _mapped(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return a file's columns without reading them: NumPy arrays over a memory map."""
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        return {
            name: table[name].chunk(0).to_numpy(zero_copy_only=True)
            if table[name].num_chunks
            else np.zeros(0, table.schema.field(name).type.to_pandas_dtype())
            for name in table.column_names
        }
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged ({str(error).splitlines()[0]}): delete its folder") from None
