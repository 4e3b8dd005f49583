"""Parquet: a log of interactions, and where they exist items and users in files of the same kind."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import polars as pl

from sensorium.core.errors import DataError
from sensorium.data.columns import ROW
from sensorium.data.readers.base import Reading
from sensorium.data.readers.plain import TableConfig, read_tables


class ParquetReader:
    """A log of interactions as a Parquet table."""

    summary: ClassVar[str] = "a Parquet table"
    Config = TableConfig

    def __init__(self, config: TableConfig | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read the log, and the files of items and users where they are named.

        Raises:
            DataError: A file is missing, truncated or no Parquet, or has no column for an id.
        """
        return read_tables(path, self.config, self.scan, self.explain)

    @staticmethod
    def scan(path: Path) -> pl.LazyFrame:
        """Return a file's columns, with its rows counted from 1 in `columns.ROW`."""
        return pl.scan_parquet(path, row_index_name=ROW, row_index_offset=1)

    @staticmethod
    def explain(path: Path, error: Exception) -> DataError:
        """Return what a failure to read the file means."""
        return DataError(f"{path}: cannot be read as Parquet, it may be truncated: {str(error).splitlines()[0]}")
