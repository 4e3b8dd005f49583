"""Weights of signals: least squares with fixed signs, and a term that knows what a spoiled copy deserves.

    minimise  Σ_i (ŷ_i − y_i)²  +  λ (n / |Q|) Σ_{(a,b) ∈ Q} (ŷ_a − ŷ_b − 1)²

over the rated clips i and the pairs Q of a clip and its spoiled copy, with ŷ linear in z-scores clipped at ±3. Without
the pairs the fit learns which generator made a clip, since that alone explains most of the ratings. Everything here is
arrays: [clips, signals], NaN for what could not be measured, which counts as the training mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import lsq_linear

from sensorium.evaluation.agreement import Floats, Integers

LOWEST, HIGHEST = 1.0, 5.0
CLIP = 3.0


@dataclass(frozen=True)
class Linear:
    """A fitted model of one dimension.

    Attributes:
        mean: Of each signal over the training clips, float [signals].
        deviation: Of each signal, float [signals].
        weight: Of each clipped z-score, float [signals].
        intercept: The score of a clip that is average in all signals.
    """

    mean: Floats
    deviation: Floats
    weight: Floats
    intercept: float

    def parts(self, table: Floats) -> Floats:
        """Return what each signal adds to the score: [clips, signals]."""
        return _standardised(table, self.mean, self.deviation) * self.weight

    def predict(self, table: Floats) -> Floats:
        """Return scores of clips: [clips, signals] -> [clips], within 1 to 5."""
        return np.asarray(np.clip(self.intercept + self.parts(table).sum(axis=1), LOWEST, HIGHEST))


def fit(
    table: Floats,
    target: Floats,
    signs: Sequence[int],
    *,
    pairs: tuple[Floats, Floats] | None = None,
    balance: float = 1.0,
    least: Sequence[float] | None = None,
) -> Linear:
    """Fit a linear model whose weights keep their signs.

    Args:
        table: float [clips, signals].
        target: float [clips].
        signs: 1, -1 or 0 (either way) for each signal.
        pairs: Originals and their spoiled copies, float [pairs, signals] each.
        balance: λ, the weight of all pairs together against that of all clips.
        least: The least deviation that each signal is divided by.
    """
    mean = np.nan_to_num(np.nanmean(table, axis=0))
    deviation = np.maximum(np.nanstd(table, axis=0), 0.0 if least is None else np.asarray(least))
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    rows = [np.column_stack([_standardised(table, mean, deviation), np.ones(len(table))])]
    goals = [target]
    if pairs is not None and balance > 0 and len(pairs[0]):
        better, worse = (_standardised(side, mean, deviation) for side in pairs)
        scale = np.sqrt(balance * len(table) / len(better))
        rows.append(scale * np.column_stack([better - worse, np.zeros(len(better))]))
        goals.append(np.full(len(better), scale))
    low = np.array([0.0 if sign > 0 else -np.inf for sign in signs] + [-np.inf])
    high = np.array([0.0 if sign < 0 else np.inf for sign in signs] + [np.inf])
    solved = lsq_linear(np.concatenate(rows), np.concatenate(goals), bounds=(low, high), method="bvls").x
    return Linear(mean, deviation, np.asarray(solved[:-1]), float(solved[-1]))


def _standardised(table: Floats, mean: Floats, deviation: Floats) -> Floats:
    return np.asarray(np.nan_to_num(np.clip((table - mean) / deviation, -CLIP, CLIP)))


@dataclass(frozen=True)
class Rated:
    """Clips with ratings and spoiled copies, of one dimension.

    Attributes:
        table: float [clips, signals], of the clips as they are.
        copies: float [kinds, clips, signals], of their spoiled copies.
        target: float [clips], what people say.
        signs: Of the signals.
        balance: λ.
        least: The least deviation of each signal.
    """

    table: Floats
    copies: Floats
    target: Floats
    signs: tuple[int, ...]
    balance: float
    least: tuple[float, ...]

    def fit(self, keep: npt.NDArray[np.bool_] | None = None) -> Linear:
        """Fit on some of the clips and on their own copies."""
        keep = np.ones(len(self.table), dtype=bool) if keep is None else keep
        kinds, _, signals = self.copies.shape
        better = np.broadcast_to(self.table[keep], (kinds, int(keep.sum()), signals)).reshape(-1, signals)
        worse = self.copies[:, keep].reshape(-1, signals)
        pairs = (better, worse)
        return fit(self.table[keep], self.target[keep], self.signs, pairs=pairs, balance=self.balance, least=self.least)

    def left_out(self, fold: Integers) -> tuple[Floats, Floats]:
        """Predict each fold by a fit that saw neither its clips nor their copies.

        Args:
            fold: integer [clips]: the clip's prompt, or its model.

        Returns:
            Scores of the clips [clips], and of their copies [kinds, clips].
        """
        scores, copies = np.empty(len(self.table)), np.empty(self.copies.shape[:2])
        for one in np.unique(fold):
            held = fold == one
            model = self.fit(~held)
            scores[held] = model.predict(self.table[held])
            for kind, spoiled in enumerate(self.copies):
                copies[kind, held] = model.predict(spoiled[held])
        return scores, copies
