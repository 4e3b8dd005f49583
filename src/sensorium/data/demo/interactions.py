"""Tastes become rows: one occasion, one shelf, one choice.

On each occasion a user sees a shelf of items drawn by popularity and takes the one with the largest utility plus
Gumbel noise: an exact draw of the multinomial logit choice over the shelf. A planted noise row is the same draw with
utility 0, that is, an item by popularity. The work grows with rows x shelf and not with the catalogue, and there is no
loop over users, items or rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensorium.core.seeds import numpy_generator
from sensorium.data.demo.config import DemoConfig
from sensorium.data.demo.world import World, factors_of

START = 1_704_067_200_000  # 2024-01-01 00:00 UTC, in ms
SPAN = 540 * 86_400_000  # ms
CHUNK = 8_192  # occasions at once: a few tens of MB at the default shelf
ROUNDS = 30  # after so many shelves that hold nothing for a user, the occasion passes without a row


@dataclass(frozen=True)
class Rows:
    """The log, in the order of time. All arrays have one entry for each row."""

    user: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    timestamp: npt.NDArray[np.int64]  # ms since the epoch, UTC
    planted: npt.NDArray[np.bool_]  # True: noise that ignores taste


def sample_rows(world: World, config: DemoConfig) -> Rows:
    """Draw the interactions of a world. (user, item) pairs are unique; nobody takes an item before it has arrived."""
    generator = numpy_generator(config.world_seed, "demo", "occasions")
    user = np.repeat(np.arange(world.n_users), world.activity)
    progress = generator.random(len(user))  # 0 = the user joins, 1 = the user leaves
    progress = progress[np.lexsort((progress, user))]
    time = world.joined[user] + progress * (world.left - world.joined)[user]
    planted = np.zeros(len(user), dtype=bool)
    planted[generator.permutation(len(user))[: round(config.noise * len(user))]] = True

    shop = _Shop.of(world, config)
    item = np.full(len(user), -1)
    undecided = np.arange(len(user))
    for attempt in range(ROUNDS):
        decided = item >= 0
        owned = np.sort(user[decided] * world.n_items + item[decided])
        for block, start in enumerate(range(0, len(undecided), CHUNK)):
            rows = undecided[start : start + CHUNK]
            taste = shop.taste(user[rows], progress[rows], planted[rows])
            generator = numpy_generator(config.world_seed, "demo", "choices", attempt, block)
            item[rows] = shop.choose(user[rows], taste, time[rows], owned, generator)
        undecided = np.flatnonzero((item < 0) | _repeats(user, item, world.n_items))
        item[undecided] = -1
        if not len(undecided):
            break
    kept = np.flatnonzero(item >= 0)
    timestamp = START + (time[kept] * SPAN).astype(np.int64)
    order = np.lexsort((item[kept], user[kept], timestamp))
    kept, timestamp = kept[order], timestamp[order]
    return Rows(user[kept], item[kept], timestamp, planted[kept])


@dataclass(frozen=True)
class _Shop:
    """The world as a choice needs it: all factors side by side, K columns."""

    item: npt.NDArray[np.float32]  # [I, K], centred and weighted
    first: npt.NDArray[np.float32]  # [U, K]
    turn: npt.NDArray[np.float32]  # [U, K], last taste minus first
    arrival: npt.NDArray[np.float64]  # [I]
    cumulative: npt.NDArray[np.float64]  # [I], of the popularity
    shelf: int

    @classmethod
    def of(cls, world: World, config: DemoConfig) -> _Shop:
        names = [factor.name for factor in factors_of(config)]
        item = [config.weight(name) * (world.item[name] - world.item[name].mean(0)) for name in names]
        first = np.concatenate([world.taste_first[name] for name in names], axis=1)
        last = np.concatenate([world.taste_last[name] for name in names], axis=1)
        cumulative = np.cumsum(world.popularity)
        return cls(np.concatenate(item, axis=1), first, last - first, world.arrival, cumulative, config.shelf)

    def taste(
        self, user: npt.NDArray[np.int64], progress: npt.NDArray[np.float64], planted: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float32]:
        """Return what each user likes at that moment, float32 [n, K]; nothing in particular on planted rows."""
        taste = self.first[user] + progress[:, None].astype(np.float32) * self.turn[user]
        taste[planted] = 0
        return taste

    def choose(
        self,
        user: npt.NDArray[np.int64],
        taste: npt.NDArray[np.float32],
        time: npt.NDArray[np.float64],
        owned: npt.NDArray[np.int64],
        generator: np.random.Generator,
    ) -> npt.NDArray[np.int64]:
        """Return one item for each occasion, int64 [n]; -1 where the shelf holds nothing that is there and not owned.

        `owned` holds the sorted keys user x I + item of all pairs that are taken.
        """
        drawn = generator.random((len(user), self.shelf)) * self.cumulative[-1]
        shelf = np.searchsorted(self.cumulative[:-1], drawn, side="right")  # [n, shelf]; the last item takes the rest
        score = np.einsum("nsk,nk->ns", self.item[shelf], taste) + generator.gumbel(size=shelf.shape)
        score[self.arrival[shelf] > time[:, None]] = -np.inf
        if len(owned):
            key = user[:, None] * len(self.item) + shelf
            score[owned[np.minimum(np.searchsorted(owned, key), len(owned) - 1)] == key] = -np.inf
        best = score.argmax(1)[:, None]
        available = np.isfinite(np.take_along_axis(score, best, axis=1))[:, 0]
        return np.where(available, np.take_along_axis(shelf, best, axis=1)[:, 0], -1)


def _repeats(user: npt.NDArray[np.int64], item: npt.NDArray[np.int64], n_items: int) -> npt.NDArray[np.bool_]:
    """Return, for each row, whether an earlier row holds the same pair: bool [n]."""
    repeat = np.ones(len(user), dtype=bool)
    repeat[np.unique(user * (n_items + 1) + item + 1, return_index=True)[1]] = False
    return repeat
