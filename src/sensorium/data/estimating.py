"""What an import will take, told from the source's size before the work begins.

Rows are the file's size over the length of the lines at its beginning; of a gzip file, the size that the beginning
unpacks to is carried on to the whole. Memory and time per row are what `benchmarks/scale.py` measured, rounded up:
ids, which are text, take most of both. From `STREAMED_FROM` rows on, the log goes over files, and of a line only what
is new in it may have to be held.
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sensorium.core.resources import readable_bytes, readable_seconds, require_memory

logger = logging.getLogger(__name__)

SAMPLE = 1 << 20  # bytes of the file that are looked at
WORTH_SAYING = 200_000  # rows; below, an import takes a moment
BASE = 100_000_000  # bytes, whatever the size: buffers of the reader
BYTES_PER_ROW = 60  # numbers: the table, the search for duplicates, the copy that is written
BYTES_PER_CHARACTER = 2  # of a line: ids, held while they are sorted
STREAMED_FROM = 2_000_000
"""Rows of a source from which the log goes over files (`data.streaming`)."""
STREAMED_BASE, STREAMED_BYTES_PER_ROW, STREAMED_BYTES_PER_CHARACTER = 300_000_000, 10, 0.6
SECONDS_PER_BYTE = 1e-7  # of unpacked text, of one core
TEXT = (".csv", ".tsv", ".inter", ".json", ".jsonl", ".ndjson", ".txt", ".dat", ".data")


@dataclass(frozen=True)
class Estimate:
    """What an import will take.

    Attributes:
        rows: Lines of the log.
        memory: Bytes at the peak, beside the libraries.
        seconds: Of one core.
    """

    rows: int
    memory: int
    seconds: float


def estimate_import(path: Path) -> Estimate | None:
    """Return what importing a file, or the largest text file of a folder, will take; None where nothing is known."""
    file = path if path.is_file() else _largest(path)
    if file is None or not file.is_file() or file.stat().st_size == 0:
        return None
    if file.suffix == ".parquet":
        try:
            rows = pl.scan_parquet(file).select(pl.len()).collect().item()
        except (pl.exceptions.PolarsError, OSError):
            return None  # the reader says what is wrong with it
        width = 4 * file.stat().st_size / max(rows, 1)
    else:
        text, unpacked = _beginning(file)
        lines = text.count(b"\n")
        if not lines:
            return None
        width = (text.rindex(b"\n") + 1) / lines
        rows = round(unpacked / width)
    memory = BASE + round(rows * (BYTES_PER_ROW + BYTES_PER_CHARACTER * width))
    if rows >= STREAMED_FROM:
        memory = STREAMED_BASE + round(rows * (STREAMED_BYTES_PER_ROW + STREAMED_BYTES_PER_CHARACTER * width))
    return Estimate(int(rows), memory, rows * width * SECONDS_PER_BYTE)


def say_estimate(path: Path) -> None:
    """Say what a large import will take, and refuse one that does not fit.

    Raises:
        ResourceError: It needs more memory than is free.
    """
    found = estimate_import(path)
    if found is None or found.rows < WORTH_SAYING:
        return
    what = f"importing about {found.rows:,} rows of {path.name}"
    require_memory(found.memory, what)
    logger.info(
        "%s takes about %s of one core, and %s of memory", what, readable_seconds(found.seconds),
        readable_bytes(found.memory),
    )  # fmt: skip


def _largest(folder: Path) -> Path | None:
    if not folder.is_dir():
        return None
    texts = [file for file in folder.iterdir() if file.is_file() and set(file.suffixes) & set(TEXT)]
    return max(texts, key=lambda file: (file.stat().st_size, file.name), default=None)


def _beginning(file: Path) -> tuple[bytes, float]:
    """Return the beginning of a text file, and how many bytes the whole has when it is unpacked."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        head = handle.read(SAMPLE)
    if file.suffix != ".gz":
        return head, float(size)
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(head, SAMPLE * 16)
    except zlib.error:
        return b"", 0.0  # no gzip file: the reader says so
    used = len(head) - len(unpacker.unconsumed_tail) - len(unpacker.unused_data)
    return text, len(text) * size / max(used, 1)
