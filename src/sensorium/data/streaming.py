"""Large logs: from external ids to dense ones with the log on the disk and only the distinct ids in memory.

    1  The log is read once. Each id becomes a hash of 64 bits; rows of hashes go to a file of their own, and the ids
       of each batch to one of 64 files by their hash, which are then made distinct one by one.
    2  The distinct ids are sorted; hashes become places in this order; which rows stay is found from numbers alone.
    3  What stays is written once more, with the ids that are left.

What comes out is what `importing.settle` gives for small logs. Two ids of one hash, which billions of ids make likely
and millions do not, are noticed: the log is then read again with another hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from sensorium.core.errors import DataError
from sensorium.data.identifiers import KEYS, PLAIN_INTEGER
from sensorium.data.store import full_disk_explained

BATCH = 100_000  # rows that are in memory at once
BUCKETS = 64  # files of distinct ids, by the first six bits of their hash
HASHES = 3  # so many are tried

Codes = npt.NDArray[np.int32]
Hashes = npt.NDArray[np.uint64]


class _CollisionError(Exception):
    """Two ids have one hash."""


@dataclass(frozen=True)
class Spool:
    """A log in a file: batches of rows that are read in their order, as often as needed."""

    path: Path
    rows: int
    names: tuple[str, ...]

    def batches(self) -> Iterator[pl.DataFrame]:
        """Read the rows."""
        with pa.OSFile(str(self.path)) as source, pa.ipc.open_stream(source) as reader:
            for batch in reader:
                frame = pl.from_arrow(batch)
                assert isinstance(frame, pl.DataFrame)
                yield frame

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a column of numbers as a whole."""
        return np.concatenate([frame[name].to_numpy() for frame in self.batches()])


class Writer:
    """Writes a `Spool`, a batch at a time; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path, self._stack, self._rows = path, ExitStack(), 0
        self._stream: pa.RecordBatchStreamWriter | None = None
        self._names: tuple[str, ...] = ()

    def __enter__(self) -> Writer:
        self._sink = self._stack.enter_context(pa.OSFile(str(self._path), "wb"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, frame: pl.DataFrame) -> None:
        """Add rows; all batches have the same columns."""
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._stream is None:
            self._stream = self._stack.enter_context(pa.ipc.new_stream(self._sink, table.schema))
        self._stream.write_table(table)
        self._rows, self._names = self._rows + frame.height, tuple(frame.columns)

    def done(self) -> Spool:
        """Close the file and return what is in it."""
        self._stack.close()
        return Spool(self._path, self._rows, self._names)


def encode_log(rows: pl.LazyFrame, work: Path, path: Path) -> tuple[Spool, dict[str, pl.Series]]:
    """Return what `identifiers.encode_ids` does, over files.

    Args:
        rows: user_id, item_id and further columns.
        work: A folder for files that are needed as long as the result is.
        path: What was read, for messages.

    Raises:
        DataError: A row has no user or no item.
    """
    for seed in range(HASHES):
        try:
            with full_disk_explained(work):
                return _encode(rows, work, path, seed)
        except _CollisionError:
            continue
    raise DataError(f"{path}: ids cannot be told apart by {HASHES} hashes of 64 bits: divide the log")


def _encode(rows: pl.LazyFrame, work: Path, path: Path, seed: int) -> tuple[Spool, dict[str, pl.Series]]:
    hashed = _hash_log(rows, work, path, seed)
    ids: dict[str, pl.Series] = {}
    codes: dict[str, tuple[Hashes, Codes]] = {}
    if hashed.rows:
        for kind in KEYS:
            ids[kind], codes[kind] = _sorted_ids(work, kind)
    else:
        ids = {kind: pl.Series(KEYS[kind], [], dtype=pl.String) for kind in KEYS}
    with Writer(work / "coded.arrow") as writer:
        for frame in hashed.batches():
            found = [pl.Series(kind, _look_up(frame[kind].to_numpy(), *codes[kind])) for kind in KEYS]
            writer.write(frame.with_columns(found))
        coded = writer.done()
    hashed.path.unlink()
    return coded, ids


def _hash_log(rows: pl.LazyFrame, work: Path, path: Path, seed: int) -> Spool:
    """Read the log once: its rows by the hashes of their ids, and the ids by their hash into buckets.

    It is written down as it is read, at the pace of the disk; batches are then taken from there. Handed over while the
    engine reads on, they would pile up.
    """
    read = work / "read.arrow"
    rows.sink_ipc(read, compression="lz4", compat_level=pl.CompatLevel.oldest(), engine="streaming")
    with ExitStack() as stack:
        buckets = {
            kind: [stack.enter_context(Writer(work / f"{kind}-{number}.arrow")) for number in range(BUCKETS)]
            for kind in KEYS
        }
        writer = stack.enter_context(Writer(work / "hashed.arrow"))
        for frame in _parts(read):
            if any(frame[key].has_nulls() for key in KEYS.values()):
                raise DataError(f"{path}: the reader gave rows without a user or an item: it must set them aside")
            hashes = [frame[key].hash(seed).alias(kind) for kind, key in KEYS.items()]
            for found, (kind, key) in zip(hashes, KEYS.items(), strict=True):
                _divide(pl.DataFrame({"id": frame[key], "hash": found}), buckets[kind])
            writer.write(frame.select(*hashes, pl.exclude(*KEYS.values(), *KEYS)))
        read.unlink()
        return writer.done()


def _parts(file: Path) -> Iterator[pl.DataFrame]:
    """Read an Arrow file in parts of `BATCH` rows at most."""
    with pa.OSFile(str(file)) as source, pa.ipc.open_file(source) as reader:
        for number in range(reader.num_record_batches):
            frame = pl.from_arrow(reader.get_batch(number))
            assert isinstance(frame, pl.DataFrame)
            yield from frame.iter_slices(BATCH)


def _divide(frame: pl.DataFrame, buckets: list[Writer]) -> None:
    """Add the distinct ids of a batch to the buckets of their hashes."""
    distinct = frame.unique("id").sort("hash")
    bounds = np.arange(1, BUCKETS, dtype=np.uint64) << np.uint64(58)
    ends = [*np.searchsorted(distinct["hash"].to_numpy(), bounds).tolist(), distinct.height]
    for writer, start, end in zip(buckets, [0, *ends[:-1]], ends, strict=True):
        if end > start:
            writer.write(distinct.slice(start, end - start))


def _sorted_ids(work: Path, kind: str) -> tuple[pl.Series, tuple[Hashes, Codes]]:
    """Return the distinct ids in their order, and the hashes, ascending, with the place of each one's id."""
    texts: list[pa.Array] = []
    hashes: list[Hashes] = []
    for number in range(BUCKETS):
        part = work / f"{kind}-{number}.arrow"
        if part.stat().st_size:
            distinct = pl.read_ipc_stream(part).unique("id").sort("hash")
            if distinct["hash"].n_unique() < distinct.height:
                raise _CollisionError
            hashes.append(distinct["hash"].to_numpy())
            # Arrow's older layout holds the texts of these ids alone, and not those of the batches they came from.
            texts.append(distinct["id"].to_arrow(compat_level=pl.CompatLevel.oldest()))
        part.unlink()
    whole = pa.chunked_array(texts).combine_chunks()
    texts.clear()
    ids = pl.Series(KEYS[kind], whole, dtype=pl.String)
    by_value = ids.str.contains(PLAIN_INTEGER).all()
    order = (ids.cast(pl.Int64) if by_value else ids).arg_sort()
    code = np.empty(len(order), dtype=np.int32)
    code[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    return ids.gather(order), (np.concatenate(hashes), code)


def _look_up(wanted: Hashes, hashes: Hashes, code: Codes) -> Codes:
    """Return the code of each hash; sorted questions find their answers near each other."""
    order = np.argsort(wanted)
    found = np.empty(len(wanted), dtype=np.int32)
    found[order] = code[np.searchsorted(hashes, wanted[order])]
    return found


def repeated_rows(spool: Spool, names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Return which rows stand before with the same values in some columns of integers: bool [rows].

    One number for each row is held; rows whose number stands again are compared.
    """
    keys = np.empty(spool.rows, dtype=np.uint64)
    row = 0
    for frame in spool.batches():
        keys[row : row + frame.height] = _mix(frame, names)
        row += frame.height
    keys.sort()
    again = np.unique(keys[1:][keys[1:] == keys[:-1]])
    del keys
    repeated = np.zeros(spool.rows, dtype=bool)
    if not len(again):
        return repeated
    rows: list[pl.DataFrame] = []
    row = 0
    for frame in spool.batches():
        place = np.flatnonzero(np.isin(_mix(frame, names), again))
        rows.append(frame.select(names)[place].with_columns(row=pl.Series(place + row)))
        row += frame.height
    suspects = pl.concat(rows)
    repeated[suspects.filter(~pl.struct(names).is_first_distinct())["row"].to_numpy()] = True
    return repeated


def _mix(frame: pl.DataFrame, names: tuple[str, ...]) -> Hashes:
    key = np.zeros(frame.height, dtype=np.uint64)
    for name in names:
        key = (key ^ frame[name].cast(pl.Int64).to_numpy().view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(32)
    return key


def kept_log(spool: Spool, kept: npt.NDArray[np.bool_], moved: Mapping[str, Codes], path: Path) -> pl.LazyFrame:
    """Write the rows that stay, with their ids' new places, and return them as a lazy table.

    Args:
        spool: The log.
        kept: bool [rows].
        moved: "user" and "item" -> int32, the new place of each old one.
        path: A Parquet file to write; it is needed as long as the result is.
    """
    row = 0
    with full_disk_explained(path), ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for frame in spool.batches():
            here = frame.filter(pl.Series(kept[row : row + frame.height]))
            row += frame.height
            codes = [pl.Series(kind, moved[kind][here[kind].to_numpy()]) for kind in KEYS]
            table = here.with_columns(codes).to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(path, table.schema, compression="zstd"))
            writer.write_table(table)
    return pl.scan_parquet(path)
