"""JSON Lines: one interaction a line, and where they exist items and users in files of the same kind."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import polars as pl

from sensorium.core.errors import DataError
from sensorium.data.columns import ROW
from sensorium.data.readers.base import Reading
from sensorium.data.readers.plain import TableConfig, read_tables


class JsonLinesReader:
    """A log of interactions, one JSON object a line."""

    summary: ClassVar[str] = "one JSON object a line (.jsonl, .jsonl.gz)"
    Config = TableConfig

    def __init__(self, config: TableConfig | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read the log, and the files of items and users where they are named.

        Raises:
            DataError: A file is missing, empty or no JSON Lines, or has no key for an id.
        """
        return read_tables(path, self.config, self.scan, self.explain)

    @staticmethod
    def scan(path: Path) -> pl.LazyFrame:
        """Return a file's keys as columns, its records counted from 1 in `columns.ROW`; lists of text are joined."""
        frame = pl.scan_ndjson(path, infer_schema_length=None, row_index_name=ROW, row_index_offset=1)
        texts = [
            name
            for name, dtype in frame.collect_schema().items()
            if isinstance(dtype, pl.List) and dtype.inner in (pl.String, pl.Null)
        ]
        return frame.with_columns(pl.col(texts).cast(pl.List(pl.String)).list.join(" ")) if texts else frame

    @staticmethod
    def explain(path: Path, error: Exception) -> DataError:
        """Return what a failure to read the file means."""
        return DataError(f"{path}: cannot be read as JSON Lines: {str(error).splitlines()[0]}")
