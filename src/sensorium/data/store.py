"""Writing a data set: its tables in a folder that appears whole or not at all, and `dataset.json` to describe it."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl

from sensorium.core.config import dump
from sensorium.core.errors import DataError
from sensorium.core.files import sha256_file, write_json, write_parquet
from sensorium.data.dataset import Dataset
from sensorium.data.schema import DESCRIPTION, INTERACTIONS, ITEMS, REJECTED, USERS, DatasetInfo, Source

REJECTED_SCHEMA = {"file": pl.String, "row": pl.Int64, "column": pl.String, "reason": pl.String, "detail": pl.String}


@contextmanager
def new_folder(out: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `out`; on success it takes that place, on failure it is removed.

    Raises:
        DataError: `out` is there already, and may not be overwritten; or another process makes it right now.
    """
    out = Path(out)
    _refuse_existing(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    with (out.parent / f".{out.name}.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # a second process waits, and then finds the folder
        _refuse_existing(out, overwrite)
        for rest in out.parent.glob(f".{out.name}.*.tmp"):  # of processes that were killed: the lock says they are gone
            shutil.rmtree(rest, ignore_errors=True)
        temporary = out.parent / f".{out.name}.{uuid4().hex[:8]}.tmp"
        temporary.mkdir()
        try:
            yield temporary
            if out.exists():
                old = out.parent / f".{out.name}.{uuid4().hex[:8]}.tmp"
                out.replace(old)
                temporary.replace(out)
                shutil.rmtree(old)
            else:
                temporary.replace(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _refuse_existing(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not overwrite:
        raise DataError(f"{out} is there already: choose another folder, or overwrite it with --overwrite")
    if not (out / DESCRIPTION).exists() and any(out.iterdir()):
        raise DataError(f"{out} is not a data set and not empty: it is not overwritten, choose another folder")


def write_tables(
    folder: Path,
    *,
    name: str,
    source: Source,
    interactions: pl.DataFrame,
    items: pl.DataFrame,
    users: pl.DataFrame,
    rejected: pl.DataFrame | None = None,
    counts: dict[str, int] | None = None,
    licence: str | None = None,
    sensitive: Sequence[str] = (),
    planted: dict[str, Any] | None = None,
    notices: Sequence[str] = (),
) -> Dataset:
    """Write the tables of a data set and its `dataset.json` into a folder.

    Args:
        folder: An existing folder; use it inside `new_folder`.
        name: The data set's name.
        source: Where the data came from.
        interactions: user int32, item int32, and what else is known of each row, in the order that is kept.
        items: item int32 0..I-1, item_id text, and content columns.
        users: user int32 0..U-1, user_id text, and attributes.
        rejected: What was set aside, as `REJECTED_SCHEMA`.
        counts: Further counts for `dataset.json`, such as duplicates.
        licence: Terms of the data, in a few words.
        sensitive: Columns of `users` that are sensitive attributes.
        planted: What is known of a made world.
        notices: Sentences that people should read.
    """
    rejected = pl.DataFrame(schema=REJECTED_SCHEMA) if rejected is None else rejected
    tables = {INTERACTIONS: interactions, ITEMS: items, USERS: users, REJECTED: rejected}
    for table, frame in tables.items():
        write_parquet(folder / table, frame)
    columns = interactions.columns
    info = DatasetInfo(
        name=name,
        licence=licence,
        source=source,
        counts={
            "users": users.height,
            "items": items.height,
            "interactions": interactions.height,
            "rejected": rejected.height,
            **(counts or {}),
        },
        has_time="timestamp" in columns,
        has_order="order" in columns,
        has_rating="rating" in columns,
        sensitive=list(sensitive),
        checksums={table: sha256_file(folder / table) for table in tables},
        planted=planted,
        notices=list(notices),
    )
    write_info(folder, info)
    return Dataset(folder, info)


def write_info(folder: Path, info: DatasetInfo) -> None:
    """Write `dataset.json`."""
    write_json(folder / DESCRIPTION, dump(info))
