"""How far scores agree with people, and people with each other: correlations, reliability, ceilings, calibration.

Arrays alone. Ratings are float [items, raters], NaN where a rater gave none; scores are float [items]; a group (the
prompt of an item) is an integer [items]. What is undefined, such as the correlation with a constant, is NaN and never
zero. Intervals draw groups, not items: videos of one prompt stand and fall together, and drawing them one by one makes
intervals too narrow (Field and Welsh 2007, "Bootstrapping clustered data").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from sensorium.core.errors import DataError
from sensorium.core.seeds import numpy_generator

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Level = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True)
class Estimate:
    """A statistic, and the interval of its draws at the level asked for; NaN where it is undefined."""

    value: float
    low: float
    high: float

    def rounded(self, digits: int = 6) -> list[float | None]:
        """Return [value, low, high] as they stand in a file: None where undefined."""
        numbers = (self.value, self.low, self.high)
        return [None if np.isnan(number) else round(float(number), digits) for number in numbers]


# --- correlation ----------------------------------------------------------------------------------------------------


def pearson(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return Pearson's correlation of two [n], NaN when one of them never varies."""
    a, b = _pair(x, y)
    if len(a) < 2:
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip(a @ b / scale, -1, 1)) if scale > 0 else float("nan")


def spearman(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return Spearman's rho (1904): Pearson's correlation of mid-ranks, NaN when one side never varies."""
    a, b = _pair(x, y)
    return pearson(_mid_ranks(a), _mid_ranks(b))


def _mid_ranks(values: Floats) -> Floats:
    """Return ranks from 1, equals sharing the middle of theirs; for short columns many times faster than SciPy's."""
    ordered = np.sort(values)
    below, upto = np.searchsorted(ordered, values, side="left"), np.searchsorted(ordered, values, side="right")
    return np.asarray((below + upto + 1) / 2)


def kendall(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return Kendall's tau-b (1945), which corrects for ties on either side; NaN when one side never varies."""
    a, b = _pair(x, y)
    return float(stats.kendalltau(a, b, variant="b").statistic) if len(a) > 1 else float("nan")


def kendall_rows(x: npt.ArrayLike, y: npt.ArrayLike) -> Floats:
    """Return tau-b of each row of two tables [n, k], all rows at once: float [n]. For short rows, such as the models
    of one prompt: the memory is n k²."""
    a, b = np.atleast_2d(np.asarray(x, np.float64)), np.atleast_2d(np.asarray(y, np.float64))
    first, second = np.triu_indices(a.shape[1], k=1)
    signs_a, signs_b = np.sign(a[:, first] - a[:, second]), np.sign(b[:, first] - b[:, second])
    untied = np.abs(signs_a).sum(axis=1) * np.abs(signs_b).sum(axis=1)
    return _divided((signs_a * signs_b).sum(axis=1), np.sqrt(untied))


def within(statistic: Callable[[Floats, Floats], float], x: npt.ArrayLike, y: npt.ArrayLike, part: Integers) -> float:
    """Return the mean over parts of a statistic inside each: with the generator as part, what is left of a correlation
    when knowing the generator is worth nothing. Parts where it is undefined do not count."""
    a, b = _pair(x, y)
    values = np.array([statistic(a[part == one], b[part == one]) for one in np.unique(part)])
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def part_means(values: npt.ArrayLike, part: Integers) -> Floats:
    """Return the mean of each part, in the order of their numbers: float [parts]."""
    _, place = np.unique(part, return_inverse=True)
    return _divided(np.bincount(place, weights=np.asarray(values, np.float64)), np.bincount(place))


# --- ratings --------------------------------------------------------------------------------------------------------


def item_means(ratings: Floats) -> Floats:
    """Return the mean of each item's ratings: float [items], NaN for an item that nobody rated."""
    there = ~np.isnan(ratings)
    return _divided(np.where(there, ratings, 0.0).sum(axis=1), there.sum(axis=1))


def standardised_raters(ratings: Floats) -> Floats:
    """Return z = (r − μ_j) / σ_j with each rater's own mean and population deviation: [items, raters].

    Raters differ in level: the mean of raw ratings follows the most generous. A rater who never varies gets zeros.
    """
    centred = ratings - np.nanmean(ratings, axis=0)
    deviation = np.nanstd(ratings, axis=0)
    return np.asarray(centred / np.where(deviation > 0, deviation, 1.0))


def rescaled_means(ratings: Floats) -> Floats:
    """Return each item's mean of standardised ratings, mapped back to the mean and deviation of all ratings: [items].

    The scale is that of the raters again, their differences in level and spread are gone.
    """
    pooled = ratings[~np.isnan(ratings)]
    return np.asarray(item_means(standardised_raters(ratings)) * pooled.std() + pooled.mean())


def leave_one_out(ratings: Floats, statistic: Callable[[Floats, Floats], float] = spearman) -> Floats:
    """Return how each rater's ratings agree with the mean of the others': float [raters].

    Its mean is the human ceiling: what one more person would reach. An item that this rater or all the others left out
    does not count.
    """
    values = []
    for rater in range(ratings.shape[1]):
        own, others = ratings[:, rater], item_means(np.delete(ratings, rater, axis=1))
        both = ~np.isnan(own) & ~np.isnan(others)
        values.append(statistic(own[both], others[both]))
    return np.array(values)


def krippendorff_alpha(ratings: Floats, level: Level = "interval") -> float:
    """Return Krippendorff's alpha = 1 − D_o / D_e ("Computing Krippendorff's Alpha-Reliability", 2011).

    From the coincidence matrix O, to which each item with m >= 2 ratings adds its pairs of values, divided by m − 1.
    The squared difference of two values is, with n_g the row sums of O: nominal 1[a ≠ b]; interval (a − b)²; ordinal
    (Σ_{g=a..b} n_g − (n_a + n_b) / 2)².

    Args:
        ratings: float [items, raters], NaN where missing.
        level: How values differ.

    Returns:
        1 for perfect agreement, 0 for chance, NaN when all values are equal.

    Raises:
        DataError: No item has two ratings.
    """
    values, place = np.unique(ratings[~np.isnan(ratings)], return_inverse=True)
    item = np.nonzero(~np.isnan(ratings))[0]
    counts = np.zeros((len(ratings), len(values)))
    np.add.at(counts, (item, place), 1.0)
    counts = counts[counts.sum(axis=1) >= 2]
    if not len(counts):
        raise DataError("Krippendorff's alpha needs an item with two ratings: there is none")
    weighted = counts / (counts.sum(axis=1, keepdims=True) - 1)
    coincidences = counts.T @ weighted - np.diag(weighted.sum(axis=0))
    n = coincidences.sum(axis=0)
    squared = _squared_differences(values, n, level)
    expected = n @ squared @ n
    return float(1 - (n.sum() - 1) * (coincidences * squared).sum() / expected) if expected > 0 else float("nan")


def _squared_differences(values: Floats, n: Floats, level: Level) -> Floats:
    """Return the squared difference of every two values: [values, values]."""
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        return np.asarray(np.square(values[:, None] - values[None, :]))
    middle = np.cumsum(n) - n / 2  # differences of these are Σ n_g between two values, half of each end taken off
    return np.asarray(np.square(middle[:, None] - middle[None, :]))


def alpha_with_judge(ratings: Floats, scores: Floats, level: Level = "interval", *, affine: bool = False) -> float:
    """Return alpha with the judge as one more rater, its scores rounded to whole levels.

    Args:
        ratings: float [items, raters].
        scores: float [items], NaN where the judge gave none.
        level: How values differ.
        affine: Bring the scores to the mean and deviation of the item means before rounding, so that a judge with
            another use of the scale is not blamed for it.
    """
    if affine:
        means = item_means(ratings)
        both = ~np.isnan(scores) & ~np.isnan(means)
        spread = scores[both].std()
        slope = means[both].std() / spread if spread > 0 else 1.0
        scores = (scores - scores[both].mean()) * slope + means[both].mean()
    return krippendorff_alpha(np.column_stack([ratings, np.floor(scores + 0.5)]), level)


# --- preferences ----------------------------------------------------------------------------------------------------


def preference_counts(human: npt.ArrayLike, scores: npt.ArrayLike, group: Integers) -> tuple[Floats, Floats]:
    """Return, for each group, how many of its pairs the scores order as people do, and how many pairs people order.

    Pairs that people hold equal do not count; a tie of the scores counts one half.

    Returns:
        (float [groups], float [groups]), in the order of the groups' numbers.
    """
    a, b = _pair(human, scores)
    _, place, sizes = np.unique(group, return_inverse=True, return_counts=True)
    order = np.argsort(place, kind="stable")
    column = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    table = np.full((2, len(sizes), sizes.max()), np.nan)
    table[0, place[order], column], table[1, place[order], column] = a[order], b[order]
    first, second = np.triu_indices(int(sizes.max()), k=1)
    gaps = table[:, :, first] - table[:, :, second]
    counted = ~np.isnan(gaps[0]) & (gaps[0] != 0)
    alike = np.where(gaps[1] == 0, 0.5, (np.sign(gaps[0]) == np.sign(gaps[1])).astype(np.float64))
    return np.where(counted, alike, 0.0).sum(axis=1), counted.sum(axis=1).astype(np.float64)


def preference_accuracy(
    human: npt.ArrayLike, scores: npt.ArrayLike, group: Integers, *, seed: int = 0, resamples: int = 2000
) -> Estimate:
    """Return the share of same-group pairs that the scores order as people do, with its interval over groups."""
    right, pairs = preference_counts(human, scores, group)
    if not pairs.sum():
        return Estimate(float("nan"), float("nan"), float("nan"))
    drawn = numpy_generator(seed, "groups", len(pairs)).integers(0, len(pairs), size=(resamples, len(pairs)))
    shares = _divided(right[drawn].sum(axis=1), pairs[drawn].sum(axis=1))
    return _estimate(float(right.sum() / pairs.sum()), shares, 0.95)


# --- calibration ----------------------------------------------------------------------------------------------------


def isotonic_by_others(scores: Floats, human: Floats, group: Integers) -> Floats:
    """Return scores on the human scale: each group's mapped by an isotonic regression fitted on the other groups.

    Pool adjacent violators (Barlow et al. 1972): the best fit that never reverses an order; beyond the fitted range
    the nearest end. For display beside the raw score, since a monotone map adds ties and no order.

    Args:
        scores: float [items].
        human: float [items], the target.
        group: integer [items].

    Raises:
        DataError: There is one group only, so that nothing could be fitted on others.
    """
    from sklearn.isotonic import IsotonicRegression

    groups = np.unique(group)
    if len(groups) < 2:
        raise DataError("calibration is fitted on other prompts than those it is applied to: there is only one")
    mapped = np.empty(len(scores))
    for one in groups:
        inside = group == one
        fitted = IsotonicRegression(out_of_bounds="clip").fit(scores[~inside], human[~inside])
        mapped[inside] = fitted.predict(scores[inside])
    return mapped


# --- intervals ------------------------------------------------------------------------------------------------------


def estimate_over_groups(
    statistic: Callable[[Integers], float],
    group: Integers,
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """Return a statistic of rows with its percentile interval over draws of whole groups (Efron 1979).

    The draws depend on the seed and the groups alone: intervals of two judges on the same items use the same draws, and
    the statistic of a difference gives the paired interval.

    Args:
        statistic: From the numbers of the rows, integer [some], to the value; a row may stand there several times.
        group: integer [items].
        seed: Of the draws.
        resamples: Number of draws.
        level: Share of intervals that hold the true value.
    """
    values = np.array([statistic(rows) for rows in group_draws(group, seed=seed, resamples=resamples)])
    return _estimate(statistic(np.arange(len(group))), values, level)


def group_draws(group: Integers, *, seed: int, resamples: int) -> list[Integers]:
    """Return the rows of each draw of as many groups as there are, with replacement."""
    _, place, sizes = np.unique(group, return_inverse=True, return_counts=True)
    order = np.argsort(place, kind="stable")
    starts = np.cumsum(sizes) - sizes
    drawn = numpy_generator(seed, "groups", len(sizes)).integers(0, len(sizes), size=(resamples, len(sizes)))
    rows = []
    for groups in drawn:
        length = sizes[groups]
        offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        rows.append(order[np.repeat(starts[groups], length) + offset])
    return rows


def _estimate(value: float, draws: Floats, level: float) -> Estimate:
    """Return the value with the quantiles of its draws; draws without a value don't count."""
    defined = draws[~np.isnan(draws)]
    if not len(defined):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))


def _divided(above: npt.NDArray[Any], below: npt.NDArray[Any]) -> Floats:
    """Return above / below, NaN where nothing is below."""
    quotient: Floats = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    return quotient


def _pair(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return two checked columns of one length.

    Raises:
        DataError: Their lengths differ, or a value is not finite.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise DataError(f"two columns of one length are compared: these have the shapes {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise DataError("a value is not finite: leave out items without a score on either side before comparing")
    return a, b
