"""The two graphs of the comparison: seeded, in the shapes of MovieLens-1M and Amazon Video Games, with long tails.

Some shape of tail matters for speed: how often the rows of popular items are in the cache already, how often a drawn
item is one that the user has. Only these two data sets' counts are taken over, none of their rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

WIDTH = 64
CONTENT_WIDTH = 128


@dataclass(frozen=True)
class Shape:
    """How many users, items and rows, and how unequal they are."""

    users: int
    items: int
    rows: int
    user_tail: float  # exponent of a Pareto distribution of the users' activity
    item_tail: float  # popularity of the item of rank r ~ 1 / (r + 20)^item_tail


SHAPES = {"1M": Shape(6_040, 3_706, 1_000_209, 1.5, 0.8), ".3M": Shape(31_013, 23_715, 287_107, 1.5, 0.8)}


def write_shape(shape: Shape, path: Path) -> None:
    """Write train rows (4 of 5) and test rows (1 of 10) as int64, and vectors for the evaluation.

    Every user and every item has a train row, so that no library drops any.
    """
    draw = np.random.default_rng(0)
    activity = draw.pareto(shape.user_tail, shape.users) + 0.3
    popularity = (1 / (np.arange(shape.items) + 20.0) ** shape.item_tail)[draw.permutation(shape.items)]
    keys = np.empty(0, dtype=np.int64)
    while len(keys) < shape.rows:
        user = draw.choice(shape.users, shape.rows, p=activity / activity.sum())
        item = draw.choice(shape.items, shape.rows, p=popularity / popularity.sum())
        keys = np.unique(np.concatenate([keys, user * shape.items + item]))
        keys = keys[np.bincount(keys // shape.items, minlength=shape.users)[keys // shape.items] < shape.items // 2]
    keys = draw.permutation(keys)[: shape.rows]
    train, test = np.split(keys, [shape.rows * 8 // 10, shape.rows * 9 // 10])[:2]
    users, items = np.arange(shape.users), np.arange(shape.items)
    covered = np.concatenate(
        [
            users * shape.items + draw.integers(shape.items, size=shape.users),
            draw.integers(shape.users, size=shape.items) * shape.items + items,
        ]
    )
    train = np.unique(np.concatenate([train, covered]))
    test = np.setdiff1d(test, train)
    np.savez(
        path,
        size=np.array([shape.users, shape.items]),
        train_user=train // shape.items,
        train_item=train % shape.items,
        test_user=test // shape.items,
        test_item=test % shape.items,
        train_time=draw.permutation(len(train)),
        user_vectors=draw.standard_normal((shape.users, WIDTH), dtype=np.float32),
        item_vectors=draw.standard_normal((shape.items, WIDTH), dtype=np.float32),
        content=draw.standard_normal((shape.items, CONTENT_WIDTH), dtype=np.float32),
    )
