"""The raw content of a catalogue: one text, or one file, for each item, each with a digest of what it holds.

Absent content is null, or empty once it is normalised. A file that is named and cannot be used is not absent but
rejected, by whoever reads it, with a reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.data.dataset import Dataset
from sensorium.encoders import text
from sensorium.encoders.base import Modality
from sensorium.media.errors import MediaError

FIELDS: dict[Modality, tuple[str, ...]] = {
    "text": ("title", "description"),
    "image": ("image",),
    "audio": ("audio",),
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

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Whether an item has content that can be tried, bool [I]."""
        return np.array([bool(value) for value in self.values], dtype=bool)

    def read(self, item: int) -> str | bytes:
        """Return the raw content of an item: its text, or the bytes of its file.

        Raises:
            MediaError: The file is not there.
            DataError: The file has changed since its digest was taken.
        """
        value = self.values[item]
        if self.modality == "text":
            return value
        content = _read_file(self.dataset, value)
        if not np.array_equal(_digest(content), self.digests[item]):
            raise DataError(f"{value} has changed while it was being encoded: encode again")
        return content


def read_contents(dataset: Dataset, modality: Modality, fields: Sequence[str] | None = None) -> Contents:
    """Collect the raw content of one modality.

    Args:
        dataset: The data set.
        modality: What to read.
        fields: Columns of `items`; several for texts, one for files. Default: title and description, or the column
            that is named like the modality.

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
    if modality != "text" and len(asked) > 1:
        raise DataError(f"{modality} is read from one column, not from {', '.join(asked)}: name one")
    table = dataset.items().select(asked).collect()
    if modality == "text":
        values = [text.assemble(row) for row in table.iter_rows()]
    else:
        values = [path or "" for path in table.get_column(asked[0]).to_list()]
    digests = np.zeros((len(values), 16), dtype=np.uint8)
    for item, value in enumerate(values):
        if value:
            digests[item] = _digest(value.encode() if modality == "text" else _read_or_mark(dataset, value))
    return Contents(dataset, modality, asked, values, digests)


def _read_file(dataset: Dataset, relative: str) -> bytes:
    try:
        path: Path = dataset.media_path(relative)
    except DataError as error:  # a table may say anything: a path that leads out of the data set is no file of it
        raise MediaError("missing_file", str(error)) from None
    try:
        return path.read_bytes()
    except OSError as error:
        raise MediaError("missing_file", f"it cannot be read: {error.strerror}", relative) from None


def _read_or_mark(dataset: Dataset, relative: str) -> bytes:
    """Return the bytes of a file, or a mark that no file holds, so that a file that appears later changes the key."""
    try:
        return _read_file(dataset, relative)
    except MediaError as error:
        return f"\x00{error.reason}".encode()


def _digest(content: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(hashlib.blake2b(content, digest_size=16).digest(), dtype=np.uint8)
