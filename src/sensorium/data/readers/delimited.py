"""CSV and TSV: a log of interactions, and where they exist a table of items and one of users beside it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import ClassVar

import polars as pl
from pydantic import Field

from sensorium.core.errors import DataError
from sensorium.data.columns import ROW
from sensorium.data.readers.base import Reading
from sensorium.data.readers.plain import TableConfig, read_tables

SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";", "space": " ", "pipe": "|"}


class CsvReader:
    """A table of interactions with a header line, values separated by commas."""

    summary: ClassVar[str] = "comma-separated text with a header line (.csv, .csv.gz)"
    separator: ClassVar[str] = ","
    quoted: ClassVar[bool] = True

    class Config(TableConfig):
        """Options of delimited text."""

        sep: str | None = Field(
            None, min_length=1, description="separator: one character, or tab, comma, semicolon, space, pipe"
        )
        quoting: bool | None = Field(None, description="whether quotes may enclose a value; null = csv yes, tsv no")
        encoding: str = Field("utf-8", description="encoding of the text, for example latin-1")

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read the log, and the files of items and users where they are named.

        Raises:
            DataError: A file is missing, empty, of another encoding or separator, or has no column for an id.
        """
        return read_tables(path, self.config, self.scan, self.explain)

    def scan(self, path: Path) -> pl.LazyFrame:
        """Return a file's columns as text, with its lines in `columns.ROW`: the header is line 1.

        Raises:
            DataError: The file is empty, its header is of another encoding, or it is separated otherwise.
        """
        separator = SEPARATORS.get(self.config.sep or "", self.config.sep or self.separator)
        if len(separator.encode()) != 1:
            raise DataError(f"sep is '{separator}': one plain character is needed, or {', '.join(SEPARATORS)}")
        quoting = self.quoted if self.config.quoting is None else self.config.quoting
        frame = pl.scan_csv(
            self._source(path),
            separator=separator,
            quote_char='"' if quoting else None,
            infer_schema=False,
            row_index_name=ROW,
            row_index_offset=2,
        )
        try:
            columns = [name for name in frame.collect_schema().names() if name != ROW]
        except pl.exceptions.NoDataError:
            raise DataError(f"{path}: the file is empty") from None
        if any("\0" in name or "\ufffd" in name for name in columns):  # polars replaces what it cannot read there
            raise DataError(f"{path}: the text is not UTF-8; name its encoding, for example --encoding utf-16")
        if len(columns) < 2:
            raise _wrong_separator(path, separator, columns[0])
        return frame

    def _source(self, path: Path) -> Path | io.BytesIO:
        """Return the file, or its text as UTF-8 in memory where it has another encoding."""
        if self.config.encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
            return path
        try:
            return io.BytesIO(path.read_bytes().decode(self.config.encoding).encode())
        except (UnicodeDecodeError, LookupError) as error:
            raise DataError(f"{path}: cannot be read as {self.config.encoding}: {error}") from None

    @staticmethod
    def explain(path: Path, error: Exception) -> DataError:
        """Return what a failure to read the file means."""
        reason = str(error).splitlines()[0]
        if "utf-8" in reason.lower() or "utf8" in reason.lower():
            return DataError(f"{path}: the text is not UTF-8; name its encoding, for example --encoding latin-1")
        return DataError(f"{path}: cannot be read as delimited text: {reason}")


class TsvReader(CsvReader):
    """A table of interactions with a header line, values separated by tabs."""

    summary = "tab-separated text with a header line (.tsv, .inter)"
    separator = "\t"
    quoted = False


def _wrong_separator(path: Path, separator: str, header: str) -> DataError:
    """Say what was found, and which separator the header speaks for."""
    used = next((name for name, sign in SEPARATORS.items() if sign == separator), repr(separator))
    counts = {name: len(header.split(sign)) for name, sign in SEPARATORS.items() if sign != separator}
    likely = max(counts, key=counts.__getitem__)
    if counts[likely] < 2:
        return DataError(f"{path}: separated by {used} it has 1 column, and at least 2 are needed (user and item)")
    return DataError(
        f"{path}: separated by {used} it has 1 column, and {counts[likely]} are needed; it looks like a {likely}: "
        f"--sep {likely}"
    )
