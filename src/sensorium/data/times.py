"""Times of a source as int64 milliseconds since the epoch, UTC: dates, ISO 8601 text, or numbers of a guessed unit.

Two steps, so that a log is read lazily: `look_at_times` returns what must be known of the whole column, to be computed
in the pass that checks the file; `read_times` turns the answer into the expression that reads each value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import polars as pl

from sensorium.core.errors import DataError
from sensorium.data.columns import read_number, read_text

TimeUnit = Literal["auto", "s", "ms", "us", "ns"]

# Unit -> its name, its milliseconds, and the number below which most of a column must lie to be taken for it: 5138.
_UNITS: dict[str, tuple[str, float, float]] = {
    "s": ("seconds", 1000.0, 1e11),
    "ms": ("milliseconds", 1.0, 1e14),
    "us": ("microseconds", 1e-3, 1e17),
    "ns": ("nanoseconds", 1e-6, float("inf")),
}
_DATE = r"^(\d{4})[-/](\d\d)[-/](\d\d)"
_ISO = _DATE + r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)? ?(?:Z|UTC|([+-])(\d\d):?(\d\d)?)?$"


def look_at_times(column: str, dtype: pl.DataType) -> dict[str, pl.Expr]:
    """Return the aggregates of a time column that `read_times` needs, under names of their own."""
    if dtype.is_temporal():
        return {}
    number = read_number(column, dtype)
    looks = {f"time: below {unit}": (number.abs() < top).sum() for unit, (_, _, top) in _UNITS.items()}
    if dtype == pl.String:
        looks["time: some ISO"] = read_text(column).str.contains(_ISO).any()
    return looks


def read_times(
    column: str, dtype: pl.DataType, seen: Mapping[str, Any], unit: TimeUnit = "auto", *, file: str = "the table"
) -> tuple[pl.Expr, str]:
    """Return a time column as int64 milliseconds since the epoch, UTC, and how it was understood.

    Numbers in unit "auto" are seconds, milli-, micro- or nanoseconds by their size: more than half of them must lie
    before 5138. Text is ISO 8601; without a zone it is UTC.

    Args:
        column: Its name.
        dtype: Its type.
        seen: The values of `look_at_times`.
        unit: The unit of numbers.
        file: Where the column stands, for messages.

    Raises:
        DataError: No value can be read.
    """
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return pl.col(column).dt.convert_time_zone("UTC").dt.epoch("ms"), "dates"
    if isinstance(dtype, pl.Datetime | pl.Date):
        return pl.col(column).cast(pl.Datetime("ms")).dt.epoch("ms"), "dates"
    below = {name: seen.get(f"time: below {name}", 0) for name in _UNITS}  # every number is below the last one's top
    if below["ns"]:
        chosen = unit if unit != "auto" else next(name for name, count in below.items() if 2 * count > below["ns"])
        name, factor, _ = _UNITS[chosen]
        return (read_number(column, dtype) * factor).round().cast(pl.Int64, strict=False), name
    if seen.get("time: some ISO"):
        return _read_iso(column), "ISO 8601 dates"
    raise DataError(
        f"{file}: no value of the time column '{column}' can be read: numbers and ISO 8601 are understood; if it holds "
        "no times, map timestamp to another column, or to null"
    )


def _read_iso(column: str) -> pl.Expr:
    """Read by one fixed pattern: a format that is inferred would depend on how the file is cut into chunks."""
    part = read_text(column).str.extract_groups(_ISO).struct
    number = [part[place].cast(pl.Int64, strict=False) for place in range(6)]
    year, month, day, hour, minute, second = (*number[:3], *(value.fill_null(0) for value in number[3:]))
    fraction = part[6].str.pad_end(3, "0").str.head(3).cast(pl.Int64, strict=False).fill_null(0)
    shift = part[8].cast(pl.Int64, strict=False).fill_null(0) * 60
    shift += part[9].cast(pl.Int64, strict=False).fill_null(0)
    shift = pl.when(part[7] == "-").then(-shift).otherwise(shift)
    valid = year.is_not_null() & (month.is_between(1, 12)) & (hour < 24) & (minute < 60) & (second < 60)
    days = pl.concat_str([part[0], part[1], part[2]], separator="-").str.to_date("%Y-%m-%d", strict=False)
    clock = (hour * 3600 + (minute - shift) * 60 + second) * 1000 + fraction
    return pl.when(valid & day.is_not_null()).then(days.cast(pl.Datetime("ms")).dt.epoch("ms") + clock)
