"""Data from which all taste is gone, for the leak audit (docs/protocol.md): who had what is drawn anew, counts are
kept.

All functions take and give dense ids, int64 [n], one per row, and never a pair twice.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

STALLED = 500  # rounds without any success, after which data count as too dense


def permuted_items(
    user: Integers, item: Integers, forbidden: Integers, n_items: int, generator: np.random.Generator
) -> Integers:
    """Shuffle the items of all rows over all users at once: each user keeps the number of rows, each item its count.

    Rows that come to a pair that is there already, or to a forbidden one, are swapped with rows drawn at random, until
    there is none; a swap that would make another such pair is drawn again.

    Args:
        user: The user of each row.
        item: The item of each row; no pair twice.
        forbidden: user * n_items + item of the pairs that must not arise (the users' held-out rows), sorted.
        n_items: Size of the catalogue.
        generator: Decides every draw.

    Returns:
        The new item of each row.

    Raises:
        DataError: The data are so dense that no place is found for some rows.
    """
    result, stalled = generator.permutation(item), 0
    while stalled < STALLED:
        keys = user * n_items + result
        wrong = np.flatnonzero(_repeated(keys) | _contains(forbidden, keys))
        if not len(wrong):
            return result
        wrong = generator.permutation(wrong)[: len(result) // 2]
        partner = generator.choice(len(result), size=len(wrong), replace=False)
        # Each row takes part in one swap of a round at most, so that all of them can be judged at once.
        apart = ~np.isin(partner, wrong)
        wrong, partner = wrong[apart], partner[apart]
        new = np.concatenate([user[wrong] * n_items + result[partner], user[partner] * n_items + result[wrong]])
        present = np.sort(keys)
        bad = (_contains(present, new) | _contains(forbidden, new) | _shared(new)).reshape(2, -1).any(axis=0)
        wrong, partner = wrong[~bad], partner[~bad]
        stalled = 0 if len(wrong) else stalled + 1
        result[wrong], result[partner] = result[partner], result[wrong]
    raise DataError(
        f"some of {len(item)} rows find no user who could take them: these data are too dense to be permuted"
    )


def uniform_items(user: Integers, n_items: int, generator: np.random.Generator) -> Integers:
    """Draw the items of all rows anew: uniform over the catalogue, distinct for each user.

    Raises:
        DataError: A user has more rows than there are items.
    """
    if len(user) and np.bincount(user).max() > n_items:
        raise DataError(f"user {int(np.bincount(user).argmax())} has more rows than there are items ({n_items})")
    item = generator.integers(0, n_items, size=len(user))
    # The first of equal pairs stays, the others are drawn again: sampling without replacement, one item after the
    # other. A user who holds all items but one finds it after I draws, so this ends.
    while len(again := np.flatnonzero(_repeated(user * n_items + item))):
        item[again] = generator.integers(0, n_items, size=len(again))
    return item


def other_items(
    user: Integers, item: Integers, taken: Integers, known: Integers, n_items: int, generator: np.random.Generator
) -> Integers:
    """Replace the items of rows by other known items: never the old one of any of these rows, nor one that the user
    holds elsewhere.

    Args:
        user: The user of each row.
        item: The item of each row.
        taken: user * n_items + item of all pairs that are there, these rows' included, sorted.
        known: The items to draw from.
        n_items: Size of the catalogue.
        generator: Decides every draw.

    Returns:
        The new item of each row. A row whose user holds every known item keeps the old one.
    """
    result, pending = item.copy(), np.arange(len(item))
    for _ in range(200):
        drawn = known[generator.integers(0, len(known), size=len(pending))]
        keys = user[pending] * n_items + drawn
        good = ~_contains(taken, keys) & ~_repeated(keys)
        result[pending[good]] = drawn[good]
        taken = np.sort(np.concatenate([taken, keys[good]]))
        pending = pending[~good]
        if not len(pending):
            break
    return result


def _repeated(keys: Integers) -> Booleans:
    """Whether the same key stands at an earlier place."""
    repeated = np.ones(len(keys), dtype=bool)
    repeated[np.unique(keys, return_index=True)[1]] = False
    return repeated


def _shared(keys: Integers) -> Booleans:
    """Whether the same key stands at another place, earlier or later."""
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] > 1)


def _contains(ascending: Integers, values: Integers) -> Booleans:
    """Whether each value is in a sorted array."""
    if not len(ascending):
        return np.zeros(len(values), dtype=bool)
    place = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return np.asarray(ascending[place] == values)
