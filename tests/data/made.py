"""Small data sets on disk, and what the tests of splits, views and batches ask of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sensorium.data.dataset import Dataset
from sensorium.data.schema import Source
from sensorium.data.splits import TEST, TRAIN, VALID, Split
from sensorium.data.store import write_tables
from sensorium.data.view import TrainView

Pairs = Sequence[tuple[int, int]]


def make_dataset(
    folder: Path,
    user: Sequence[int],
    item: Sequence[int],
    *,
    n_users: int | None = None,
    n_items: int | None = None,
    name: str = "made",
    sensitive: Sequence[str] = (),
    attributes: Mapping[str, Sequence[Any]] | None = None,
    **columns: Sequence[Any],
) -> Dataset:
    """Write a data set; `columns` are further columns of the interactions, such as `timestamp`."""
    users = max(user, default=-1) + 1 if n_users is None else n_users
    items = max(item, default=-1) + 1 if n_items is None else n_items
    kinds = {"rating": pl.Float32, "timestamp": pl.Int64, "order": pl.Int64}
    folder.mkdir(parents=True)
    return write_tables(
        folder,
        name=name,
        source=Source(reader="made"),
        interactions=pl.DataFrame(
            {
                "user": pl.Series(user, dtype=pl.Int32),
                "item": pl.Series(item, dtype=pl.Int32),
                **{key: pl.Series(values, dtype=kinds.get(key)) for key, values in columns.items()},
            }
        ),
        items=pl.DataFrame(
            {"item": pl.Series(range(items), dtype=pl.Int32), "item_id": [f"item {i}" for i in range(items)]}
        ),
        users=pl.DataFrame(
            {
                "user": pl.Series(range(users), dtype=pl.Int32),
                "user_id": [f"user {u}" for u in range(users)],
                **(attributes or {}),
            }
        ),
        sensitive=sensitive,
    )


def random_pairs(n_users: int, n_items: int, n: int, seed: int = 0) -> tuple[list[int], list[int]]:
    """Distinct (user, item) pairs in random order."""
    key = np.random.default_rng(seed).permutation(n_users * n_items)[:n]
    return (key // n_items).tolist(), (key % n_items).tolist()


def parts(split: Split) -> tuple[set[tuple[int, int]], set[tuple[int, int]], set[tuple[int, int]]]:
    """The (user, item) pairs of train, valid and test."""
    rows = (split.part(label) for label in (TRAIN, VALID, TEST))
    train, valid, test = ({*zip(part.user.tolist(), part.item.tolist(), strict=True)} for part in rows)
    return train, valid, test


def sizes(split: Split) -> tuple[int, int, int]:
    """The number of train, valid and test rows."""
    return tuple(len(split.part(label).row) for label in (TRAIN, VALID, TEST))  # type: ignore[return-value]


def make_view(pairs: Pairs, n_users: int, n_items: int) -> TrainView:
    """A view of given train rows."""
    user, item = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2).T
    return TrainView(n_users, n_items, user, item, None, 0, {}, {})
