"""Training and testing of one model under one configuration: shared by runs and audits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sensorium.core.rundir import RunDirectory
from sensorium.core.seeds import catalogue_order
from sensorium.data.batches import PairBatches
from sensorium.data.weights import WeightedBatches
from sensorium.evaluation.bootstrap import Interval, mean_intervals
from sensorium.evaluation.buckets import (
    evaluate_within,
    frequency_buckets,
    measure_buckets,
    popularity_buckets,
    warm_and_cold,
)
from sensorium.evaluation.histories import HistoryScorer, OwnerScorer, history_task
from sensorium.evaluation.ranking import Ranked, evaluate, rank, ranking_rules
from sensorium.evaluation.results import RankingResult, measure
from sensorium.evaluation.scoring import Scorer
from sensorium.evaluation.tasks import RankingTask, asks_users_often, ranking_task
from sensorium.experiments.setup import Setup
from sensorium.recommenders.base import MakesBatches, Recommender
from sensorium.training.loop import TrainingResult, train
from sensorium.training.protocols import BatchSource, TrainingData


@dataclass(frozen=True)
class Tested:
    """The test of one model.

    Attributes:
        task: Who was asked, and what was right.
        ranked: The lists with their scores, as long as the largest k.
        result: What they are worth.
    """

    task: RankingTask
    ranked: Ranked
    result: RankingResult


def fit(setup: Setup, run: RunDirectory | None = None) -> tuple[TrainingResult, int]:
    """Train the model of a setup and leave its best state in it; a model that is complete once built is validated.

    Args:
        setup: The model and its data.
        run: Where records and checkpoints go, and from which training goes on; None keeps nothing.

    Returns:
        The outcome, and the number of train rows that were skipped because their users hold every item.
    """
    config, training = setup.config, setup.config.training
    source, skipped = _batches(setup)
    scorer, task = asked(setup, "valid")

    def validate(model: Recommender) -> Mapping[str, float]:
        return evaluate(scorer if scorer is not setup.model else model, task, **_measured(setup)).summary

    result = train(
        setup.model,
        TrainingData(source, validate),
        training,
        selection=config.parsed_selection(),
        constraint=config.constraint,
        seed=config.seed,
        run=run,
    )
    return result, skipped


def _batches(setup: Setup) -> tuple[BatchSource | None, int]:
    """Return what the model of a setup learns from, and how many rows or windows of it had to be left out."""
    training = setup.config.training
    if not setup.info.trained:
        return None, 0
    if isinstance(setup.model, MakesBatches):
        own = setup.model.make_batches(training.batch_size, training.negatives)
        return own, own.skipped_rows
    batches = PairBatches(setup.view, training.batch_size, training.negatives)
    weight = setup.view.weight
    return batches if weight is None else WeightedBatches(batches, weight), batches.skipped_rows


def asked(setup: Setup, part: Literal["valid", "test"]) -> tuple[Scorer, RankingTask]:
    """Return who is asked, and what: users of the model itself, or the users' histories before the part."""
    split, evaluation = setup.split, setup.config.evaluation
    if setup.model.query_kind == "history" or asks_users_often(split):
        histories, task = history_task(
            setup.dataset, split, part, repeat_policy=evaluation.repeat_policy, mask=evaluation.history
        )
        if setup.model.query_kind == "history":
            return HistoryScorer(setup.model, histories), task
        known = "the model knows the user's train rows"
        return OwnerScorer(setup.model, histories.user), replace(
            task, rules={**task.rules, "query": "user id", "history": known}
        )
    mask = "train" if part == "valid" else evaluation.mask
    return setup.model, ranking_task(split, part, mask=mask, candidates=split.candidates)


def validate_best(setup: Setup) -> RankingResult:
    """Measure the state that the model is in on the validation part."""
    return evaluate(*asked(setup, "valid"), **_measured(setup))


def measure_test(setup: Setup) -> Tested:
    """Rank for every test user and measure: the one time that test rows are read."""
    evaluation = setup.config.evaluation
    scorer, task = asked(setup, "test")
    order = catalogue_order(task.n_items, evaluation.tie_seed)
    ranked = rank(scorer, task, k=max(evaluation.ks), tie_order=order)
    result = measure(
        task,
        ranked.items,
        ks=evaluation.ks,
        metrics=evaluation.metrics,
        scores=ranked.scores,
        tie_at_cut=ranked.tie_at_cut,
        item_count=setup.view.item_users,
        n_users=setup.view.n_users,
        rules=ranking_rules(evaluation.tie_seed),
    )
    return Tested(task, ranked, result)


def bucket_results(setup: Setup, tested: Tested) -> dict[str, tuple[npt.NDArray[np.bool_], RankingResult]]:
    """Measure the same lists on warm and cold items, and on items by their number of train rows.

    Returns:
        By bucket, its items bool [I] and the result.
    """
    count = trained_count(setup)
    buckets = warm_and_cold(count) | popularity_buckets(count)
    evaluation = setup.config.evaluation
    found = measure_buckets(
        tested.task,
        tested.result,
        buckets,
        ks=evaluation.ks,
        metrics=evaluation.metrics,
        item_count=setup.view.item_users,
        n_users=setup.view.n_users,
    )
    return {name: (buckets[name], result) for name, result in found.items()}


def by_frequency(setup: Setup, tested: Tested) -> dict[str, RankingResult]:
    """Measure the same lists on items by how often training showed them, in bins of twice the width each."""
    evaluation = setup.config.evaluation
    return measure_buckets(
        tested.task,
        tested.result,
        frequency_buckets(trained_count(setup)),
        ks=evaluation.ks,
        metrics=[name.partition("@")[0] for name in [setup.config.selection] if "@" in name],
        item_count=setup.view.item_users,
        n_users=setup.view.n_users,
    )


def trained_count(setup: Setup) -> npt.NDArray[np.int64]:
    """Return how often training showed each item, int64 [I]: its train rows, or those in the windows of sequences."""
    counted: npt.NDArray[np.int64] | None = getattr(setup.model, "shown_count", None)
    return setup.view.item_count if counted is None else counted


def among_cold_items(setup: Setup, tested: Tested) -> RankingResult:
    """Rank the cold items of the split among themselves: the second ranking of `cold_items`."""
    assert setup.split.cold_items is not None  # asked only of a split that has them
    return evaluate_within(asked(setup, "test")[0], tested.task, setup.split.cold_items, **_measured(setup))


def intervals(result: RankingResult) -> dict[str, Interval]:
    """Return each metric's 95 % interval over users; metrics of all lists together have none."""
    return mean_intervals(result.per_query, owner=result.owner)


def _measured(setup: Setup) -> dict[str, Any]:
    evaluation = setup.config.evaluation
    return {
        "ks": evaluation.ks,
        "metrics": evaluation.metrics,
        "tie_seed": evaluation.tie_seed,
        "item_count": setup.view.item_users,
        "n_users": setup.view.n_users,
    }
