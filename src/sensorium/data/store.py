"""Writing a data set: its tables in a folder that appears whole or not at all, and `dataset.json` to describe it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import polars as pl

from sensorium.core.config import dump
from sensorium.core.errors import DataError
from sensorium.core.files import atomic_path, says_disk_is_full, sha256_file, write_json, write_parquet
from sensorium.data.dataset import Dataset
from sensorium.data.schema import DESCRIPTION, INTERACTIONS, ITEMS, REJECTED, USERS, DatasetInfo, Source

ROW_GROUP = 250_000  # rows of a log that is streamed
REJECTED_SCHEMA = {"file": pl.String, "row": pl.Int64, "column": pl.String, "reason": pl.String, "detail": pl.String}


@contextmanager
def new_folder(out: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `out`; on success it takes that place, on failure it is removed.

    A second process that makes the same folder waits, and then finds it there. What a killed process left is removed,
    and a data set that it was about to replace is put back.

    Raises:
        DataError: `out` is there already and may not be overwritten; or it cannot be written.
    """
    out = Path(out).absolute()
    _refuse_existing(out, overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out.parent} cannot be made: {error.strerror}; choose another folder") from None
    with lock(out.with_name(f".{out.name}.lock")):
        _clear_leftovers(out)
        _refuse_existing(out, overwrite)
        temporary = _beside(out, "tmp")
        temporary.mkdir()
        try:
            with full_disk_explained(out):
                yield temporary
                if out.exists():
                    old = _beside(out, "old")
                    out.replace(old)
                    temporary.replace(out)
                    shutil.rmtree(old)
                else:
                    temporary.replace(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def full_disk_explained(target: Path) -> Iterator[None]:
    """Say in one line that the disk is full, in whichever way the libraries that write tables and arrays say it.

    Raises:
        DataError: The disk is full.
    """
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        if not says_disk_is_full(error):
            raise
        raise DataError(
            f"the disk is full: could not write {target}; nothing was changed, free some space and run again"
        ) from error


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a lock file; others wait. It is removed afterwards, by its holder."""
    handle = _take(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        handle.close()


def _take(path: Path) -> IO[str]:
    while True:
        try:
            handle = path.open("a")
        except OSError as error:
            raise DataError(f"{path.parent} cannot be written: {error.strerror}; choose another folder") from None
        fcntl.flock(handle, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                return handle
        handle.close()  # its last holder has removed the file that was waited for: there may be another


def _beside(out: Path, kind: str) -> Path:
    return out.with_name(f".{out.name}.{uuid4().hex[:8]}.{kind}")


def _clear_leftovers(out: Path) -> None:
    """Remove what killed processes left; the lock says that they are gone."""
    left = re.compile(rf"\.{re.escape(out.name)}\.[0-9a-f]{{8}}\.(tmp|old)")
    for path in sorted(out.parent.iterdir()):
        if left.fullmatch(path.name):
            if path.suffix == ".old" and not out.exists():  # killed between the two renames
                path.replace(out)
            else:
                shutil.rmtree(path, ignore_errors=True)


def _refuse_existing(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not overwrite:
        raise DataError(f"{out} is there already: choose another folder, or overwrite it with --overwrite")
    if not out.is_dir() or (not (out / DESCRIPTION).exists() and any(out.iterdir())):
        raise DataError(f"{out} is not a data set and not empty: it is not overwritten, choose another folder")


def write_tables(
    folder: Path,
    *,
    name: str,
    source: Source,
    interactions: pl.DataFrame | pl.LazyFrame,
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
        interactions: user int32, item int32, and what else is known of each row, in the order that is kept; a lazy
            table is never held as a whole.
        items: item int32 0..I-1, item_id text, and content columns.
        users: user int32 0..U-1, user_id text, and attributes.
        rejected: What was set aside, as `REJECTED_SCHEMA`.
        counts: Further counts for `dataset.json`, such as duplicates.
        licence: Terms of the data, in a few words.
        sensitive: Columns of `users` that are sensitive attributes.
        planted: What is known of a made world.
        notices: Sentences that people should read.

    Raises:
        DataError: A sensitive attribute is no column of the users, or the disk is full.
    """
    for attribute in sensitive:
        if attribute not in users.columns:
            raise DataError(f"the sensitive attribute '{attribute}' is no column of the users of {name}")
    rejected = pl.DataFrame(schema=REJECTED_SCHEMA) if rejected is None else rejected
    tables = {INTERACTIONS: interactions, ITEMS: items, USERS: users, REJECTED: rejected}
    for table, frame in tables.items():
        if isinstance(frame, pl.LazyFrame):
            with full_disk_explained(folder), atomic_path(folder / table) as temporary:
                frame.sink_parquet(temporary, compression="zstd", statistics=True, row_group_size=ROW_GROUP)
        else:
            write_parquet(folder / table, frame.rechunk())  # in how many pieces it was read leaves no trace there
    columns = interactions.collect_schema().names()
    height = pl.scan_parquet(folder / INTERACTIONS).select(pl.len()).collect().item()
    info = DatasetInfo(
        name=name,
        licence=licence,
        source=source,
        counts={
            "users": users.height,
            "items": items.height,
            "interactions": height,
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


@contextmanager
def features_lock(root: Path) -> Iterator[None]:
    """Hold the lock under which `dataset.json` is changed; others wait."""
    (root / "features").mkdir(exist_ok=True)
    with (root / "features" / ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def update_info(root: Path, change: Callable[[DatasetInfo], DatasetInfo]) -> Dataset:
    """Change `dataset.json` as it now stands on the disk, and return the data set as it then is.

    Another process that enters features at the same time waits, so that none of the changes is lost.
    """
    with features_lock(root):
        info = change(Dataset.open(root).info)
        write_info(root, info)
    return Dataset(root, info)
