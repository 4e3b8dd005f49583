"""Differences between models on the same test, paired over students.

    gaps       AUC(first, f) - AUC(other, f)                       f = share of flipped answers, none too
    falls      AUC(own, 0) - AUC(own, f)                           what a model loses
    fall gaps  fall of the first minus fall of the other
    deferring  ACC at 80 % coverage of the first by its confidence, or by its variance, minus another's by any score
    joint      joint NLL per answer of the next ones from a frozen history, the first's minus the other's

The fall alone does not rank models: one that knows little has little to lose. Read it beside AUC(f).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sensorium.evaluation.bootstrap import Difference
from sensorium.tracing.evaluation.intervals import auc_draws
from sensorium.tracing.evaluation.metrics import auc
from sensorium.tracing.evaluation.predicting import Predictions
from sensorium.tracing.uncertainty.resampling import LEVEL, RESAMPLES, difference, weighted_mean
from sensorium.tracing.uncertainty.study import Studied

CLEAN = "0"
CONFIDENCE, VARIANCE = "confidence", "variance"
By = Mapping[str, Mapping[str, Difference]]  # model -> noise -> difference


@dataclass(frozen=True)
class Contrasts:
    """Differences with their intervals, by model and by noise ("0.1 symmetric"; "0" = none).

    Attributes:
        gaps: The first model minus each other one.
        falls: Of every model, without "0".
        fall_gaps: Fall of the first minus that of each other one, without "0".
        deferring: By other model and "own score - its score".
        joint: By other model and "size", or "dropout size" for its passes with dropout.
    """

    gaps: By
    falls: By
    fall_gaps: By
    deferring: By
    joint: By


@dataclass(frozen=True)
class _Drawn:
    """AUC of one set of predictions, and under each draw of the students."""

    found: Predictions
    draws: int

    @cached_property
    def whole(self) -> float:
        return auc(self.found.p, self.found.response)

    @cached_property
    def values(self) -> npt.NDArray[np.float64]:
        return auc_draws(self.found, draws=self.draws)  # the same students in every set: the same draws


def _sum(terms: Sequence[tuple[int, _Drawn]]) -> Difference:
    values = np.sum([sign * term.values for sign, term in terms], axis=0)
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    smaller = min(np.count_nonzero(values <= 0), np.count_nonzero(values >= 0))
    centre = sum(sign * term.whole for sign, term in terms)
    return Difference(float(centre), float(low), float(high), min(1.0, 2 * (1 + smaller) / (len(values) + 1)))


def compare(found: Sequence[Studied], *, draws: int = RESAMPLES) -> Contrasts:
    """Compare what `study` found.

    Args:
        found: Models on the same tested rows.
        draws: Of the students.
    """
    drawn = {one.name: {key: _Drawn(rows, draws) for key, rows in _rows(one).items()} for one in found}
    first, *others = drawn.values()
    names = [one.name for one in found[1:]]

    def falls_of(mine: Mapping[str, _Drawn]) -> dict[str, list[tuple[int, _Drawn]]]:
        return {key: [(1, mine[CLEAN]), (-1, noisy)] for key, noisy in mine.items() if key != CLEAN}

    gaps = {
        name: {key: _sum([(1, rows), (-1, other[key])]) for key, rows in first.items() if key in other}
        for name, other in zip(names, others, strict=True)
    }
    falls = {name: {key: _sum(terms) for key, terms in falls_of(mine).items()} for name, mine in drawn.items()}
    fall_gaps = {
        name: {
            key: _sum(terms + [(-sign, term) for sign, term in falls_of(other)[key]])
            for key, terms in falls_of(first).items()
            if key in other
        }
        for name, other in zip(names, others, strict=True)
    }
    return Contrasts(
        gaps,
        falls,
        fall_gaps,
        {one.name: _deferring(found[0], one, draws) for one in found[1:]},
        {one.name: _joint(found[0], one, draws) for one in found[1:]},
    )


def _deferring(first: Studied, other: Studied, draws: int) -> dict[str, Difference]:
    """Compare what the first keeps by its confidence with every order of another, and variances with each other."""
    student = first.rows.student
    pairs = [(CONFIDENCE, score) for score in other.kept]
    pairs += [(VARIANCE, score) for score in other.kept if VARIANCE in first.kept and score.endswith(VARIANCE)]
    return {
        f"{own} - {score}": difference(first.kept[own], other.kept[score], student, resamples=draws)
        for own, score in pairs
    }


def _joint(first: Studied, other: Studied, draws: int) -> dict[str, Difference]:
    """Compare joint likelihoods on the blocks that both were asked for."""
    found = {}
    for name, (nll, student) in other.frozen.items():
        own = first.frozen.get(name.split()[-1])
        if own is not None and np.array_equal(own[1], student):
            found[name] = difference(weighted_mean(own[0]), weighted_mean(nll), student, resamples=draws)
    return found


def _rows(one: Studied) -> dict[str, Predictions]:
    return {CLEAN: one.rows, **one.noisy}
