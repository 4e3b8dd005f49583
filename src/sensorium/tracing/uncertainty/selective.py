"""Selective prediction: which rows to answer, in the order of a score, and what is gained by leaving the others.

    risk(c)  error rate of the share c that is kept          AURC  mean over rows of the running error rate
    excess   AURC minus that of the oracle's order           error ratio  error rate of the deferred over that of all

With calibrated probabilities the order by confidence |p - .5| is the best one for accuracy; no variance can beat it.
Equal scores keep the order of their rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.evaluation.bootstrap import Interval
from sensorium.tracing.evaluation.metrics import auc
from sensorium.tracing.uncertainty.decomposition import Decomposed
from sensorium.tracing.uncertainty.resampling import Statistic, interval

Floats = npt.NDArray[np.float64]

COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
ROUNDING = 1e-9  # variances of probabilities in single precision come to 1e-14
KEPT = 0.8  # the share that the deferring of a result speaks of


@dataclass(frozen=True)
class Selective:
    """What one order of the rows gives.

    Attributes:
        running: float64 [n], error rate of the first 1, 2, .. n rows.
        accuracy: By coverage.
        auc: By coverage; None where the kept rows have one class.
        aurc: Mean running error rate.
        excess: Above the oracle's.
        error_ratio: Error rate of the deferred fifth over that of all rows; 1 for an order that knows nothing.
    """

    running: Floats
    accuracy: dict[float, float]
    auc: dict[float, float | None]
    aurc: float
    excess: float
    error_ratio: float

    def numbers(self) -> dict[str, float | None]:
        """Return the numbers by name, for a result or a table."""
        found: dict[str, float | None] = {f"acc@{c:g}": value for c, value in self.accuracy.items()}
        found |= {f"auc@{c:g}": value for c, value in self.auc.items()}
        return found | {"aurc": self.aurc, "excess_aurc": self.excess, "error_ratio": self.error_ratio}


def scores_of(found: Decomposed) -> dict[str, Floats]:
    """Return every score that rows can be kept by, larger = more certain: float64 [n] each.

    Without an epistemic part there is the confidence alone; a variance that is rounding is none.
    """
    scores = {"confidence": found.confidence}
    if found.variance.max(initial=0.0) > ROUNDING:
        scores |= {"variance": -found.variance, "bald": -found.epistemic}
    return scores


def selective(p: npt.ArrayLike, response: npt.ArrayLike, certainty: npt.ArrayLike) -> Selective:
    """Keep rows in the order of a score.

    Args:
        p: float [n].
        response: [n] of 0 and 1.
        certainty: float [n], larger = kept longer.

    Raises:
        DataError: No rows, or a score that is not a number.
    """
    chance, right = np.asarray(p, dtype=np.float64), np.asarray(response) == 1
    score = np.asarray(certainty, dtype=np.float64)
    if not len(score) or np.isnan(score).any():
        raise DataError(f"selective prediction needs scores that are numbers, there are {len(score)} with NaN or none")
    order = np.argsort(-score, kind="stable")
    wrong = ((chance >= 0.5) != right)[order]
    count = np.arange(1, len(wrong) + 1)
    running = np.cumsum(wrong) / count
    best = np.cumsum(np.sort(wrong)) / count
    kept = {c: max(1, round(c * len(wrong))) for c in COVERAGES}
    deferred = wrong[kept[KEPT] :]
    overall = float(running[-1])
    return Selective(
        running,
        {c: 1 - float(running[n - 1]) for c, n in kept.items()},
        {c: _auc(right[order[:n]], chance[order[:n]]) for c, n in kept.items()},
        float(running.mean()),
        float(running.mean() - best.mean()),
        float(deferred.mean()) / overall if overall and len(deferred) else 1.0,
    )


def _auc(right: npt.NDArray[np.bool_], chance: Floats) -> float | None:
    return None if right.all() or not right.any() else auc(chance, right)


def accuracy_kept(
    p: npt.ArrayLike, response: npt.ArrayLike, certainty: npt.ArrayLike, share: float = KEPT
) -> Statistic:
    """Return the accuracy of the kept share as a function of row weights, for intervals over students."""
    order = np.argsort(-np.asarray(certainty, dtype=np.float64), kind="stable")
    right = ((np.asarray(p) >= 0.5) == (np.asarray(response) == 1))[order]

    def statistic(weights: Floats) -> float:
        sorted_weights = weights[order]
        total = np.cumsum(sorted_weights)
        last = int(np.searchsorted(total, share * total[-1]))
        return float((sorted_weights[: last + 1] * right[: last + 1]).sum() / total[min(last, len(total) - 1)])

    return statistic


def accuracy_interval(
    p: npt.ArrayLike, response: npt.ArrayLike, certainty: npt.ArrayLike, student: npt.ArrayLike, *, seed: int = 0
) -> Interval:
    """Return the accuracy at 80 % coverage with its 95 % interval over students."""
    return interval(accuracy_kept(p, response, certainty), student, seed=seed)
