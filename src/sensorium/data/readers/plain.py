"""What all readers of plain tables share: a log, and where they are named a table of items and one of users."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import polars as pl
from pydantic import Field

from sensorium.core import config as core_config
from sensorium.core.errors import DataError
from sensorium.core.registry import did_you_mean
from sensorium.data.columns import ITEM_ROLES, MEDIA, ROW, guess, read_id
from sensorium.data.readers.base import Reading
from sensorium.data.tables import Options, Table, attributes_table, interactions_table
from sensorium.data.times import TimeUnit

Result = TypeVar("Result")
Scan = Callable[[Path], pl.LazyFrame]  # a file's columns as they are, and `columns.ROW`
Explain = Callable[[Path, Exception], DataError]  # what a failure to read a file means in this format


class TableConfig(core_config.Config):
    """What every reader of plain tables can be told."""

    columns: dict[str, str | None] = Field(
        {},
        description="role -> column, where the guess is wrong: user_id, item_id, rating, timestamp, title, image, ...; "
        "null = there is no such column; without a file of items, a named title, image, ... is taken from the log",
    )
    items: str | None = Field(None, description="a file of items with their content columns, in the same format")
    users: str | None = Field(None, description="a file of users with their attributes, in the same format")
    media: str | None = Field(
        None, description="folder that media paths are relative to; null = the folder of the file that names them"
    )
    time_unit: TimeUnit = Field("auto", description="unit of numeric times: s, ms, us, ns, or auto by their size")
    sensitive: list[str] = Field([], description="columns of the users file that are sensitive attributes")
    strict: bool = Field(False, description="stop at a value that cannot be read instead of setting it aside")

    def options(self) -> Options:
        """Return how raw columns are understood."""
        return Options(self.columns, self.time_unit, self.strict)


def read_tables(path: Path, config: TableConfig, scan: Scan, explain: Explain) -> Reading:
    """Read a log and the tables beside it, each by `scan`.

    Raises:
        DataError: A file is missing, empty or damaged, or has no column for an id.
    """
    options = config.options()
    content = [] if config.items else [role for role in ITEM_ROLES[1:] if options.mapping.get(role)]

    def read_log(raw: pl.LazyFrame) -> tuple[Table, Table | None]:
        named = guess(raw.collect_schema().names(), content, options.mapping)
        log = interactions_table(raw, path.name, options, without=named.values())
        return log, _items_of_log(raw, log, named, path.name, options) if named else None

    log, items = _reading(path, scan, explain, read_log)
    users = None
    files, source = [path], path
    if config.items is not None:
        source = Path(config.items)
        items = _reading(source, scan, explain, lambda raw: attributes_table(raw, source.name, "item_id", options))
        files.append(source)
    if config.users is not None:
        side = Path(config.users)
        users = _reading(side, scan, explain, lambda raw: attributes_table(raw, side.name, "user_id", options))
        files.append(side)
    _require_columns(config.sensitive, users)
    tables = [table for table in (log, items, users) if table is not None]
    return Reading(
        interactions=log.frame,
        files=files,
        items=items.frame if items else None,
        users=users.frame if users else None,
        media=_media(config, items, source),
        columns={role: column for table in reversed(tables) for role, column in table.roles.items()},
        rejected=[found for table in tables for found in table.rejected],
        sensitive=list(config.sensitive),
        notices=[notice for table in tables for notice in table.notices],
    )


def _reading(path: Path, scan: Scan, explain: Explain, work: Callable[[pl.LazyFrame], Result]) -> Result:
    """Read one file; whatever is wrong with it becomes a message of its format."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    try:
        return work(scan(path))
    except pl.exceptions.NoDataError:
        raise DataError(f"{path}: the file is empty") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise explain(path, error) from None


def _items_of_log(raw: pl.LazyFrame, log: Table, named: dict[str, str], file: str, options: Options) -> Table:
    """Return the content columns that the mapping finds in the log: of each item, its first row."""
    column = log.roles["item_id"]
    identity = read_id(column, raw.collect_schema()[column])
    first = raw.filter(identity.is_not_null() & identity.is_first_distinct())
    kept = list(dict.fromkeys([ROW, column, *named.values()]))
    return attributes_table(first.select(kept), file, "item_id", options)


def _media(config: TableConfig, items: Table | None, source: Path) -> Path | None:
    """Return the folder that media paths are relative to, or None where no column names files."""
    if items is None or not any(role in items.roles for role in MEDIA):
        if config.media is not None:
            raise DataError(
                f"media is {config.media} and no column of the items names files: name it, for example "
                "--column image=COLUMN"
            )
        return None
    folder = Path(config.media) if config.media is not None else source.parent
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of media files")
    return folder


def _require_columns(sensitive: list[str], users: Table | None) -> None:
    """Raise a DataError that names the first sensitive attribute that no user has."""
    names = users.frame.collect_schema().names() if users is not None else []
    for name in sensitive:
        if users is None:
            raise DataError(f"sensitive names '{name}' and there is no file of users: --users FILE")
        if name not in names:
            raise DataError(
                f"sensitive names '{name}', which is no column of the users{did_you_mean(name, names)} "
                f"(columns: {', '.join(names)})"
            )
