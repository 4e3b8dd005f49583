"""Ranks in a dimension, and their averages over dimensions.

Competition ranks: equals share the best one. Published averages of ranks are made of these (Video-Bench, table of
average ranks). A model whose order is undetermined has no rank, and a group of dimensions in which any model lacks one
has no average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from sensorium.core.errors import DataError
from sensorium.judging.aggregation import DimensionMeans

Ties = Literal["competition", "mid-rank"]


def ranks_of(
    means: DimensionMeans, models: Sequence[str], *, ties: Ties = "competition", allow_missing: bool = False
) -> dict[str, float | None]:
    """Return each model's rank in one dimension, None where it has no mean, or its order is undetermined.

    Args:
        means: The dimension.
        models: All models of the board.
        ties: How equal means are ranked.
        allow_missing: Rank the undetermined ones too, by their means.
    """
    unordered = frozenset() if allow_missing else means.unordered
    known = {entry.model: entry.mean for entry in means.models if entry.mean is not None}
    ranks = rank(known, ties=ties)
    return {model: None if model in unordered else ranks.get(model) for model in models}


def rank(means: Mapping[str, float], *, ties: Ties = "competition") -> dict[str, float]:
    """Return ranks, 1 for the highest: equals share the best rank, or with "mid-rank" the middle of theirs."""
    values = np.round(np.array(list(means.values()), dtype=np.float64), 9)  # equal sums, divided, may differ by less
    above = (values[None, :] > values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    ranks = 1.0 + above if ties == "competition" else above + (equal + 1) / 2
    return dict(zip(means, map(float, ranks), strict=True))


def average_rank(
    ranks: Mapping[str, Mapping[str, float | None]],
    dimensions: Sequence[str],
    models: Sequence[str],
    *,
    allow_missing: bool = False,
) -> dict[str, float]:
    """Return the mean rank of each model over some dimensions.

    Args:
        ranks: Dimension -> model -> rank.
        dimensions: Over which.
        models: Of whom.
        allow_missing: Average over what there is.

    Raises:
        DataError: A dimension has no ranks, or lacks one of the models; with `allow_missing`, a model has none at all.
    """
    table = {model: [ranks.get(name, {}).get(model) for name in dimensions] for model in models}
    if not allow_missing:
        for place, name in enumerate(dimensions):
            lacking = [model for model in models if table[model][place] is None]
            if lacking:
                why = "is not judged" if name not in ranks else f"has no rank for {', '.join(lacking)}"
                raise DataError(
                    f"no average rank: '{name}' {why}; --allow-missing averages what there is, and marks it"
                )
    found = {}
    for model, row in table.items():
        there = [value for value in row if value is not None]
        if not there:
            raise DataError(f"no average rank: '{model}' has no rank in any of {', '.join(dimensions)}")
        found[model] = sum(there) / len(there)
    return found
