"""Noise that is known: train rows are added that nobody meant, and a mask says which ones they are.

    floor(rate * E) rows (u, j)     E train rows; u in proportion to n_u, j by kind, no pair that the split knows
    kind "uniform"                  j any item with a train row, all alike
    kind "popularity"               j in proportion to n_j

The share of noise among the train rows is rate / (1 + rate). Valid and test rows stay as they were. Added rows are
train rows: they are trained on, and masked in rankings. Uniform noise falls on rare items, so that an item's popularity
alone finds most of it (docs/results/guider.md); a method that tells noise from taste is judged by the other kind.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sensorium.core.config import Config
from sensorium.core.errors import DataError
from sensorium.core.seeds import numpy_generator
from sensorium.data.splits import TRAIN, Split

ROUNDS = 200
"""Draws of an item for one user that may be refused before the data are called too full."""

Integers = npt.NDArray[np.int64]


class NoiseConfig(Config):
    """How train rows are spoilt."""

    kind: Literal["uniform", "popularity"] = Field(
        "popularity", description="how the items of added rows are drawn: all alike, or by their number of train rows"
    )
    rate: float = Field(gt=0, le=2, description="added rows for each train row; their share is rate / (1 + rate)")
    seed: int | None = Field(
        None, ge=0, description="of the draws; null = that of the run, so that each seed has its own"
    )
    trained: bool = Field(
        True,
        description="false = added rows are masked in rankings and not trained on: what a perfect filter would leave",
    )


def add_noise(split: Split, config: NoiseConfig, *, seed: int) -> Split:
    """Return the split with added train rows at its end; `injected` marks them, and their `row` is -1.

    Args:
        split: Any split.
        config: Kind and rate.
        seed: Of the draws, where the config has none.

    Raises:
        DataError: Too few pairs are left that the split does not know.
    """
    seed = seed if config.seed is None else config.seed
    train = np.flatnonzero(split.label == TRAIN)
    wanted = int(config.rate * len(train))
    user, item = _draw(split, train, wanted, config, numpy_generator(seed, "noise", config.kind))
    pick = numpy_generator(seed, "noise", "times").integers(0, len(train), wanted)
    timestamp = split.timestamp
    if timestamp is not None:  # the time of some other train row
        timestamp = np.concatenate([timestamp, timestamp[train[pick]]])
    sentence = f"noise: {wanted} train rows were added ({config.kind}, rate {config.rate:g}, seed {seed})" + (
        "" if config.trained else "; they are masked and not trained on"
    )
    return replace(
        split,
        row=np.concatenate([split.row, np.full(wanted, -1)]),
        user=np.concatenate([split.user, user]),
        item=np.concatenate([split.item, item]),
        label=np.concatenate([split.label, np.full(wanted, TRAIN, dtype=np.int8)]),
        timestamp=timestamp,
        injected=np.concatenate([np.zeros(len(split.row), dtype=bool), np.ones(wanted, dtype=bool)]),
        notices=[*split.notices, sentence],
    )


def _draw(
    split: Split, train: Integers, wanted: int, config: NoiseConfig, generator: np.random.Generator
) -> tuple[Integers, Integers]:
    """Return users and items of the added rows, int64 [wanted] each, ascending by user and item."""
    items = split.item[train] if config.kind == "popularity" else np.unique(split.item[train])
    known = np.unique(split.user * split.n_items + split.item)
    taken = np.empty(0, dtype=np.int64)
    for _ in range(ROUNDS):
        user = split.user[train[generator.integers(0, len(train), wanted - len(taken))]]
        for _ in range(ROUNDS):  # a user who was drawn stays, and gets another item
            key = user * split.n_items + items[generator.integers(0, len(items), len(user))]
            new = np.setdiff1d(key, known)
            known, taken = np.union1d(known, new), np.concatenate([taken, new])
            user = _without(user, new // split.n_items)
            if not len(user):
                taken.sort()
                return taken // split.n_items, taken % split.n_items
    raise DataError(
        f"{wanted} rows of noise were asked for and only {len(taken)} could be drawn: the users hold nearly every item"
    )


def _without(user: Integers, served: Integers) -> Integers:
    """Return the users, each as often as it stands in the first array and not in the second, ascending."""
    distinct, count = np.unique(user, return_counts=True)
    count -= np.bincount(np.searchsorted(distinct, served), minlength=len(distinct))
    return np.repeat(distinct, count)
