"""Any system's lists on a data set's split, by the names that the command line knows: the numbers that a run of them
would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from sensorium.core.config import Component
from sensorium.data.catalogue import open_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.splits import Split, make_split
from sensorium.evaluation.lists import evaluate_lists
from sensorium.evaluation.results import RankingResult
from sensorium.evaluation.selection import check_evaluation


def evaluate(
    lists: pl.DataFrame | str | Path,
    data: Dataset | str | Path,
    split: Split | Component | Mapping[str, Any] | str,
    *,
    ks: Sequence[int] = (5, 10, 20, 50),
    metrics: Sequence[str] = ("recall", "ndcg"),
    part: Literal["valid", "test"] = "test",
    mask: Literal["train", "train+valid"] = "train",
    split_seed: int = 0,
    min_rating: float | None = None,
    tie_seed: int = 0,
) -> RankingResult:
    """Measure lists from a file or a table. Of a run's own `lists.parquet` it gives the run's own numbers.

    Args:
        lists: One row per recommended item: user_id, item_id, and rank or score.
        data: The data set whose ids the lists use, or its name or folder.
        split: The split, or its name, or its name and options.
        ks: The list lengths.
        metrics: Names of registered metrics.
        part: Which rows are the right answers.
        mask: What the lists were allowed to leave out.
        split_seed: Seed of the split.
        min_rating: Rows below it count for nothing, as in the run's configuration.
        tie_seed: Seed of the order of equal scores.

    Raises:
        ConfigError: An unknown metric or split.
        DataError: Lists that cannot be measured honestly, for example shorter than the largest k.
    """
    check_evaluation(ks, metrics)
    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    made = split if isinstance(split, Split) else make_split(dataset, split, seed=split_seed, min_rating=min_rating)
    return evaluate_lists(lists, dataset, made, ks=ks, metrics=metrics, part=part, mask=mask, tie_seed=tie_seed)
