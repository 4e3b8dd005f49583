"""How sure a number is: bootstrap over queries, paired differences, and Holm's correction over the models of a table.

Percentile bootstrap (Efron 1979): queries are drawn with replacement, the same draws for all metrics of a call, so that
differences between metrics and models are paired. Draws are made in groups of fixed memory and depend on nothing but
the seed and the number of queries. Holm (1979) keeps the chance of any false claim in a table below its level, without
assuming anything about dependence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.core.seeds import numpy_generator

Floats = npt.NDArray[np.float64]

GROUP_DRAWS = 1 << 22  # draws held at once: 32 MB


@dataclass(frozen=True)
class Interval:
    """A mean and the interval that holds it at the level asked for."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The mean of `a - b` over queries, its interval, and the two-sided p of "there is no difference"."""

    difference: float
    low: float
    high: float
    p: float


def mean_interval(values: npt.ArrayLike, *, seed: int = 0, resamples: int = 1000, level: float = 0.95) -> Interval:
    """Return the mean of per-query values with its bootstrap interval.

    Args:
        values: float [n], one per query.
        seed: Seed of the draws.
        resamples: Number of draws of n queries.
        level: The share of intervals that hold the true mean.

    Raises:
        DataError: No values, or one that is not finite.
    """
    return mean_intervals({"values": values}, seed=seed, resamples=resamples, level=level)["values"]


def mean_intervals(
    values: Mapping[str, npt.ArrayLike],
    *,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    owner: npt.NDArray[np.int64] | None = None,
) -> dict[str, Interval]:
    """Return the same for several metrics of the same queries (`RankingResult.per_query`), drawn together.

    Args:
        values: By metric, float [n].
        seed: Seed of the draws.
        resamples: Number of draws.
        level: The share of intervals that hold the true mean.
        owner: int64 [n], whose each query is: users are drawn, with all of their queries, since the answers of one user
            are alike. None draws queries.
    """
    if not values:
        return {}
    table = np.stack([_checked(name, column) for name, column in values.items()], axis=1)  # [n, metrics]
    if owner is None:
        means = resampled_means(table, seed=seed, resamples=resamples)
    else:
        means = _clustered_means(table, owner, seed=seed, resamples=resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    centre = table.mean(axis=0)
    return {
        name: Interval(float(centre[place]), float(low[place]), float(high[place])) for place, name in enumerate(values)
    }


def paired_difference(
    a: npt.ArrayLike, b: npt.ArrayLike, *, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> Difference:
    """Compare two models by their values for the same queries in the same order.

    The p is two-sided: twice the smaller share of resampled differences on either side of zero, the observed one
    counted among them, so that it is never below 2 / (resamples + 1); 1 when the models never differ.

    Raises:
        DataError: Not the same number of values, none, or one that is not finite.
    """
    first, second = _checked("a", a), _checked("b", b)
    if len(first) != len(second):
        raise DataError(
            f"a paired comparison needs the same queries on both sides: there are {len(first)} and {len(second)} values"
        )
    gap = first - second
    means = resampled_means(gap[:, None], seed=seed, resamples=resamples)[:, 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    smaller = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    return Difference(float(gap.mean()), float(low), float(high), min(1.0, 2 * (1 + smaller) / (resamples + 1)))


@overload
def holm(ps: Mapping[str, float]) -> dict[str, float]: ...
@overload
def holm(ps: Sequence[float]) -> list[float]: ...
def holm(ps: Mapping[str, float] | Sequence[float]) -> dict[str, float] | list[float]:
    """Return p-values corrected for their number by Holm's step-down rule, in the given order (or by the given names).

    The i-th smallest of m is multiplied by m - i + 1; a corrected value is never below that of a smaller one, nor above
    1.

    Raises:
        ValueError: A value that is not between 0 and 1.
    """
    if isinstance(ps, Mapping):
        return dict(zip(ps, holm(list(ps.values())), strict=True))
    values = np.asarray(ps, dtype=np.float64)
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"p-values lie between 0 and 1: {list(ps)}")
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    return [float(value) for value in corrected]


def resampled_means(table: Floats, *, seed: int, resamples: int) -> Floats:
    """Return the column means of `resamples` draws of n rows with replacement: [n, m] -> [resamples, m]."""
    n = len(table)
    return np.concatenate([counts @ table / n for counts in draw_counts(n, seed, resamples)])


def _clustered_means(table: Floats, owner: npt.NDArray[np.int64], *, seed: int, resamples: int) -> Floats:
    """Return the column means of draws of whole clusters of rows: [n, m] -> [resamples, m]."""
    _, cluster, sizes = np.unique(owner, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(cluster, column) for column in table.T], axis=1)  # [clusters, m]
    return np.concatenate(
        [counts @ sums / (counts @ sizes)[:, None] for counts in draw_counts(len(sizes), seed, resamples)]
    )


def draw_counts(n: int, seed: int, resamples: int) -> Iterator[Floats]:
    """Yield how often each row is drawn: float64 [some, n], `resamples` rows in all."""
    generator = numpy_generator(seed, "bootstrap", n)
    together = max(1, GROUP_DRAWS // n)
    for start in range(0, resamples, together):
        size = min(together, resamples - start)
        drawn = generator.integers(0, n, size=(size, n))
        drawn += np.arange(size)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _checked(name: str, values: npt.ArrayLike) -> Floats:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or not len(column):
        raise DataError(f"a bootstrap of '{name}' needs one value per query, it has shape {list(column.shape)}")
    if not np.isfinite(column).all():
        raise DataError(f"'{name}' holds a value that is not finite, at place {int(np.argmin(np.isfinite(column)))}")
    return column
