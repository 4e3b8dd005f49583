"""What belongs to the items of a source, brought into a data set: media files, and feature matrices in id order."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core.errors import DataError
from sensorium.data.columns import MEDIA
from sensorium.data.identifiers import rows_in_order
from sensorium.data.readers.base import GivenFeatures
from sensorium.data.store import REJECTED_SCHEMA


def bring_media(items: pl.DataFrame, media: Path | None, folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give the items' media files a place in the data set.

    Args:
        items: Items in id order, all or the last of them; columns image, audio and video name files.
        media: The folder that the names are relative to; None where there are none.
        folder: The data set's folder.

    Returns:
        The items with their new paths, relative to `folder` and missing where there is no file; and the lost files, as
        `REJECTED_SCHEMA`, with the item for a row.

    Raises:
        DataError: A path leads out of the folder.
    """
    lost: list[dict[str, Any]] = []
    copied = False
    start = int(items["item"][0]) if items.height else 0
    for column in [name for name in MEDIA if name in items.columns]:
        paths: list[str | None] = [None] * items.height
        for item, item_id, given in items.filter(pl.col(column).is_not_null()).select("item", "item_id", column).rows():
            source = _locate(media, given, item_id) if media is not None else None
            if source is None:
                lost.append({"file": given, "row": item, "column": column, "reason": "missing_file", "detail": item_id})
            else:
                paths[item - start] = f"media/{column}/{item // 1000:03d}/{item}{source.suffix.lower()}"
                copied |= _bring(source, folder / str(paths[item - start]))
        items = items.with_columns(pl.Series(column, paths, dtype=pl.String))
    if copied:
        os.sync()  # once: one flush for each file would take most of the time
    return items, pl.DataFrame(lost, schema=REJECTED_SCHEMA)


def _locate(media: Path, given: str, item_id: str) -> Path | None:
    """Return the file below the media folder, or None where there is none."""
    if "\0" in given:
        return None
    root = media.resolve()
    source = (root / given).resolve()
    if PurePosixPath(given).is_absolute() or not source.is_relative_to(root):
        raise DataError(f"item {item_id}: the path '{given}' leads out of {media}")
    return source if os.path.isfile(source) else None  # noqa: PTH113 - False for a name too long, where Path raises


def _bring(source: Path, target: Path) -> bool:
    """Give a file a second name in the data set; where that cannot be, copy it, and return True."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
        return True
    return False


def matrix_in_order(
    name: str, given: GivenFeatures, item_ids: pl.Series
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return a source's matrix with one row per dense id, and which ids the source has a row for: [I, d], bool [I].

    Raises:
        DataError: The matrix does not have one row per item of the source.
    """
    x = given.load()
    if x.ndim != 2 or len(x) != len(given.item_ids):
        raise DataError(
            f"features '{name}' have shape {list(x.shape)} and the source has {len(given.item_ids):,} items: one row "
            "per item is needed"
        )
    row = rows_in_order(given.item_ids, item_ids)
    there = row >= 0
    ordered = x[row] if len(x) else np.zeros((len(row), x.shape[1]), dtype=np.float32)  # row -1 is masked
    return ordered, there
