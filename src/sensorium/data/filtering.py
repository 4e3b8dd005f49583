"""Which rows of an import stay: the first of equal ones, and the k-core. Arrays in, a mask out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError

Integers = npt.NDArray[np.int64]


def is_first(*columns: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
    """Return which rows are the first with their values in all columns: bool [n].

    A hash finds the few rows that may be repeated, in a tenth of the memory of a hash table over all rows; only these
    are compared.

    Args:
        columns: Integers [n] each, at least one.
    """
    key = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        key = (key ^ column.astype(np.int64).view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(32)
    ordered = np.sort(key)
    seen_again = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    first = np.ones(len(key), dtype=bool)
    if len(seen_again):
        rows = np.flatnonzero(np.isin(key, seen_again))
        rows = rows[np.lexsort([column[rows] for column in columns])]  # stable: equal rows stay in order
        equal = np.ones(len(rows) - 1, dtype=bool)
        for column in columns:
            equal &= np.diff(column[rows]) == 0
        first[rows[1:][equal]] = False
    return first


def k_core(user: Integers, item: Integers, k: int) -> npt.NDArray[np.bool_]:
    """Return which rows stay when users and items with fewer than k rows are removed until none is left: bool [n].

    Args:
        user: int64 [n], dense ids.
        item: int64 [n], dense ids.
        k: Rows that every user and every item must have.
    """
    kept = np.ones(len(user), dtype=bool)
    rows = np.arange(len(user))
    while len(rows):
        enough = np.bincount(user[rows])[user[rows]] >= k
        enough &= np.bincount(item[rows])[item[rows]] >= k
        if enough.all():
            break
        kept[rows[~enough]] = False
        rows = rows[enough]
    return kept


def require_k_core(user: Integers, item: Integers, k: int) -> npt.NDArray[np.bool_]:
    """Return which rows the k-core keeps.

    Raises:
        DataError: It keeps none; the message names the largest k that would keep any.
    """
    kept = k_core(user, item, k)
    if not kept.any():
        low, high = 0, k  # the 0-core keeps all, the k-core nothing
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if k_core(user, item, middle).any() else (low, middle)
        raise DataError(f"{k}-core keeps 0 of {len(user):,} rows (largest k that keeps any: {low})")
    return kept
