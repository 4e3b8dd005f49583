"""From external ids to dense ones, and back: 0..n-1 in the order of the external ids, whatever the order of the file.

The order is by value where all ids are plain integers, else as text (by code point). A log is encoded value by value,
so that it can stream; only the distinct ids are held in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

KEYS = {"user": "user_id", "item": "item_id"}  # dense column -> external column


def sort_ids(ids: pl.Series) -> pl.Series:
    """Return the distinct ids in their order: by value where all are plain integers, else as text."""
    distinct = ids.unique()
    if distinct.str.contains(r"^(0|[1-9]\d{0,17})$").all():
        return distinct.cast(pl.Int64).sort().cast(pl.String)
    return distinct.sort()


def distinct_ids(rows: pl.LazyFrame) -> dict[str, pl.Series]:
    """Return the sorted external ids of a log: "user" and "item" -> text [n]."""
    found = pl.collect_all([rows.select(pl.col(key).unique()) for key in KEYS.values()], engine="streaming")
    return {kind: sort_ids(frame[key]) for (kind, key), frame in zip(KEYS.items(), found, strict=True)}


def encode_ids(rows: pl.LazyFrame, ids: dict[str, pl.Series]) -> pl.LazyFrame:
    """Return a log with `user` and `item`, int32 positions in `ids`, instead of user_id and item_id."""
    dense = [
        pl.col(key).cast(pl.Enum(ids[kind])).to_physical().cast(pl.Int32).alias(kind) for kind, key in KEYS.items()
    ]
    return rows.select(*dense, pl.exclude(*KEYS.values(), *KEYS))


def settle_ids(
    ids: pl.Series, code: npt.NDArray[np.int32], more: pl.Series | None, known: pl.Series | None = None
) -> tuple[pl.Series, npt.NDArray[np.int32]]:
    """Return the ids that a data set keeps, and the rows' positions among them.

    Args:
        ids: The distinct ids of the log, text [n].
        code: int32 [rows], positions in `ids` of the rows that stay.
        more: Further ids that belong to the data set although no row may have them.
        known: Ids that have their place already, and keep it; new ones follow, in their own order. None = no such ids.
    """
    used = np.zeros(len(ids), dtype=bool)
    used[code] = True
    kept = ids.filter(pl.Series(used))
    named = kept if more is None else pl.concat([kept, more])
    if known is None:
        settled = sort_ids(named)
    else:
        settled = pl.concat([known, sort_ids(named.filter(~named.is_in(known.implode())))])
    moved = np.full(len(ids), -1, dtype=np.int32)
    moved[used] = kept.cast(pl.Enum(settled)).to_physical().to_numpy()
    return settled, moved[code]


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
