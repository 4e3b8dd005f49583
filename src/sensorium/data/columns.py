"""From a foreign table to ours: which column is what, and values as the types that we keep.

Names are guessed from what public data sets use; the guess is shown by `data import --dry-run` and can be overruled by
a mapping. A value that cannot be read becomes missing and is counted with its first lines, or sets its row aside where
the row is nothing without it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

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

ROW = "row number of sensorium"  # the readers' column of line or record numbers: a name that no source has
RESERVED = ("user", "item", "user_id", "item_id", "row", "rating", "timestamp", "order", "weight")  # our own


@dataclass(frozen=True)
class Unreadable:
    """Values of one column that could not be read."""

    column: str
    count: int
    lines: tuple[int, ...]

    def sentence(self, file: str) -> str:
        """Say what was found, in one sentence."""
        what = f"{file}: {self.count:,} values of '{self.column}' cannot be read and count as missing"
        return f"{what} (first lines: {', '.join(map(str, self.lines))})"


def guess(
    columns: Sequence[str],
    roles: Collection[str],
    mapping: Mapping[str, str | None] | None = None,
    *,
    plain_id: str = "",
) -> dict[str, str]:
    """Return role -> column: what the mapping says, and the best guess for the other roles.

    Args:
        columns: The table's columns.
        roles: The roles that matter for this table.
        mapping: role -> column, chosen by the user; None = the table has no such column, whatever it looks like.
        plain_id: The role that a column "id" has in this table, if any. The mapping may name that role's column as
            another file calls it.

    Raises:
        DataError: The mapping names a role or a column that is not there.
    """
    found: dict[str, str] = {}
    for role, column in (mapping or {}).items():
        if role not in NAMES:
            raise DataError(
                f"columns: there is no role '{role}'{did_you_mean(role, NAMES)} (known: {', '.join(NAMES)})"
            )
        if column is None or role not in roles or (role == plain_id and column not in columns):
            continue
        if column not in columns:
            raise DataError(
                f"there is no column '{column}' for {role}{did_you_mean(column, columns)} "
                f"(columns: {', '.join(columns)})"
            )
        found[role] = column
    plain = {re.sub(r"[^a-z0-9]", "", column.lower()): column for column in reversed(columns)}
    for role in roles:
        names = (*NAMES[role], "id") if role == plain_id else NAMES[role]
        if role not in found and (mapping or {}).get(role, "") is not None:
            free = [name for name in names if name in plain and (role == plain_id or plain[name] not in found.values())]
            if free:
                found[role] = plain[free[0]]
    return found


def require_roles(found: Mapping[str, str], roles: Collection[str], file: str, columns: Sequence[str]) -> None:
    """Raise a DataError that names the first role for which no column was found."""
    for role in roles:
        if role not in found:
            raise DataError(
                f"{file}: no column for {role} among: {', '.join(columns)}; name it with a mapping, for example "
                f"--column {role}={columns[0] if columns else 'NAME'}"
            )


def further_names(columns: Sequence[str], taken: Collection[str]) -> dict[str, str]:
    """Return column -> the name under which it is kept: its own, or with "_raw" where our tables need that name."""
    names: dict[str, str] = {}
    for column in columns:
        name = column
        while name in (*RESERVED, *taken, *names.values()):
            name += "_raw"
        names[column] = name
    return names


def require_flat(schema: Mapping[str, pl.DataType], columns: Collection[str], file: str) -> None:
    """Raise a DataError that names the first column with lists or records, where single values are needed."""
    for column in columns:
        if schema[column].is_nested():
            raise DataError(f"{file}: '{column}' holds {schema[column]}, and single values are needed")


def read_text(column: str) -> pl.Expr:
    """Return a column as text without surrounding blanks; blank text is missing."""
    text = pl.col(column).cast(pl.String).str.strip_chars()
    return pl.when(text == "").then(None).otherwise(text)


def read_id(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column of external ids as text; whole numbers that became 1.0, 2.0 beside a gap are 1, 2 again."""
    if not dtype.is_float():
        return read_text(column)
    whole = pl.col(column).cast(pl.Int64, strict=False)
    text = pl.when(pl.col(column) == whole).then(whole.cast(pl.String)).otherwise(read_text(column))
    return pl.when(pl.col(column).is_not_nan()).then(text)


def read_number(column: str, dtype: pl.DataType, to: type[pl.DataType] = pl.Float64) -> pl.Expr:
    """Return a column as numbers; what is no number, or not finite, is missing."""
    text = pl.col(column).str.strip_chars() if dtype == pl.String else pl.col(column)
    number = text.cast(pl.Float64, strict=False).cast(to, strict=False)
    return pl.when(number.is_finite()).then(number) if to.is_float() else number


def unreadable_number(column: str) -> pl.Expr:
    """Return where a text column holds something that is no number."""
    text = read_text(column)
    return text.is_not_null() & text.cast(pl.Float64, strict=False).is_null()


def is_whole(column: str) -> pl.Expr:
    """Return where a text column holds a plain whole number, or nothing."""
    text = read_text(column)
    return text.is_null() | text.str.contains(r"^-?(0|[1-9]\d{0,17})$")
