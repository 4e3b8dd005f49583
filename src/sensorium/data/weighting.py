"""Weights from a table of their own, joined to the rows of an import by external ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from sensorium.core.errors import DataError
from sensorium.core.files import read_parquet
from sensorium.data.schema import WEIGHT

IDS = ("user_id", "item_id")


def with_weights(rows: pl.DataFrame, ids: Mapping[str, pl.Series], file: Path) -> tuple[pl.DataFrame, str]:
    """Return the rows with a column `weight` float32, 1 where the table has none, and a sentence that counts them.

    Args:
        rows: user and item as dense ids.
        ids: External ids by kind, "user" and "item", in id order.
        file: A Parquet table with user_id, item_id and weight.

    Raises:
        DataError: The table lacks a column, holds a weight that is negative or no number, names a pair twice, or names
            none of the rows.
    """
    table = read_parquet(file)
    if missing := [name for name in (*IDS, WEIGHT) if name not in table.columns]:
        raise DataError(f"{file}: there is no column {missing[0]} (columns: {', '.join(table.columns)})")
    table = table.select(*(pl.col(name).cast(pl.String) for name in IDS), pl.col(WEIGHT).cast(pl.Float32))
    wrong = table.filter(~(pl.col(WEIGHT).is_finite() & (pl.col(WEIGHT) >= 0)).fill_null(False))
    if wrong.height:
        user, weight = wrong[IDS[0]][0], wrong[WEIGHT][0]
        raise DataError(f"{file}: user '{user}' has weight {weight}: weights are numbers from 0 up")
    if table.select(IDS).is_duplicated().any():
        raise DataError(f"{file}: a pair of user and item stands twice: keep one weight for it")
    named = rows.select("user", "item").with_columns(
        user_id=ids["user"].gather(rows["user"]), item_id=ids["item"].gather(rows["item"])
    )
    joined = named.join(table, on=list(IDS), how="left", maintain_order="left")[WEIGHT]
    found = len(joined) - joined.null_count()
    if not found:
        raise DataError(f"{file}: none of its pairs is among the imported rows: ids must be the same texts")
    notice = f"weights: {found:,} of {rows.height:,} rows have one in {file.name}, the others count as 1"
    return rows.with_columns(joined.fill_null(1.0).alias(WEIGHT)), notice
