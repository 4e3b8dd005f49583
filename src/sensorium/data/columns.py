"""From a foreign table to ours: which column is what, and values as the types that we keep.

Names are guessed from what public data sets use; the guess is shown by `data import --dry-run` and can be overruled by
a mapping. A value that cannot be read becomes missing and is counted with its first lines, or sets its row aside where
the row is nothing without it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from sensorium.core.errors import DataError
from sensorium.core.registry import did_you_mean

# Role -> the names that public data sets give to it, letters and digits only, lower case.
NAMES: dict[str, tuple[str, ...]] = {
    "user_id": ("userid", "user", "uid", "userindex", "reviewerid", "customerid", "visitorid", "memberid"),
    "item_id": (
        "itemid", "item", "iid", "itemindex", "parentasin", "asin", "movieid", "movie", "articleid", "productid",
        "businessid", "trackid", "videoid", "postid",
    ),
    "rating": ("rating", "score", "stars", "overall"),
    "timestamp": ("timestamp", "time", "ts", "unixreviewtime", "unixtime", "datetime", "date", "createdat"),
    "order": ("order", "sequence", "position"),
    "title": ("title", "name", "titletext", "productname"),
    "description": ("description", "text", "plot", "summary", "abstract"),
    "image": ("image", "cover", "poster", "imagepath", "picture", "photo"),
    "audio": ("audio", "audiopath", "sound"),
    "video": ("video", "videopath", "clip"),
    "price": ("price",),
}  # fmt: skip
INTERACTION_ROLES = ("user_id", "item_id", "rating", "timestamp", "order")
ITEM_ROLES = ("item_id", "title", "description", "image", "audio", "video", "price")
MEDIA = ("image", "audio", "video")

TimeUnit = Literal["auto", "s", "ms", "us", "ns"]
_FACTORS = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}


@dataclass(frozen=True)
class Unreadable:
    """Values of one column that could not be read."""

    column: str
    count: int
    lines: tuple[int, ...]

    def sentence(self, file: str) -> str:
        """Say what was found, in one sentence."""
        lines = ", ".join(map(str, self.lines))
        return f"{file}: {self.count:,} values of '{self.column}' cannot be read and count as missing (first lines: {lines})"


def guess(columns: Sequence[str], roles: Collection[str], mapping: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return role -> column: what the mapping says, and the best guess for the other roles.

    Args:
        columns: The table's columns.
        roles: The roles that matter for this table.
        mapping: role -> column, chosen by the user.

    Raises:
        DataError: The mapping names a role or a column that is not there.
    """
    found: dict[str, str] = {}
    for role, column in (mapping or {}).items():
        if role not in NAMES:
            raise DataError(
                f"columns: there is no role '{role}'{did_you_mean(role, NAMES)} (known: {', '.join(NAMES)})"
            )
        if role in roles:
            if column not in columns:
                raise DataError(
                    f"there is no column '{column}' for {role}{did_you_mean(column, columns)} (columns: {', '.join(columns)})"
                )
            found[role] = column
    plain = {re.sub(r"[^a-z0-9]", "", column.lower()): column for column in reversed(columns)}
    for role in roles:
        if role not in found:
            known = next(
                (plain[name] for name in NAMES[role] if name in plain and plain[name] not in found.values()), None
            )
            if known is not None:
                found[role] = known
    return found


def require_roles(found: Mapping[str, str], roles: Collection[str], file: str, columns: Sequence[str]) -> None:
    """Raise a DataError that names the first role for which no column was found."""
    for role in roles:
        if role not in found:
            raise DataError(
                f"{file}: no column for {role} among: {', '.join(columns)}; name it with a mapping, for example "
                f"--columns {role}={columns[0] if columns else 'NAME'}"
            )


def read_text(column: str) -> pl.Expr:
    """Return a column as text without surrounding blanks; blank text is missing."""
    text = pl.col(column).cast(pl.String).str.strip_chars()
    return pl.when(text == "").then(None).otherwise(text)


def read_number(column: str, dtype: pl.DataType | type[pl.DataType]) -> pl.Expr:
    """Return a column as float64; what is no number, and NaN, is missing."""
    number = (read_text(column) if dtype == pl.String else pl.col(column)).cast(pl.Float64, strict=False)
    return number.fill_nan(None)


def unreadable_number(column: str) -> pl.Expr:
    """Return where a text column holds something that is no number."""
    text = read_text(column)
    return text.is_not_null() & text.cast(pl.Float64, strict=False).is_null()


def read_time(frame: pl.LazyFrame, column: str, unit: TimeUnit) -> tuple[pl.Expr, str]:
    """Return a column of times as int64 milliseconds since the epoch, UTC, and how it was understood.

    Numbers in unit "auto" are seconds, milli-, micro- or nanoseconds by their size: the middle of the column must lie
    between 1973 and 5138. Text is ISO 8601; without a zone it is UTC.

    Raises:
        DataError: No value can be read.
    """
    dtype = frame.collect_schema()[column]
    if isinstance(dtype, pl.Datetime | pl.Date):
        return pl.col(column).cast(pl.Datetime("ms")).dt.epoch("ms"), "dates"
    number = read_number(column, dtype)
    middle = frame.select(number.median()).collect().item()
    if middle is None:
        if dtype != pl.String:
            raise DataError(f"no value of the time column '{column}' can be read")
        moment = read_text(column).str.to_datetime(time_unit="ms", time_zone="UTC", strict=False)
        if frame.select(moment.is_not_null().any()).collect().item() is not True:
            raise DataError(f"no value of the time column '{column}' can be read: numbers or ISO 8601 are understood")
        return moment.dt.epoch("ms"), "ISO 8601 dates"
    chosen = unit if unit != "auto" else next(name for name, top in _TOPS if abs(middle) < top)
    return (number * _FACTORS[chosen]).round().cast(pl.Int64, strict=False), {
        "s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"
    }[chosen]  # fmt: skip


_TOPS = [("s", 1e11), ("ms", 1e14), ("us", 1e17), ("ns", float("inf"))]


def reject(frame: pl.LazyFrame, where: pl.Expr, *, file: str, column: str, reason: str) -> pl.DataFrame:
    """Return the rows of a frame (with its column `row`) that are set aside, as `REJECTED_SCHEMA`."""
    schema = frame.collect_schema().names()
    detail = pl.col(column).cast(pl.String) if column in schema else pl.lit(None, pl.String)
    return (
        frame.filter(where.fill_null(False))
        .select(
            pl.lit(file).alias("file"),
            pl.col("row").cast(pl.Int64),
            pl.lit(column).alias("column"),
            pl.lit(reason).alias("reason"),
            detail.alias("detail"),
        )
        .collect()
    )
