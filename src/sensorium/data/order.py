"""The order in which rows happened: by time, and at equal times by a rule that no file order can leak into.

Files are often sorted by item inside a second, so that a tie broken by the file's order would show models a pattern
that is nobody's behaviour. Tied rows are ordered by a seeded hash of the external ids (docs/protocol.md, "Data"): the
same rows have the same order whatever the file looked like and whichever dense ids an import gave.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

Integers = npt.NDArray[np.int64]


class Named(Protocol):
    """Users and items with external ids: a data set, or a part of its users."""

    def user_ids(self) -> pl.Series:
        """Return the external user ids in id order."""
        ...

    def item_ids(self) -> pl.Series:
        """Return the external item ids in id order."""
        ...


def by_time(
    dataset: Named, user: Integers, item: Integers, timestamp: Integers | None, order: Integers | None, seed: int
) -> Integers:
    """Return the positions of rows by user, and each user's oldest first: int64 [n].

    Rows of one user and time are ordered by `order` where the data have it, else by the hash.

    Args:
        dataset: Whose external ids are hashed.
        user: int64 [n].
        item: int64 [n].
        timestamp: int64 [n], or None where `order` alone says what came first.
        order: int64 [n], or None.
        seed: Of the hash.
    """
    times = [key for key in (order, timestamp) if key is not None]
    by_user: Integers = np.lexsort((*times, user))
    same = np.ones(len(by_user) - 1, dtype=bool) if len(by_user) else np.zeros(0, dtype=bool)
    for key in (*times, user):
        same &= np.diff(key[by_user]) == 0  # of this row and the next
    if not same.any():
        return by_user
    tied = np.append(same, False) | np.append(False, same)
    group = np.cumsum(np.append(True, ~same))[tied]
    rows = by_user[tied]
    by_user[tied] = rows[np.lexsort((_hash_rows(dataset, user[rows], item[rows], seed), group))]
    return by_user


def _hash_rows(dataset: Named, user: Integers, item: Integers, seed: int) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of each row's seed and external ids: BLAKE2b of each id, the two mixed for each row."""
    users = _hash_ids(dataset.user_ids(), user, f"{seed} user")
    items = _hash_ids(dataset.item_ids(), item, f"{seed} item")
    mixed = users ^ (items << np.uint64(32) | items >> np.uint64(32))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # the mixer of SplitMix64
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    hashed: npt.NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return hashed


def _hash_ids(ids: pl.Series, code: Integers, key: str) -> npt.NDArray[np.uint64]:
    """Return the BLAKE2b hash of each row's external id; an id is hashed once, however many rows it has."""
    distinct, place = np.unique(code, return_inverse=True)
    digests = b"".join(
        hashlib.blake2b(text.encode(), digest_size=8, key=key.encode()).digest() for text in ids.gather(distinct)
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)[place]
