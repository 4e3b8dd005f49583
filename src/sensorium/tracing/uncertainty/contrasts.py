"""What flipped histories cost, and whom more: differences of AUC on the same test, paired over students.

    gaps       AUC(first, f) - AUC(other, f)                       f = no flips too
    falls      AUC(own, 0) - AUC(own, f)                           what a model loses
    fall gaps  fall of the first minus fall of the other

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
from sensorium.tracing.uncertainty.resampling import LEVEL, RESAMPLES
from sensorium.tracing.uncertainty.study import Studied

CLEAN = "0"
By = Mapping[str, Mapping[str, Difference]]  # model -> noise -> difference


@dataclass(frozen=True)
class Robustness:
    """Differences with their intervals, by model and by noise ("0.1 symmetric"; "0" = none).

    Attributes:
        gaps: The first model minus each other one.
        falls: Of every model, without "0".
        fall_gaps: Fall of the first minus that of each other one, without "0".
    """

    gaps: By
    falls: By
    fall_gaps: By


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


def compare(found: Sequence[Studied], *, draws: int = RESAMPLES) -> Robustness:
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
    return Robustness(gaps, falls, fall_gaps)


def _rows(one: Studied) -> dict[str, Predictions]:
    return {CLEAN: one.rows, **one.noisy}
