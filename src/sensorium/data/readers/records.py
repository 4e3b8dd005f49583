"""Records, one a line: JSON with a schema that is known beforehand, and literals of Python, which are never evaluated.

Keys that nobody asked for are not read, whatever they hold. A file with a broken line is read line by line, and the
broken ones are set aside.
"""

from __future__ import annotations

import ast
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from sensorium.core.errors import DataError
from sensorium.data.columns import ROW
from sensorium.data.readers.lines import require_file, scan_lines, set_aside

LONGEST = 4_000_000  # characters of a record; the parser of literals needs many times its length
Schema = Mapping[str, pl.DataType | type[pl.DataType]]


def scan_records(path: Path, schema: Schema, *, strict: bool = False) -> tuple[pl.LazyFrame, list[pl.DataFrame]]:
    """Return the keys of a schema, `columns.ROW` from 1, and the lines that were set aside.

    Numbers under a key that the schema says is text become text; a missing key is null.

    Args:
        path: One JSON object a line, plain or gzip.
        schema: Key -> type.
        strict: Stop at a line that is no JSON object.

    Raises:
        DataError: The file is missing, empty or cannot be read at all.
    """
    require_file(path)
    frame = pl.scan_ndjson(path, schema=dict(schema), row_index_name=ROW, row_index_offset=1)
    try:
        frame.select(pl.col(key).null_count() for key in schema).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        if strict:
            raise DataError(f"{path}: {str(error).splitlines()[0]}, and --strict allows none of it") from None
        return _line_by_line(path, schema)
    return frame, []


def _line_by_line(path: Path, schema: Schema) -> tuple[pl.LazyFrame, list[pl.DataFrame]]:
    """Parse each line apart, in memory: one that is no object with values of these types is set aside."""
    rows: list[int] = []
    good: list[dict[str, Any]] = []
    bad: list[tuple[int, str]] = []
    try:
        lines = scan_lines(path).filter(pl.col("line").is_not_null()).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: cannot be read as JSON Lines: {str(error).splitlines()[0]}") from None
    for row, line in lines.iter_rows():
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError(line)
            good.append({key: _fitted(record.get(key), dtype) for key, dtype in schema.items()})
            rows.append(row)
        except (ValueError, TypeError, RecursionError):
            bad.append((row, line))
    if not good:
        raise DataError(f"{path}: cannot be read as JSON Lines: none of its {len(lines):,} lines is a JSON object")
    frame = pl.DataFrame(good, schema=dict(schema)).with_columns(pl.Series(ROW, rows, dtype=pl.UInt32))
    return frame.lazy(), [_broken(path, bad)] if bad else []


def scan_literals(path: Path, schema: Schema, *, strict: bool = False) -> tuple[pl.LazyFrame, list[pl.DataFrame]]:
    """Return the keys of a schema from lines that are Python dictionaries: `{'asin': '0001', 'price': 5.1}`.

    Lines are parsed by `ast.literal_eval`, which builds constants and runs nothing.

    Raises:
        DataError: The file is missing, empty or damaged, or no line is a dictionary.
    """
    require_file(path)
    rows: list[int] = []
    good: list[dict[str, Any]] = []
    bad: list[tuple[int, str]] = []
    for row, line in _lines(path):
        try:
            if len(line) > LONGEST:
                raise ValueError("too long")
            record = ast.literal_eval(line)
            if not isinstance(record, dict):
                raise TypeError("no dictionary")
            good.append({key: _fitted(record.get(key), dtype) for key, dtype in schema.items()})
            rows.append(row)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            if strict:
                raise DataError(
                    f"{path.name} line {row} is no dictionary of constants, and --strict allows none of it"
                ) from None
            bad.append((row, line))
    if not good:
        raise DataError(f"{path}: no line is a Python dictionary")
    frame = pl.DataFrame(good, schema=dict(schema)).with_columns(pl.Series(ROW, rows, dtype=pl.UInt32))
    return frame.lazy(), [_broken(path, bad)] if bad else []


def _broken(path: Path, bad: list[tuple[int, str]]) -> pl.DataFrame:
    frame = pl.DataFrame(bad, schema={ROW: pl.UInt32, "line": pl.String}, orient="row")
    return set_aside(path.name, frame, "line", "unreadable_record")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as handle:
            for row, line in enumerate(handle, start=1):
                if text := line.strip().lstrip("\ufeff"):
                    yield row, text
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read, it may be truncated: {error}") from None


def _fitted(value: Any, dtype: pl.DataType | type[pl.DataType]) -> Any:
    """Return a value as the schema has it: numbers as text, one text as a list of it; what does not fit is refused."""
    if value is None:
        return None
    if dtype == pl.String:
        if isinstance(value, bool | dict | list | tuple):
            raise TypeError(f"{value!r} is no single value")
        return str(value)
    if isinstance(dtype, pl.List) and dtype.inner == pl.String:
        if isinstance(value, str | int | float):
            return [str(value)]
        if not isinstance(value, list | tuple):
            raise TypeError(f"{value!r} is no list")
        return [str(part) for part in value if part is not None]
    return value
