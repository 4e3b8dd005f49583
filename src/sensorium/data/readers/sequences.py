"""One user a line, oldest item first: the format of files that keep only the order in which things happened."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from sensorium.core.errors import DataError
from sensorium.data.columns import ROW
from sensorium.data.readers.lines import scan_lines, set_aside


def read_sequences(
    path: Path, after_user: str, between_items: str = " ", *, strict: bool = False
) -> tuple[pl.LazyFrame, list[pl.DataFrame]]:
    """Return user_id, item_id, row (the line) and order (0, 1, ... within the line), and the lines set aside.

    Args:
        path: A file of lines "user<after_user>item<between_items>item ...", plain or gzip.
        after_user: Between the user and the first item.
        between_items: Between two items.
        strict: Stop at a line without a user or an item.

    Raises:
        DataError: The file is missing, empty or of another format, or one user has two lines.
    """
    lines = scan_lines(path).filter(pl.col("line").is_not_null())
    parts = lines.with_columns(
        pl.col("line").str.strip_chars(" \r").str.splitn(after_user, 2).struct.rename_fields(["user_id", "items"])
    ).unnest("line")
    whole = (pl.col("user_id").str.strip_chars() != "") & (pl.col("items").str.strip_chars() != "")
    try:
        bad = parts.filter(~whole.fill_null(False)).collect(engine="streaming")
        users = parts.filter(whole).select(pl.col("user_id")).collect(engine="streaming")["user_id"]
    except pl.exceptions.NoDataError:
        raise DataError(f"{path}: the file is empty") from None
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: cannot be read as lines of text: {str(error).splitlines()[0]}") from None
    if not len(users):
        raise DataError(f"{path}: no line is a user, {after_user!r}, and items with {between_items!r} between them")
    if users.n_unique() < len(users):
        twice = users.filter(users.is_duplicated())[0]
        raise DataError(f"{path}: user '{twice}' has more than one line: their order cannot be known")
    if bad.height and strict:
        raise DataError(f"{path.name} line {bad[ROW][0]} has no user or no item, and --strict allows none of it")
    item = pl.col("items").str.strip_chars().str.split(between_items)
    rows = (
        parts.filter(whole)
        .select("user_id", pl.col(ROW).cast(pl.Int64).alias("row"), item.alias("item_id"))
        .with_columns(order=pl.int_ranges(0, pl.col("item_id").list.len(), dtype=pl.Int64))
        .explode("item_id", "order")
        .filter(pl.col("item_id") != "")
    )
    return rows, [set_aside(path.name, bad, "user_id", "wrong_fields")] if bad.height else []
