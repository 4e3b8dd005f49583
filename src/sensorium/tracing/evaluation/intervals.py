"""How sure an AUC is: bootstrap over students, and paired differences of two models.

Students are drawn with replacement, as weights: the order of the rows is found once, and each draw is one weighted AUC.
Intervals over rows would be half as wide as they should be, since the answers of one student belong together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.evaluation.bootstrap import Difference, Interval, draw_counts
from sensorium.tracing.evaluation.metrics import WeightedAUC
from sensorium.tracing.evaluation.predicting import Predictions

Floats = npt.NDArray[np.float64]
DRAWS = 1000
_CELLS = 1 << 23  # weights held at once: 64 MB


def auc_draws(found: Predictions, *, seed: int = 0, draws: int = DRAWS) -> Floats:
    """Return the AUC under each draw of the students, float64 [draws]; the same draws for the same students."""
    students, place = np.unique(found.student, return_inverse=True)
    area = WeightedAUC(found.p, found.response)
    together = max(1, _CELLS // max(1, len(found)))
    values: list[Floats] = []
    for counts in draw_counts(len(students), seed, draws):  # [some, S]
        for begin in range(0, len(counts), together):
            values.append(area.of(counts[begin : begin + together][:, place]))
    return np.concatenate(values)


def auc_interval(found: Predictions, *, seed: int = 0, draws: int = DRAWS, level: float = 0.95) -> Interval:
    """Return the AUC with its percentile interval over students."""
    values = auc_draws(found, seed=seed, draws=draws)
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(WeightedAUC(found.p, found.response).of(None)), float(low), float(high))


def auc_difference(
    a: Sequence[Predictions], b: Sequence[Predictions], *, seed: int = 0, draws: int = DRAWS, level: float = 0.95
) -> Difference:
    """Compare two models: AUC of `a` minus that of `b`, mean over folds, students drawn jointly.

    Args:
        a: Predictions of the first model, one per fold.
        b: Predictions of the second, of the same folds and the same rows.
        seed: Of the draws.
        draws: How many.
        level: Share of intervals that hold the true difference.

    Raises:
        DataError: The two did not predict the same rows.
    """
    if len(a) != len(b) or not a:
        raise DataError(f"a paired comparison needs the same folds on both sides: there are {len(a)} and {len(b)}")
    gaps, centre = np.zeros(draws), 0.0
    for first, second in zip(a, b, strict=True):
        require_same_rows(first, second)
        gaps += (auc_draws(first, seed=seed, draws=draws) - auc_draws(second, seed=seed, draws=draws)) / len(a)
        whole = WeightedAUC(first.p, first.response).of(None) - WeightedAUC(second.p, second.response).of(None)
        centre += float(whole) / len(a)
    low, high = np.nanquantile(gaps, [(1 - level) / 2, (1 + level) / 2])
    smaller = min(np.count_nonzero(gaps <= 0), np.count_nonzero(gaps >= 0))
    return Difference(centre, float(low), float(high), min(1.0, 2 * (1 + smaller) / (draws + 1)))


def require_same_rows(a: Predictions, b: Predictions) -> None:
    """Check that two models predicted the same rows.

    Raises:
        DataError: They did not.
    """
    same = len(a) == len(b) and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("student", "position", "response")
    )
    if not same:
        raise DataError(
            f"a paired comparison needs the same rows on both sides: {len(a)} and {len(b)} rows of other students, "
            "positions or answers"
        )
