"""The three tables of a generic import, from any frame of raw columns: rows, items, users.

Raw frames come from the file readers with one more column, `columns.ROW`: the line or record of the file. For text
files all other columns are text. A log stays lazy: one pass checks it, one more collects what is set aside.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from sensorium.core.errors import DataError
from sensorium.data import columns as c
from sensorium.data.times import TimeUnit, look_at_times, read_times

NUMBERS = ("price",)  # item columns that are numbers by their role


@dataclass(frozen=True)
class Options:
    """How raw columns are understood."""

    mapping: Mapping[str, str | None] = field(default_factory=dict)
    time_unit: TimeUnit = "auto"
    strict: bool = False


@dataclass
class Table:
    """A table in our shape, what was set aside, and what people should know."""

    frame: pl.LazyFrame
    roles: dict[str, str]
    rejected: list[pl.DataFrame] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


# --- rows ---


def interactions_table(raw: pl.LazyFrame, file: str, options: Options, *, without: Collection[str] = ()) -> Table:
    """Return user_id, item_id, row, [rating], [timestamp], [order] and the further columns.

    A row without a user or an item, or with a rating or time that cannot be read, is set aside under the first reason
    that it gives.

    Args:
        raw: The log, and `columns.ROW`.
        file: Its name, for messages.
        options: How its columns are understood.
        without: Further columns that belong to another table.

    Raises:
        DataError: There is no column for users or items, or strict mode met a value that cannot be read.
    """
    schema = raw.collect_schema()
    names = [name for name in schema.names() if name != c.ROW]
    roles = c.guess(names, c.INTERACTION_ROLES, options.mapping)
    c.require_roles(roles, ("user_id", "item_id"), file, names)
    c.require_flat(schema, roles.values(), file)
    kept = c.further_names([name for name in names if name not in (*roles.values(), *without)], ())
    seen = _look(raw, schema, roles, [*kept])
    table = Table(raw, roles, notices=_renamed(kept, file))
    values: dict[str, pl.Expr] = {}
    bad: dict[str, tuple[pl.Expr, str]] = {}  # column -> where, and the reason
    for role, column in roles.items():
        reason = f"unreadable_{role}"
        if role in ("user_id", "item_id"):
            values[role], reason = c.read_id(column, schema[column]), "missing_id"
        elif role == "timestamp":
            values[role], unit = read_times(column, schema[column], seen, options.time_unit, file=file)
            table.notices.append(f"{file}: '{column}' was read as {unit}")
        else:
            values[role] = c.read_number(column, schema[column], pl.Float32 if role == "rating" else pl.Int64)
        bad[column] = (values[role].is_null(), reason)
    table.rejected = _set_aside(raw, bad, file, strict=options.strict)
    good = pl.all_horizontal([~where for where, _ in bad.values()])
    table.frame = raw.filter(good).select(
        *(expression.alias(role) for role, expression in values.items()),
        pl.col(c.ROW).cast(pl.Int64).alias("row"),
        *(_plain(name, seen).alias(kept_name) for name, kept_name in kept.items()),
    )
    return table


def _look(raw: pl.LazyFrame, schema: pl.Schema, roles: Mapping[str, str], further: list[str]) -> dict[str, Any]:
    """Read through the log once: every column of every line, so that damage shows here, and what must be known."""
    looks = {f"missing: {name}": pl.col(name).null_count() for name in schema.names()}
    looks |= {f"whole: {name}": c.is_whole(name).all() for name in further if schema[name] == pl.String}
    if "timestamp" in roles:
        looks |= look_at_times(roles["timestamp"], schema[roles["timestamp"]])
    return raw.select(**looks).collect(engine="streaming").row(0, named=True)


def _plain(name: str, seen: Mapping[str, Any]) -> pl.Expr:
    """Return a further column: whole numbers where all of its values are, else as it is."""
    whole = seen.get(f"whole: {name}")
    if whole is None:
        return pl.col(name)
    return c.read_text(name).cast(pl.Int64) if whole else c.read_text(name)


def _set_aside(
    raw: pl.LazyFrame, bad: Mapping[str, tuple[pl.Expr, str]], file: str, *, strict: bool = False
) -> list[pl.DataFrame]:
    """Return the rows where something is bad, each once, as `store.REJECTED_SCHEMA`; none where all is well."""
    cases = [
        pl.when(where).then(
            pl.struct(
                pl.lit(column).alias("column"),
                pl.lit(reason).alias("reason"),
                pl.col(column).cast(pl.String).alias("detail"),
            )
        )
        for column, (where, reason) in bad.items()
    ]
    found = (  # cases before the filter: what is repeated shows among all rows alone
        raw.select(
            pl.lit(file).alias("file"), pl.col(c.ROW).cast(pl.Int64).alias("row"), pl.coalesce(cases).alias("case")
        )
        .filter(pl.col("case").is_not_null())
        .unnest("case")
        .collect(engine="streaming")
    )
    if found.height and strict:
        row = found.row(0, named=True)
        raise DataError(
            f"{file} row {row['row']}: '{row['column']}' is {row['detail']!r} ({row['reason']}), and --strict allows "
            "none of it"
        )
    return [found] if found.height else []


def _renamed(names: Mapping[str, str], file: str) -> list[str]:
    return [f"{file}: the column '{name}' is kept as '{kept}'" for name, kept in names.items() if name != kept]


# --- items and users ---


def attributes_table(raw: pl.LazyFrame, file: str, key: str, options: Options) -> Table:
    """Return the items or users of a file: `key` (item_id or user_id) as text, and their columns; the first of an id
    stays.

    A value of a number column that cannot be read is missing and counted with its first lines; the row
    stays.

    Raises:
        DataError: There is no column for the id, or strict mode met a value that cannot be read.
    """
    schema = raw.collect_schema()
    names = [name for name in schema.names() if name != c.ROW]
    roles = c.guess(names, c.ITEM_ROLES if key == "item_id" else (key,), options.mapping, plain_id=key)
    c.require_roles(roles, (key,), file, names)
    c.require_flat(schema, roles.values(), file)
    kept = c.further_names([name for name in names if name not in roles.values()], roles)
    table = Table(raw, roles, notices=_renamed(kept, file))
    values: dict[str, pl.Expr] = {}
    for role, column in roles.items():
        if role == key:
            values[role] = c.read_id(column, schema[column])
        elif role in NUMBERS:
            values[role] = c.read_number(column, schema[column])
            _count_unreadable(table, file, column, schema[column], options.strict)
        else:
            values[role] = c.read_text(column)
    for column, name in kept.items():
        values[name] = c.read_text(column) if schema[column] == pl.String else pl.col(column)
    identity = values[key]
    repeated = identity.is_not_null() & ~identity.is_first_distinct()
    for where, reason, what in (
        (identity.is_null(), "missing_id", "no id"),
        (repeated, "duplicate_id", "an id that stood before"),
    ):
        for found in _set_aside(raw, {roles[key]: (where, reason)}, file):
            table.rejected.append(found)
            table.notices.append(
                f"{file}: {found.height:,} rows have {what} and are set aside (first row: {found['row'][0]})"
            )
    table.frame = raw.filter(identity.is_not_null() & ~repeated).select(
        *(expression.alias(name) for name, expression in values.items())
    )
    return table


def _count_unreadable(table: Table, file: str, name: str, dtype: pl.DataType, strict: bool) -> None:
    if dtype != pl.String:
        return
    lines = table.frame.filter(c.unreadable_number(name)).select(c.ROW).collect()[c.ROW]
    if len(lines):
        found = c.Unreadable(name, len(lines), tuple(lines.head(3).to_list()))
        if strict:
            raise DataError(f"{found.sentence(file)}, and --strict allows none of it")
        table.notices.append(found.sentence(file))
