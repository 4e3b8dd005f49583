"""The three tables of a generic import, from any frame of raw columns: rows, items, users.

Raw frames come from the file readers with one more column, `row`: the line or record of the file, counted from 1. For
text files all other columns are text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from sensorium.core.errors import DataError
from sensorium.data import columns as c

NUMBERS = ("price",)  # item columns that are numbers by their role


@dataclass(frozen=True)
class Options:
    """How raw columns are understood."""

    mapping: Mapping[str, str] = field(default_factory=dict)
    time_unit: c.TimeUnit = "auto"
    strict: bool = False


@dataclass
class Table:
    """A table in our shape, what was set aside, and what people should know."""

    frame: pl.LazyFrame
    roles: dict[str, str]
    rejected: list[pl.DataFrame] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def interactions_table(raw: pl.LazyFrame, file: str, options: Options) -> Table:
    """Return user_id, item_id, row, [rating], [timestamp], [order] and the further columns.

    A row without a user or an item, or with a rating or time that cannot be read, is set aside.

    Raises:
        DataError: There is no column for users or items, or strict mode met a value that cannot be read.
    """
    schema = raw.collect_schema()
    names = [name for name in schema.names() if name != "row"]
    roles = c.guess(names, c.INTERACTION_ROLES, options.mapping)
    c.require_roles(roles, ("user_id", "item_id"), file, names)
    table = Table(raw, roles)
    values = {
        "user_id": c.read_text(roles["user_id"]),
        "item_id": c.read_text(roles["item_id"]),
        "row": pl.col("row").cast(pl.Int64),
    }
    bad: dict[str, tuple[pl.Expr, str]] = {
        roles[role]: (values[role].is_null(), "missing_id") for role in ("user_id", "item_id")
    }
    for role in ("rating", "order"):
        if role in roles:
            number = c.read_number(roles[role], schema[roles[role]])
            values[role] = number.cast(pl.Float32) if role == "rating" else number.cast(pl.Int64, strict=False)
            bad[roles[role]] = (number.is_null(), f"unreadable_{role}")
    if "timestamp" in roles:
        values["timestamp"], unit = c.read_time(raw, roles["timestamp"], options.time_unit)
        bad[roles["timestamp"]] = (values["timestamp"].is_null(), "unreadable_timestamp")
        table.notices.append(f"{file}: '{roles['timestamp']}' was read as {unit}")
    further = [name for name in names if name not in roles.values()]
    for column, (where, reason) in bad.items():
        found = c.reject(raw, where, file=file, column=column, reason=reason)
        if found.height and options.strict:
            raise DataError(
                f"{file} row {found['row'][0]}: '{column}' is {found['detail'][0]!r} ({reason}), and --strict allows none of it"
            )
        if found.height:
            table.rejected.append(found)
    dropped = pl.any_horizontal([where.fill_null(False) for where, _ in bad.values()])
    table.frame = raw.filter(~dropped).select(
        *(expression.alias(role) for role, expression in values.items()),
        *(_plain(raw, name, schema[name]).alias(name) for name in further),
    )
    return table


def _plain(raw: pl.LazyFrame, name: str, dtype: pl.DataType) -> pl.Expr:
    """Return a further column: whole numbers where all of its values are, else as it is."""
    if dtype != pl.String:
        return pl.col(name)
    text = c.read_text(name)
    whole = raw.select((text.is_null() | text.str.contains(r"^-?(0|[1-9]\d{0,17})$")).all()).collect().item()
    return text.cast(pl.Int64) if whole else text


def attributes_table(raw: pl.LazyFrame, file: str, key: str, options: Options) -> Table:
    """Return the items or users of a file: `key` (item_id or user_id) as text, and their columns; the first of an id
    stays.

    A value of a number column that cannot be read is missing and counted with its first lines (case DI-3); the row
    stays.

    Raises:
        DataError: There is no column for the id, or strict mode met a value that cannot be read.
    """
    schema = raw.collect_schema()
    names = [name for name in schema.names() if name != "row"]
    roles = c.guess(names, c.ITEM_ROLES if key == "item_id" else ("user_id",), options.mapping)
    c.require_roles(roles, (key,), file, names)
    table = Table(raw, roles)
    values: dict[str, pl.Expr] = {}
    for name in names:
        role = next((role for role, column in roles.items() if column == name), name)
        if role in NUMBERS:
            values[role] = c.read_number(name, schema[name])
            _count_unreadable(table, raw, file, name, schema[name], options.strict)
        elif schema[name] == pl.String or role in (key, *c.ITEM_ROLES):
            values[role] = c.read_text(name)
        else:
            values[role] = pl.col(name)
    identity = values[key]
    missing = c.reject(raw, identity.is_null(), file=file, column=roles[key], reason="missing_id")
    repeated = ~identity.is_first_distinct() & identity.is_not_null()
    again = c.reject(raw, repeated, file=file, column=roles[key], reason="duplicate_id")
    for found, what in [(missing, "no id"), (again, "an id that stood before")]:
        if found.height:
            table.rejected.append(found)
            table.notices.append(
                f"{file}: {found.height:,} rows have {what} and are set aside (first row: {found['row'][0]})"
            )
    table.frame = raw.filter(identity.is_not_null() & ~repeated).select(
        *(expression.alias(name) for name, expression in values.items())
    )
    return table


def _count_unreadable(table: Table, raw: pl.LazyFrame, file: str, name: str, dtype: pl.DataType, strict: bool) -> None:
    if dtype != pl.String:
        return
    lines = raw.filter(c.unreadable_number(name)).select("row").collect()["row"]
    if len(lines):
        found = c.Unreadable(name, len(lines), tuple(lines.head(3).to_list()))
        if strict:
            raise DataError(f"{found.sentence(file)}, and --strict allows none of it")
        table.notices.append(found.sentence(file))
