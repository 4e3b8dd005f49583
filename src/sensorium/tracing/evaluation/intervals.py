"""How sure an AUC is: bootstrap over students, and paired differences of two models.

Students are drawn with replacement, as weights: the order of the rows is found once, and each draw is one weighted AUC.
Intervals over rows would be half as wide as they should be, since the answers of one student belong together. A mean
over folds is drawn with the spread over folds as well: other folds would have given another mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.core.seeds import numpy_generator
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
    """Compare two models: AUC of `a` minus that of `b`, mean over folds, drawn jointly and with the folds' spread.

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
    drawn: list[Floats] = []
    wholes: list[float] = []
    for first, second in zip(a, b, strict=True):
        require_same_rows(first, second)
        drawn.append(auc_draws(first, seed=seed, draws=draws) - auc_draws(second, seed=seed, draws=draws))
        whole = WeightedAUC(first.p, first.response).of(None) - WeightedAUC(second.p, second.response).of(None)
        wholes.append(float(whole))
    gaps, centre = over_folds(drawn, wholes, seed=seed), float(np.mean(wholes))
    low, high = np.nanquantile(gaps, [(1 - level) / 2, (1 + level) / 2])
    smaller = min(np.count_nonzero(gaps <= 0), np.count_nonzero(gaps >= 0))
    return Difference(centre, float(low), float(high), min(1.0, 2 * (1 + smaller) / (draws + 1)))


def over_folds(drawn: Sequence[Floats], wholes: Sequence[float], *, seed: int = 0) -> Floats:
    """Return draws of a mean over folds: of the students, and of what other folds would have given.

    Args:
        drawn: Of each fold, the value under each draw of students, float64 [draws].
        wholes: The value of each fold with all students.
        seed: Of the draws over folds.

    Returns:
        float64 [draws]: the mean under each draw of students, to which, where there are folds, Student's t with one
        degree of freedom less than folds is added, times the standard error of their mean.
    """
    mean = np.mean(drawn, axis=0)
    folds = len(wholes)
    if folds < 2:
        return np.asarray(mean)
    error = float(np.std(wholes, ddof=1)) / np.sqrt(folds)
    return np.asarray(mean + error * numpy_generator(seed, "folds", folds).standard_t(folds - 1, len(mean)))


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
