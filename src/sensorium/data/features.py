"""Feature matrices of items: given ones are checked and written the same way as encoded ones are read."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.core.files import digest, write_json, write_npy
from sensorium.data.dataset import Dataset
from sensorium.data.schema import DatasetInfo, FeatureInfo
from sensorium.data.store import full_disk_explained, update_info

HUGE = 1_000
"""A row this many times as long as the median row is told, and left out of means that directions are measured from: it
may be a fault of what made the matrix."""

ROWS_AT_ONCE = 65_536
"""Rows whose lengths are measured at a time."""

Provenance = dict[str, Any] | Literal["unknown"]


def add_features(
    dataset: Dataset,
    name: str,
    x: npt.NDArray[Any],
    present: npt.NDArray[np.bool_] | None = None,
    *,
    provenance: Provenance = "unknown",
) -> Dataset:
    """Add a given feature matrix to a data set and return it as it now is.

    A row that is zero or not finite cannot be content: it becomes missing, with a notice and a count. A row that dwarfs
    the others stays, with a notice.

    Args:
        dataset: The data set; its folder is written to.
        name: How models name the features, such as "text" or "image".
        x: Any float or integer type [I, d], row = item id.
        present: bool [I]; None takes all rows with content.
        provenance: What made the matrix, or "unknown".

    Raises:
        DataError: The matrix has another number of rows than the data set has items, or is no matrix of numbers.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name):
        raise DataError(f"'{name}' is no name of features: letters, digits, and . + - _ within it")
    kept, mask, notices = check_features(name, x, present, dataset.n_items)
    folder = dataset.root / "features" / f"{name}-given-{digest(kept, mask)[:8]}"
    with full_disk_explained(folder):
        entry = write_features(folder, dataset.root, kept, mask, provenance)

    def enter(info: DatasetInfo) -> DatasetInfo:
        others = [notice for notice in info.notices if not notice.startswith(f"features '{name}':")]
        return info.model_copy(update={"features": {**info.features, name: entry}, "notices": [*others, *notices]})

    return update_info(dataset.root, enter)


def check_features(
    name: str, x: npt.NDArray[Any], present: npt.NDArray[np.bool_] | None, n_items: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], list[str]]:
    """Return the matrix as float32 with zeros where there is no content, its mask, and what people should know.

    Raises:
        DataError: As for `add_features`.
    """
    if x.ndim != 2 or not (np.issubdtype(x.dtype, np.floating) or np.issubdtype(x.dtype, np.integer)):
        raise DataError(
            f"features '{name}' are {x.dtype} of shape {list(x.shape)}: a matrix of numbers [items, d] is needed"
        )
    if len(x) != n_items:
        raise DataError(
            f"features '{name}' have {len(x):,} rows and the data set has {n_items:,} items: one row per item, in id "
            "order"
        )
    if present is not None and (present.dtype != bool or present.shape != (n_items,)):
        raise DataError(
            f"the mask of features '{name}' is {present.dtype} {list(present.shape)}: bool [{n_items}] is needed"
        )
    claimed = np.ones(n_items, dtype=bool) if present is None else present
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and so missing
        values = x.astype(np.float32)
    finite = np.isfinite(values).all(axis=1)
    zero = finite & ~values.any(axis=1)
    mask = claimed & finite & ~zero
    notices = []
    for what, rows in [("not finite", claimed & ~finite), ("all zero", claimed & zero)]:
        if rows.any():
            shown = ", ".join(str(item) for item in np.flatnonzero(rows)[:3])
            notices.append(
                f"features '{name}': {rows.sum():,} rows are {what} (first items: {shown}) and count as missing"
            )
    kept = np.where(mask[:, None], values, np.float32(0))
    huge = huge_rows(kept, mask)
    if huge.any():
        shown = ", ".join(str(item) for item in np.flatnonzero(huge)[:3])
        notices.append(
            f"features '{name}': {huge.sum():,} rows are more than {HUGE:,} times as long as the median row (first "
            f"items: {shown}): standardised values follow them"
        )
    return kept, mask, notices


def huge_rows(x: npt.NDArray[np.floating[Any]], among: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which of some rows are more than `HUGE` times as long as their median row, bool [I].

    Args:
        x: [I, d].
        among: bool [I], the rows in question; others are not read.
    """
    found = np.zeros(len(x), dtype=bool)
    rows = np.flatnonzero(among)
    if len(rows):
        parts = (x[rows[start : start + ROWS_AT_ONCE]] for start in range(0, len(rows), ROWS_AT_ONCE))
        length = np.sqrt(np.concatenate([np.einsum("id,id->i", part, part, dtype=np.float64) for part in parts]))
        found[rows] = length > HUGE * np.median(length)
    return found


def write_features(
    folder: Path, root: Path, x: npt.NDArray[np.float32], present: npt.NDArray[np.bool_], provenance: Provenance
) -> FeatureInfo:
    """Write a checked matrix into a folder that appears whole, and return its entry for `dataset.json`."""
    info = FeatureInfo(
        folder=folder.relative_to(root).as_posix(),
        dim=x.shape[1],
        dtype=str(x.dtype),
        items=len(x),
        present=int(present.sum()),
        provenance=provenance,
        digest=digest(x, present),
    )
    if not (folder / "pooled.npy").exists():  # its name holds the digest: what is there is this
        temporary = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}.tmp")
        try:
            write_npy(temporary / "pooled.npy", x)
            write_npy(temporary / "present.npy", present)
            temporary.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    write_json(folder / "manifest.json", info.model_dump(mode="json"))
    return info
