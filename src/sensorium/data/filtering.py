"""Filters that an import may apply to rows: a lowest rating, and the k-core."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError

Integers = npt.NDArray[np.int64]


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
        DataError: It keeps none; the message names the largest k that would keep any (case DI-6).
    """
    kept = k_core(user, item, k)
    if not kept.any():
        low, high = 0, k  # the 0-core keeps all, the k-core nothing
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if k_core(user, item, middle).any() else (low, middle)
        raise DataError(f"{k}-core keeps 0 of {len(user):,} rows (largest k that keeps any: {low})")
    return kept
