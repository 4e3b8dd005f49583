"""JSON Lines: one interaction a line, and where they exist items and users in files of the same kind."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import polars as pl

from sensorium.core.errors import DataError
from sensorium.data.readers.base import Reading
from sensorium.data.readers.delimited import TableConfig, read_tables


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
        return read_tables(path, self.config, self.scan)

    def scan(self, path: Path) -> pl.LazyFrame:
        """Return a file's keys as columns, with its lines counted from 1 in `row`."""
        try:
            frame = pl.read_ndjson(path, infer_schema_length=None)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"{path}: cannot be read as JSON Lines: {str(error).splitlines()[0]}") from None
        joined = [
            pl.col(name).cast(pl.List(pl.String)).list.join(" ")
            if isinstance(dtype, pl.List) and dtype.inner in (pl.String, pl.Null)
            else pl.col(name)
            for name, dtype in frame.schema.items()
        ]
        return frame.select(joined).with_row_index("row", offset=1).lazy()
