"""Models in pairs: how often one's video is scored above the other's, and the strengths that follow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.evaluation.agreement import Floats
from sensorium.judging.aggregation import score_table
from sensorium.judging.records import Record


def win_rates(records: Sequence[Record], dimension: str) -> tuple[tuple[str, ...], Floats, Floats]:
    """Return how often each model's video is scored above another's for the same (prompt, sample), ties one half.

    Returns:
        The models; float [models, models], the share of row over column, NaN where they never met; and the number of
        their meetings.
    """
    table = score_table([record for record in records if record.dimension == dimension])
    first, second = table.scores[:, :, None], table.scores[:, None, :]
    met = ~(np.isnan(first) | np.isnan(second))
    met &= ~np.eye(len(table.models), dtype=bool)
    won = np.where(met, (first > second) + 0.5 * (first == second), 0.0).sum(axis=0)
    meetings = met.sum(axis=0).astype(np.float64)
    share = np.divide(won, meetings, out=np.full(won.shape, np.nan), where=meetings > 0)
    return table.models, np.asarray(share), meetings


def bradley_terry(share: Floats, meetings: Floats, *, rounds: int = 1000) -> Floats:
    """Return log strengths with mean 0, such that P(row beats column) = σ(difference): float [models].

    Fitted by the MM algorithm (Hunter 2004, "MM algorithms for generalized Bradley-Terry models"). Every pair begins
    with one tie, so that a model that never loses has a finite strength.
    """
    n = len(share)
    others = ~np.eye(n, dtype=bool)
    won = np.where(others, np.nan_to_num(share) * meetings + 0.5, 0.0)
    total = np.where(others, meetings + 1.0, 0.0)
    strength = np.ones(n)
    for _ in range(rounds):
        before = strength
        strength = won.sum(axis=1) / (total / (strength[:, None] + strength[None, :])).sum(axis=1)
        strength = strength / np.exp(np.log(strength).mean())
        if np.abs(np.log(strength / before)).max() < 1e-10:
            break
    return np.asarray(np.log(strength))
