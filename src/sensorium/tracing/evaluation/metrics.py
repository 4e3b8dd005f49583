"""Numbers of predicted answers: how well they order, how far they are off, how well they are calibrated.

AUC is the rank form with ties counted half (Hanley and McNeil 1982). ECE groups predictions into 15 bins of equal
width, or of equal mass, and averages |mean p - share right| by the bins' sizes (Guo et al. 2017). All rows are pooled
unless a name says otherwise; pooled AUC mixes order between and within students, hence the AUC per student beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sensorium.tracing.data.dataset import Answers
from sensorium.tracing.evaluation.predicting import Predictions

Floats = npt.NDArray[np.float64]
BINS = 15
CLIP = 1e-6
LENGTHS = {"1-4": (1, 4), "5-9": (5, 9), "10-19": (10, 19), "20-49": (20, 49), "50-99": (50, 99), "100+": (100, 2**31)}
HIGHER_IS_BETTER = {
    "auc": True,
    "acc": True,
    "rmse": False,
    "brier": False,
    "nll": False,
    "ece": False,
    "ece_mass": False,
    "auc_student": True,
}


def auc(p: npt.ArrayLike, response: npt.ArrayLike) -> float:
    """Return the chance that a right answer has a larger p than a wrong one, ties half; NaN with one class only."""
    return float(WeightedAUC(np.asarray(p), np.asarray(response)).of(None))


class WeightedAUC:
    """AUC under weights per row: the order is found once, each weighting is one pass.

    Args:
        p: [n].
        response: [n] of 0 and 1.
    """

    def __init__(self, p: npt.NDArray[Any], response: npt.NDArray[Any]) -> None:
        self.order = np.argsort(p, kind="stable")
        ordered = p[self.order]
        new = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(p) else np.zeros(0, dtype=bool)
        self.first = np.flatnonzero(new)  # where each group of equal p begins
        self.right = np.asarray(response)[self.order] == 1

    def of(self, weight: Floats | None) -> Floats:
        """Return the AUC for weights [n], or [draws, n] at once; None weighs all rows alike."""
        weight = np.ones(len(self.order)) if weight is None else weight[..., self.order]
        if not len(self.first):
            return np.full(weight.shape[:-1], np.nan)
        right = np.add.reduceat(np.where(self.right, weight, 0.0), self.first, axis=-1)  # by group of equal p
        wrong = np.add.reduceat(np.where(self.right, 0.0, weight), self.first, axis=-1)
        below = np.cumsum(wrong, axis=-1) - wrong
        pairs = right.sum(-1) * wrong.sum(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            value: Floats = (right * (below + 0.5 * wrong)).sum(-1) / np.where(pairs > 0, pairs, np.nan)
        return value


def student_auc(found: Predictions) -> float:
    """Return the mean AUC over students that have both kinds of answers; NaN where there is none.

    Ranks are made for all students in one sort.
    """
    order = np.lexsort((found.p, found.student))
    student, p, right = found.student[order], found.p[order], found.response[order] == 1
    begins = np.concatenate([[True], student[1:] != student[:-1]])
    group = np.cumsum(begins | np.concatenate([[True], p[1:] != p[:-1]])) - 1  # ties within a student
    starts = np.flatnonzero(begins)
    rank = np.arange(len(p), dtype=np.float64) - np.repeat(starts, np.diff([*starts, len(p)]))
    middle = np.bincount(group, weights=rank) / np.bincount(group)
    who = np.cumsum(begins) - 1
    n_right = np.bincount(who, weights=right)
    n_wrong = np.bincount(who) - n_right
    ranks = np.bincount(who, weights=np.where(right, middle[group], 0.0))
    both = (n_right > 0) & (n_wrong > 0)
    if not both.any():
        return float("nan")
    value = (ranks[both] - n_right[both] * (n_right[both] - 1) / 2) / (n_right[both] * n_wrong[both])
    return float(value.mean())


@dataclass(frozen=True)
class Reliability:
    """Bins of a reliability diagram; empty bins are left out.

    Attributes:
        count: int64 [bins].
        p: float64 [bins], mean prediction.
        right: float64 [bins], share of right answers.
        low: float64 [bins], lower end of its 95 % Wilson interval.
        high: float64 [bins], upper end.
    """

    count: npt.NDArray[np.int64]
    p: Floats
    right: Floats
    low: Floats
    high: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error."""
        return float((self.count * np.abs(self.p - self.right)).sum() / max(1, self.count.sum()))


def reliability(
    p: npt.ArrayLike, response: npt.ArrayLike, *, bins: int = BINS, by: Literal["width", "mass"] = "width"
) -> Reliability:
    """Group predictions into bins of equal width, or of equal mass."""
    p, response = np.asarray(p, dtype=np.float64), np.asarray(response, dtype=np.float64)
    if by == "width":
        place = np.minimum((p * bins).astype(np.int64), bins - 1)
    else:
        place = np.empty(len(p), dtype=np.int64)
        place[np.argsort(p, kind="stable")] = np.arange(len(p)) * bins // max(1, len(p))
    count = np.bincount(place, minlength=bins)
    some = count > 0
    n = count[some]
    mean_p = np.bincount(place, weights=p, minlength=bins)[some] / n
    share = np.bincount(place, weights=response, minlength=bins)[some] / n
    z = 1.959964
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # at a share of 0 or 1 the interval ends there, which rounding may miss
    return Reliability(n, mean_p, share, np.minimum(centre - half, share), np.maximum(centre + half, share))


def measure(found: Predictions) -> dict[str, float]:
    """Return the numbers of all rows, by name (`HIGHER_IS_BETTER`)."""
    p, r = found.p.astype(np.float64), found.response.astype(np.float64)
    clipped = np.clip(p, CLIP, 1 - CLIP)
    brier = float(np.square(p - r).mean())
    return {
        "auc": auc(p, r),
        "acc": float(((p >= 0.5) == (r == 1)).mean()),
        "rmse": float(np.sqrt(brier)),
        "brier": brier,
        "nll": float(-np.where(r == 1, np.log(clipped), np.log1p(-clipped)).mean()),
        "ece": reliability(p, r).ece,
        "ece_mass": reliability(p, r, by="mass").ece,
        "auc_student": student_auc(found),
    }


def by_length(found: Predictions) -> dict[str, dict[str, float]]:
    """Return rows and AUC by the number of answers before the predicted one."""
    parts = {}
    for name, (low, high) in LENGTHS.items():
        inside = (found.position >= low) & (found.position <= high)
        parts[name] = {"n": int(inside.sum()), "auc": auc(found.p[inside], found.response[inside])}
    return parts


def by_practice(found: Predictions, answers: Answers) -> dict[str, dict[str, float]]:
    """Return rows and AUC of the first answers per concept and of the others.

    Args:
        found: Predicted rows.
        answers: All rows, of which they are some.
    """
    first = first_on_concept(answers)[answers.offsets[found.student] + found.position]
    return {
        name: {"n": int(inside.sum()), "auc": auc(found.p[inside], found.response[inside])}
        for name, inside in (("first on a concept", first), ("later", ~first))
    }


def first_on_concept(answers: Answers) -> npt.NDArray[np.bool_]:
    """Return whether a row is its student's first answer to one of its concepts, at least, bool [N]."""
    listed = answers.concepts.numpy()[answers.question]  # [N, Kmax]
    row, place = np.nonzero(listed < answers.n_concepts)
    pairs = answers.student[row].astype(np.int64) * answers.n_concepts + listed[row, place]
    first = np.zeros(len(answers.question), dtype=bool)
    first[row[np.unique(pairs, return_index=True)[1]]] = True
    return first
