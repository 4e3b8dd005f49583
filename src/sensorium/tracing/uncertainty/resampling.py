"""Intervals over students: whole students are drawn, never rows, since the rows of one student go together.

A draw is a weight for every row (how often its student was drawn). Two models are compared with the same draws.
Intervals over rows would be half as wide as they should be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.evaluation.bootstrap import Difference, Interval, draw_counts

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], float]  # from row weights [n] to a number

RESAMPLES = 1000
LEVEL = 0.95


def row_weights(student: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES) -> Iterator[Floats]:
    """Yield the weights of the rows in each draw of students, float64 [n].

    Args:
        student: int [n], whose row it is.
        seed: Of the draws.
        resamples: How many.

    Raises:
        DataError: There are no rows.
    """
    ids, place = np.unique(np.asarray(student), return_inverse=True)
    if not len(ids):
        raise DataError("an interval over students needs at least one row")
    for counts in draw_counts(len(ids), seed, resamples):
        for drawn in counts:
            yield drawn[place]


def interval(statistic: Statistic, student: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Return a statistic of all rows with its percentile interval over students."""
    values = np.array([statistic(weights) for weights in row_weights(student, seed=seed, resamples=resamples)])
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(statistic(np.ones(len(np.asarray(student)))), float(low), float(high))


def difference(
    a: Statistic, b: Statistic, student: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES
) -> Difference:
    """Return a - b with its paired interval over students and the two-sided p of "no difference"."""
    gaps = np.array([a(weights) - b(weights) for weights in row_weights(student, seed=seed, resamples=resamples)])
    low, high = np.nanquantile(gaps, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    smaller = min(np.count_nonzero(gaps <= 0), np.count_nonzero(gaps >= 0))
    ones = np.ones(len(np.asarray(student)))
    return Difference(a(ones) - b(ones), float(low), float(high), min(1.0, 2 * (1 + smaller) / (resamples + 1)))


def weighted_mean(values: npt.ArrayLike) -> Statistic:
    """Return the mean of per-row values as a function of row weights."""
    column = np.asarray(values, dtype=np.float64)
    return lambda weights: float(weights @ column / weights.sum())
