"""What the readers of official files share: their options, and the finding of files in a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl
from pydantic import Field

from sensorium.core import config as core_config
from sensorium.core.errors import DataError
from sensorium.data.tables import Options, Table, attributes_table


class OfficialConfig(core_config.Config):
    """What every reader of official files can be told."""

    strict: bool = Field(False, description="stop at a value that cannot be read instead of setting it aside")


def find_file(folder: Path, names: Iterable[str]) -> Path | None:
    """Return the first of these files that the folder holds, plain or as `.gz`; None without any."""
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def need_folder(path: Path) -> Path:
    """Return the folder.

    Raises:
        DataError: It is none.
    """
    if not path.is_dir():
        raise DataError(f"{path}: this reader reads a folder, and that is a file")
    return path


def single_folder(path: Path, *names: str) -> Path:
    """Return the folder itself, or the only folder in it when that one holds one of the files: archives nest."""
    if find_file(path, names) is None:
        inside = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and find_file(folder, names)]
        if len(inside) == 1:
            return inside[0]
    return path


def attributes(frame: pl.LazyFrame, file: str, key: str, *, strict: bool) -> Table:
    """Return a table of items or users (`tables.attributes_table`) whose columns have the names of our roles."""
    return attributes_table(frame, file, key, Options(strict=strict))


def joined_text(column: str, separator: str = "\n") -> pl.Expr:
    """Return a list column of text as one text; an empty list, or one of blank texts, is missing."""
    parts = pl.col(column).list.eval(pl.element().filter(pl.element().str.strip_chars() != ""))
    return pl.when(parts.list.len() > 0).then(parts.list.join(separator))
