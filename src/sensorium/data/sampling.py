"""Negative items: drawn among what a user did not have in train (docs/protocol.md, "Negatives").

    candidates: the items with a train row, each with probability ~ n_i^alpha (alpha 0: all alike), but the user's own

A pair that stands again in train is held once; n_i counts each of its rows.

Rejection comes first: draw for all rows at once, and again where a pair is a train row. Two rounds settle nearly all;
the rows that are left, of users who hold much of the catalogue, are drawn from the rest of it directly. The
distribution is the same in both ways, exactly.

Whether a pair is a train row is asked millions of times a second. A table of bits answers first; where all pairs do not
fit into it, a pair's bit stands at a hash of it: a bit of 0 still says "no" for certain, and the few others are looked
up in the sorted keys user * I + item.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.data.view import TrainView

Integers = npt.NDArray[np.int64]

ROUNDS = 2
"""Rounds of rejection; a further one would cost as much as drawing what is left directly."""

DIRECT_BITS = 1 << 29
"""Up to this many pairs (64 MiB) each has a bit of its own."""

HASHED_BITS_PER_PAIR = 16
"""Bits of a hashed table for each pair in it: at most one in so many other pairs has to be looked up."""

WEIGHT_SUM = 1 << 62
"""Popularity weights are whole numbers, so that their sums are exact: all candidates' of all users add up to this."""


class PairSet:
    """A set of (user, item) pairs that answers for many pairs at once.

    Measured on one core for random pairs, 4,096 at once, in millions of answers a second, and by `searchsorted` in the
    keys alone: 802 k pairs of 6,040 x 3,706: 50, 4; 239 k of 31,013 x 23,715: 30, 5; 8 M of 200 k x 100 k: 9, .7.
    """

    def __init__(self, user: Integers, item: Integers, n_users: int, n_items: int) -> None:
        self._n_items = n_items
        self._keys = np.sort(user * n_items + item)
        self._direct = n_users * n_items <= DIRECT_BITS
        bits = n_users * n_items if self._direct else HASHED_BITS_PER_PAIR * max(len(self._keys), 1)
        self._hash_bits = max((bits - 1).bit_length(), 3)
        self._table = np.zeros((bits >> 3) + 1 if self._direct else 1 << (self._hash_bits - 3), dtype=np.uint8)
        place = np.sort(self._place(self._keys))
        byte, bit = place >> 3, np.left_shift(np.uint8(1), (place & 7).astype(np.uint8))
        first = np.flatnonzero(np.diff(byte, prepend=-1))  # of the places in one byte
        self._table[byte[first]] = np.bitwise_or.reduceat(bit, first)

    def contains(self, user: Integers, item: Integers) -> npt.NDArray[np.bool_]:
        """Return which pairs are in the set: bool [n], for int64 [n] users and items."""
        key = user * self._n_items + item
        place = self._place(key)
        bit: npt.NDArray[np.uint8] = self._table[place >> 3] >> (place & 7).astype(np.uint8) & 1
        found = bit.view(np.bool_)
        if not self._direct:
            unsure = np.flatnonzero(found)
            at = np.searchsorted(self._keys, key[unsure])
            found[unsure] = self._keys[np.minimum(at, len(self._keys) - 1)] == key[unsure]
        return found

    def _place(self, key: Integers) -> Integers:
        """Return the place of each key's bit in the table: itself, or its hash (Fibonacci hashing)."""
        if self._direct:
            return key
        mixed = key.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return (mixed >> np.uint64(64 - self._hash_bits)).view(np.int64)


class NegativeSampler:
    """Draws items that users did not have in train.

    Attributes:
        candidates: int64 [C], the items that can be drawn: those with a train row.
        has_negatives: bool [U], users who do not hold every candidate.
    """

    def __init__(self, view: TrainView, *, popularity_alpha: float = 0.0) -> None:
        """Prepare the draws; with `popularity_alpha` above 0 an item is drawn with probability ~ n_i^alpha."""
        self.candidates = np.flatnonzero(view.item_count)
        self._view = view
        self._user, self._item = _distinct_pairs(view)
        self._user_count = np.bincount(self._user, minlength=view.n_users)
        self.has_negatives = self._user_count < len(self.candidates)
        self._uniform = not popularity_alpha
        weight = np.ones(len(self.candidates), dtype=np.int64)
        if not self._uniform:
            share = view.item_count[self.candidates].astype(np.float64) ** popularity_alpha
            weight = np.maximum(np.rint(share / share.sum() * (WEIGHT_SUM // view.n_users)), 1).astype(np.int64)
        self._upto = np.cumsum(weight)  # [C], of each candidate and all before it
        self._rest: _Rest | None = None

    @cached_property
    def _held(self) -> PairSet:
        """The pairs of train; made at the first draw."""
        return PairSet(self._user, self._item, self._view.n_users, self._view.n_items)

    def draw(self, user: Integers, n: int, generator: np.random.Generator) -> Integers:
        """Return n negatives for each user, with replacement: int64 [B, n] for int64 [B].

        Raises:
            DataError: One of the users holds every candidate, so that there is nothing to draw.
        """
        if not self.has_negatives[user].all():
            full = user[~self.has_negatives[user]][0]
            raise DataError(f"user {full} holds every item that occurs in train: there is no negative to draw")
        wanted = np.repeat(user, n)
        item = self._draw_candidates(len(wanted), generator)
        left = np.flatnonzero(self._held.contains(wanted, item))
        for _ in range(ROUNDS - 1):
            item[left] = self._draw_candidates(len(left), generator)
            left = left[self._held.contains(wanted[left], item[left])]
        if len(left):
            item[left] = self._draw_from_rest(wanted[left], generator)
        return item.reshape(len(user), n)

    def _draw_candidates(self, n: int, generator: np.random.Generator) -> Integers:
        """Return n candidates, whoever they are for: int64 [n]."""
        place = generator.integers(0, self._upto[-1], n)
        if not self._uniform:
            place = np.searchsorted(self._upto, place, side="right")
        return place if len(self.candidates) == self._view.n_items else self.candidates[place]

    def _draw_from_rest(self, user: Integers, generator: np.random.Generator) -> Integers:
        """Return one negative for each user, int64 [n], by inverting the distribution over what it does not hold.

        A number below the weight of the rest points at an item of the rest. With the weight of the held candidates
        before that item added, it points at the same item among all candidates.
        """
        if self._rest is None:
            self._rest = _rest_of_users(self._user, self._item, self._user_count, self.candidates, self._upto)
        rest = self._rest
        goal = generator.integers(0, rest.weight[user])
        # The user's first pair whose candidate has more than `goal` of the rest before it.
        row = np.searchsorted(rest.key, user * rest.stride + goal, side="right")
        goal += rest.held[row] - rest.held_by_others[user]
        found: Integers = self.candidates[np.searchsorted(self._upto, goal, side="right")]
        return found


class _Rest(NamedTuple):
    """The candidates that each user does not hold, described by those that it holds.

    Attributes:
        weight: int64 [U], their weight.
        stride: Above every weight.
        key: int64 [P], ascending: user * stride + weight of the rest before the candidate, for each pair of train.
        held: int64 [P + 1], weight of all pairs before each one.
        held_by_others: int64 [U], weight of all pairs of the users before.
    """

    weight: Integers
    stride: int
    key: Integers
    held: Integers
    held_by_others: Integers


def _distinct_pairs(view: TrainView) -> tuple[Integers, Integers]:
    """Return the users and items of the train rows, int64 [P] each, without those that repeat a pair."""
    first = np.ones(len(view.user), dtype=bool)
    first[1:] = (np.diff(view.user) != 0) | (np.diff(view.item) != 0)  # rows are sorted by user and item
    return (view.user, view.item) if first.all() else (view.user[first], view.item[first])


def _rest_of_users(user: Integers, item: Integers, user_count: Integers, candidates: Integers, upto: Integers) -> _Rest:
    """Describe what users do not hold by the distinct pairs that they do: int64 [P] each, sorted by user and item."""
    place = np.searchsorted(candidates, item)  # [P]
    weight = np.diff(upto, prepend=0)
    held = np.concatenate([[0], np.cumsum(weight[place])])
    at_user = held[np.concatenate([[0], np.cumsum(user_count)])]  # [U + 1]
    before = (upto - weight)[place] - (held[:-1] - at_user[user])
    stride = int(upto[-1]) + 1
    return _Rest(upto[-1] - np.diff(at_user), stride, user * stride + before, held, at_user[:-1])
