"""From external ids to dense ones, and back: 0..n-1 in the order of the external ids, whatever the order of the file.

The order is by value where all ids are plain integers, else as text (by code point). A log is encoded value by value,
so that it can stream; only the distinct ids are held in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core.errors import DataError

KEYS = {"user": "user_id", "item": "item_id"}  # dense column -> external column
PLAIN_INTEGER = r"^(0|[1-9]\d{0,17})$"


def sort_ids(ids: pl.Series) -> pl.Series:
    """Return the distinct ids in their order: by value where all are plain integers, else as text."""
    distinct = ids.unique()
    if distinct.str.contains(PLAIN_INTEGER).all():
        return distinct.cast(pl.Int64).sort().cast(pl.String)
    return distinct.sort()


def encode_ids(rows: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, dict[str, pl.Series]]:
    """Return a log with `user` and `item`, int32 places among the sorted external ids, and these ids: text [n] each.

    Args:
        rows: user_id, item_id and further columns.
        path: What was read, for messages.

    Raises:
        DataError: A row has no user or no item.
    """
    if any(rows[key].has_nulls() for key in KEYS.values()):
        raise DataError(f"{path}: the reader gave rows without a user or an item: it must set them aside")
    ids = {kind: sort_ids(rows[key]) for kind, key in KEYS.items()}
    dense = [
        pl.col(key).cast(pl.Enum(ids[kind])).to_physical().cast(pl.Int32).alias(kind) for kind, key in KEYS.items()
    ]
    return rows.select(*dense, pl.exclude(*KEYS.values(), *KEYS)), ids


def settle_ids(
    ids: pl.Series, used: npt.NDArray[np.bool_], more: pl.Series | None, known: pl.Series | None = None
) -> tuple[pl.Series, npt.NDArray[np.int32]]:
    """Return the ids that a data set keeps, and where each id of the log stands among them: int32 [n], -1 if nowhere.

    Args:
        ids: The distinct ids of the log, sorted: text [n].
        used: bool [n], whether a row that stays has the id.
        more: Further ids that belong to the data set although no row may have them.
        known: Ids that have their place already, and keep it; new ones follow, in their own order. None = no such ids.
    """
    if more is None and known is None and used.all():
        return ids, np.arange(len(ids), dtype=np.int32)
    kept = ids.filter(pl.Series(used))
    named = kept if more is None else pl.concat([kept, more])
    if known is None:
        settled = sort_ids(named)
    else:
        settled = pl.concat([known, sort_ids(named.filter(~named.is_in(known.implode())))])
    moved = np.full(len(ids), -1, dtype=np.int32)
    moved[used] = kept.cast(pl.Enum(settled)).to_physical().to_numpy()
    return settled, moved


def table_in_order(table: pl.LazyFrame | None, kind: str, ids: pl.Series) -> pl.DataFrame:
    """Return one row per dense id: the id int32, the external id, and the columns that the source has for it."""
    key = KEYS[kind]
    frame = pl.DataFrame({kind: np.arange(len(ids), dtype=np.int32), key: ids})
    return frame if table is None else frame.join(table.collect(), on=key, how="left", maintain_order="left")


def rows_in_order(given: pl.Series, ids: pl.Series) -> npt.NDArray[Any]:
    """Return for each dense id its place among the given ids: int64 [n], -1 where it is not there."""
    table = pl.DataFrame({"id": given, "row": np.arange(len(given), dtype=np.int64)})
    found = pl.DataFrame({"id": ids}).join(table, on="id", how="left", maintain_order="left")["row"]
    return found.fill_null(-1).to_numpy()
