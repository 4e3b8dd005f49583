"""The raw content of a catalogue: one text, or one file, for each item, each with a digest of what it holds.

Absent content is null, or empty once it is normalised. A file that is named and cannot be used is not absent but
rejected, by whoever reads it, with a reason. Sound may come from a clip: an item without a sound file lends its
video's, and a silent clip is then no fault.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core.errors import DataError
from sensorium.data.dataset import Dataset
from sensorium.encoders import text
from sensorium.encoders.base import Modality
from sensorium.encoders.memo import Memo, Stamp, file_digest, stamp_of
from sensorium.media.errors import MediaError

# The columns that are read where none is named. Texts join them; of files, the first that an item has counts.
FIELDS: dict[Modality, tuple[str, ...]] = {
    "text": ("title", "description"),
    "image": ("image",),
    "audio": ("audio", "video"),
    "video": ("video",),
}


@dataclass(frozen=True)
class Contents:
    """What an encoder is given. Arrays and lists have I rows in item id order."""

    dataset: Dataset
    modality: Modality
    fields: tuple[str, ...]
    values: list[str]  # the assembled text, or the path of the file relative to the data set; "" = absent
    digests: npt.NDArray[np.uint8]  # [I, 16], BLAKE2b-128 of the raw content; zeros = absent
    columns: list[str] = field(default_factory=list)  # of files: the column that an item's path stands in
    stamps: dict[int, Stamp] = field(default_factory=dict)  # of files: size and time of change at the digest
    broken: dict[int, str] = field(default_factory=dict)  # of texts: what is wrong with those that are no UTF-8

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Whether an item has content that can be tried, bool [I]."""
        return np.array([bool(value) for value in self.values], dtype=bool)

    def field_of(self, item: int) -> str:
        """Return the columns that an item's content comes from."""
        return self.columns[item] if self.columns else ",".join(self.fields)

    def lent(self, item: int) -> bool:
        """Return whether an item's sound is that of its clip."""
        return self.modality == "audio" and bool(self.columns) and self.columns[item] == "video"

    def read(self, item: int) -> str | bytes:
        """Return the raw content of an item: its text, or the bytes of its file.

        Raises:
            MediaError: The file is not there, or the text is not UTF-8.
            DataError: The file has changed since its digest was taken.
        """
        source = self.source(item)
        if isinstance(source, str):
            return source
        content = _read_file(source, self.values[item])
        if not np.array_equal(_digest(content), self.digests[item]):
            raise self._changed(item)
        return content

    def source(self, item: int) -> str | Path:
        """Return the text of an item, or the path of its file.

        Raises:
            MediaError: The file is not there, or the text is not UTF-8.
        """
        if item in self.broken:
            raise MediaError("not_utf8", self.broken[item])
        if self.modality == "text":
            return self.values[item]
        path = _path(self.dataset, self.values[item])
        if item not in self.stamps:
            raise MediaError("missing_file", "there was no such file when its digest was taken", self.values[item])
        return path

    def check_unchanged(self, item: int) -> None:
        """Check that an item's file is still the one whose digest was taken.

        Raises:
            DataError: It is not.
        """
        if self.modality != "text" and item in self.stamps:
            try:
                now = stamp_of(self.dataset.media_path(self.values[item]))
            except OSError:
                now = (-1, -1)
            if now != self.stamps[item]:
                raise self._changed(item)

    def _changed(self, item: int) -> DataError:
        return DataError(f"{self.values[item]} has changed while it was being encoded: encode again")


def read_contents(
    dataset: Dataset, modality: Modality, fields: Sequence[str] | None = None, *, memo: Memo | None = None
) -> Contents:
    """Collect the raw content of one modality.

    Args:
        dataset: The data set.
        modality: What to read.
        fields: Columns of `items`; several for texts, one for files. Default: title and description, or the column
            that is named like the modality; for sound also the clip of an item that has no sound file.
        memo: Remembers digests of files; None reads every file.

    Raises:
        DataError: There is no such column; the message lists those that there are.
    """
    columns = dataset.items().collect_schema().names()
    asked = tuple(fields) if fields is not None else tuple(f for f in FIELDS[modality] if f in columns)
    unknown = [field for field in asked if field not in columns]
    if unknown or not asked:
        wanted = ", ".join(unknown) or " or ".join(FIELDS[modality])
        raise DataError(
            f"{dataset.root}: the items have no column {wanted} to encode as {modality} "
            f"(they have {', '.join(columns)})"
        )
    if modality in ("image", "video") and len(asked) > 1:
        raise DataError(f"{modality} is read from one column, not from {', '.join(asked)}: name one")
    table = dataset.items().select(asked).collect()
    if modality == "text":
        return _texts(dataset, asked, table)
    return _files(dataset, modality, asked, table, memo)


def _texts(dataset: Dataset, fields: tuple[str, ...], table: pl.DataFrame) -> Contents:
    broken: dict[int, str] = {}
    if any(kind == pl.Binary for kind in table.dtypes):
        values = []
        for item, row in enumerate(table.iter_rows()):
            try:
                values.append(text.assemble(cell.decode() if isinstance(cell, bytes) else cell for cell in row))
            except UnicodeDecodeError as error:
                broken[item] = f"the text is not UTF-8: {error.reason} at byte {error.start}"
                values.append(f"\x00{b'|'.join(_bytes(cell) for cell in row).hex()}")  # what its digest is of
    else:
        values = [text.assemble(row) for row in table.iter_rows()]
    digests = np.zeros((len(values), 16), dtype=np.uint8)
    for item, value in enumerate(values):
        if value:
            digests[item] = _digest(value.encode())
    return Contents(dataset, "text", fields, values, digests, broken=broken)


def _bytes(cell: Any) -> bytes:
    return cell if isinstance(cell, bytes) else str(cell or "").encode()


def _files(
    dataset: Dataset, modality: Modality, fields: tuple[str, ...], table: pl.DataFrame, memo: Memo | None
) -> Contents:
    values, columns = [], []
    for row in table.iter_rows():
        place = next((place for place, path in enumerate(row) if path), 0)
        values.append(row[place] or "")
        columns.append(fields[place])
    digests = np.zeros((len(values), 16), dtype=np.uint8)
    stamps: dict[int, Stamp] = {}
    for item, value in enumerate(values):
        if not value:
            continue
        try:
            path = _path(dataset, value)
            if memo is not None:
                digests[item], stamps[item] = memo.digest(value, path)
            else:
                stamps[item] = stamp_of(path)
                digests[item] = np.frombuffer(bytes.fromhex(file_digest(path)), dtype=np.uint8)
        except (MediaError, OSError):
            stamps.pop(item, None)
            # A mark that no file holds, so that a file that appears later changes the key.
            digests[item] = _digest(b"\x00missing_file")
    return Contents(dataset, modality, fields, values, digests, columns, stamps)


def _path(dataset: Dataset, relative: str) -> Path:
    try:
        path: Path = dataset.media_path(relative)
    except (DataError, ValueError) as error:  # a table may say anything: a path that leads out is no file of the set
        raise MediaError("missing_file", str(error)) from None
    return path


def _read_file(path: Path, relative: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MediaError("missing_file", f"it cannot be read: {error.strerror}", relative) from None


def _digest(content: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(hashlib.blake2b(content, digest_size=16).digest(), dtype=np.uint8)
