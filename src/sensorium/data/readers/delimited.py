"""CSV and TSV: a log of interactions, and where they exist a table of items and one of users beside it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import polars as pl
from pydantic import Field

from sensorium.core import config as core_config
from sensorium.core.errors import DataError
from sensorium.data.columns import MEDIA, TimeUnit
from sensorium.data.readers.base import Reading
from sensorium.data.tables import Options, Table, attributes_table, interactions_table

SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";", "space": " ", "pipe": "|"}
Scan = Callable[[Path], pl.LazyFrame]  # a file's columns as they are, and `row`, counted from 1


class TableConfig(core_config.Config):
    """What every reader of plain tables can be told."""

    columns: dict[str, str] = Field(
        {},
        description="role -> column, where the guess is wrong: user_id, item_id, rating, timestamp, title, image, ...",
    )
    items: str | None = Field(None, description="a file of items with their content columns, in the same format")
    users: str | None = Field(None, description="a file of users with their attributes, in the same format")
    media: str | None = Field(
        None, description="folder that media paths are relative to; null = the items file's folder"
    )
    time_unit: TimeUnit = Field("auto", description="unit of numeric times: s, ms, us, ns, or auto by their size")
    sensitive: list[str] = Field([], description="columns of the users file that are sensitive attributes")
    strict: bool = Field(False, description="stop at a value that cannot be read instead of setting it aside")

    def options(self) -> Options:
        """Return how raw columns are understood."""
        return Options(self.columns, self.time_unit, self.strict)


class CsvReader:
    """A table of interactions with a header line, values separated by commas."""

    summary: ClassVar[str] = "comma-separated text with a header line (.csv, .csv.gz)"
    separator: ClassVar[str] = ","
    quoted: ClassVar[bool] = True

    class Config(TableConfig):
        """Options of delimited text."""

        sep: str | None = Field(None, description="separator: one character, or tab, comma, semicolon, space, pipe")
        quoting: bool | None = Field(None, description="whether quotes may enclose a value; null = csv yes, tsv no")
        encoding: str = Field("utf-8", description="encoding of the text, for example latin-1")

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read the log, and the files of items and users where they are named.

        Raises:
            DataError: A file is missing, empty, of another encoding or separator, or has no column for an id.
        """
        return read_tables(path, self.config, self.scan)

    def scan(self, path: Path) -> pl.LazyFrame:
        """Return a file's columns as text, with its lines counted from 1 (the header) in `row`."""
        separator = SEPARATORS.get(self.config.sep or "", self.config.sep or self.separator)
        quoting = self.quoted if self.config.quoting is None else self.config.quoting
        plain = self.config.encoding.lower().replace("_", "-") in ("utf-8", "utf8")
        source: Path | io.BytesIO = path
        if not plain:
            try:
                source = io.BytesIO(path.read_bytes().decode(self.config.encoding).encode())
            except (UnicodeDecodeError, LookupError) as error:
                raise DataError(f"{path}: cannot be read as {self.config.encoding}: {error}") from None
        try:
            frame = pl.scan_csv(
                source,
                separator=separator,
                quote_char='"' if quoting else None,
                infer_schema=False,
                row_index_name="row",
                row_index_offset=2,
                encoding="utf8",
            )
            columns = [name for name in frame.collect_schema().names() if name != "row"]
        except pl.exceptions.NoDataError:
            raise DataError(f"{path}: the file is empty") from None
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self._explain(path, error) from None
        if len(columns) < 2:
            likely = next((name for name, sign in SEPARATORS.items() if sign != separator and sign in columns[0]), None)
            used = next((name for name, sign in SEPARATORS.items() if sign == separator), repr(separator))
            raise DataError(
                f"{path}: separated by {used} it has 1 column and at least 2 are needed"
                + (f"; it looks like {likely}: --sep {likely}" if likely else "")
            )
        return _collected(frame, lambda error: self._explain(path, error))

    def _explain(self, path: Path, error: Exception) -> DataError:
        reason = str(error).splitlines()[0]
        if "utf-8" in reason.lower() or "utf8" in reason.lower():
            return DataError(f"{path}: the text is not UTF-8; name its encoding, for example --encoding latin-1")
        return DataError(f"{path}: cannot be read as delimited text: {reason}")


class TsvReader(CsvReader):
    """A table of interactions with a header line, values separated by tabs."""

    summary = "tab-separated text with a header line (.tsv, .inter)"
    separator = "\t"
    quoted = False


def _collected(frame: pl.LazyFrame, explain: Callable[[Exception], DataError]) -> pl.LazyFrame:
    """Read the file, once: a damaged line is an error here, where the file's name is known."""
    try:
        return frame.collect().lazy()
    except pl.exceptions.PolarsError as error:
        raise explain(error) from None


def read_tables(path: Path, config: TableConfig, scan: Scan) -> Reading:
    """Read a log and the tables beside it, each by `scan`."""
    options = config.options()
    log = interactions_table(_scan(path, scan), path.name, options)
    files, rejected, notices = [path], log.rejected, log.notices
    sides: dict[str, Table | None] = {"item_id": None, "user_id": None}
    media = Path(config.media) if config.media else None
    for key, named in (("item_id", config.items), ("user_id", config.users)):
        if named is not None:
            side = Path(named)
            table = sides[key] = attributes_table(_scan(side, scan), side.name, key, options)
            files.append(side)
            rejected, notices = [*rejected, *table.rejected], [*notices, *table.notices]
            if key == "item_id" and media is None and any(role in table.roles for role in MEDIA):
                media = side.parent
    items, users = sides["item_id"], sides["user_id"]
    return Reading(
        interactions=log.frame,
        files=files,
        name=path.name.split(".")[0],
        items=items.frame if items else None,
        users=users.frame if users else None,
        media=media,
        rejected=rejected,
        sensitive=list(config.sensitive),
        notices=notices,
    )


def _scan(path: Path, scan: Scan) -> pl.LazyFrame:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    return scan(path)
