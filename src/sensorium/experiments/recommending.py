"""The job of kind "recommend": train on the train rows, select on the validation part, test once, write down what came
out.

    data.json               which data the run began with, so that it never goes on with others
    result.json             the outcome: what was measured, by which rules, on which data
    per_user.parquet        user_id, and a column for every metric that has a value per user (test)
    per_user_cold.parquet   the same where cold items are ranked among themselves (split `cold_items`)
    lists.parquet           user_id, item_id, rank, score: the list of every test user, as long as the largest k
    weights/, checkpoint/   written by training
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sensorium.core.config import Component, dump
from sensorium.core.files import write_parquet
from sensorium.core.resources import peak_memory
from sensorium.core.rundir import RunDirectory
from sensorium.data.dataset import Dataset
from sensorium.data.splits import TEST, TRAIN, VALID
from sensorium.evaluation.histories import with_repeats
from sensorium.evaluation.results import RankingResult
from sensorium.experiments.config import RunConfig
from sensorium.experiments.measuring import (
    Tested,
    among_cold_items,
    bucket_results,
    by_frequency,
    fit,
    intervals,
    measure_test,
    trained_count,
    validate_best,
)
from sensorium.experiments.origin import Origin, tables_digest
from sensorium.experiments.setup import Setup, set_up
from sensorium.training.loop import TIMING, TrainingResult


class RecommendJob:
    """Trains and tests one recommender. See `jobs.Job` for what each method is."""

    Config = RunConfig

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.setup: Setup | None = None

    def folder_name(self) -> str:
        """Return `<dataset>-<model>-<seed>-<digits of the configuration>`."""
        dataset = Path(self.config.data.dataset).name
        return f"{dataset}-{self.config.model.name}-{self.config.seed}-{self.config.key()}"

    def prepare(self, run: RunDirectory | None) -> None:
        """Open the data and build the model; refuse data that changed since the run began."""
        origin = None if run is None else Origin.find(run.path)
        if origin is None:
            self.setup = set_up(self.config)
        else:
            self.setup = set_up(self.config, origin.open(), list(origin.features))

    def work(self, run: RunDirectory) -> None:
        """Train, test, write: each step is done again as a whole when it was interrupted."""
        assert self.setup is not None  # prepare comes first
        setup = self.setup
        if run.writes:
            Origin.of(setup.dataset, self.config.data.dataset, setup.features_read()).write(run.path)
        trained, skipped = fit(setup, run)
        begun = time.perf_counter()
        tested = measure_test(setup)
        seconds = time.perf_counter() - begun
        cold = None if setup.split.cold_items is None else among_cold_items(setup, tested)
        if run.writes:
            _write_tables(run.path, setup, tested, cold)
        result = _result(setup, trained, skipped, tested, cold)
        _write_timing(run, len(tested.task), seconds, time.perf_counter() - begun)
        run.write_result(result)

    def write_report(self, path: Path) -> None:
        """Write the page for people."""
        from sensorium.experiments.report import write_report  # matplotlib is slow to import

        write_report(path)


# --- tables ---------------------------------------------------------------------------------------------------------


def _write_tables(path: Path, setup: Setup, tested: Tested, cold: RankingResult | None) -> None:
    write_parquet(path / "per_user.parquet", per_user_table(setup.dataset, tested.result))
    write_parquet(path / "lists.parquet", lists_table(setup.dataset, tested))
    if cold is not None:
        write_parquet(path / "per_user_cold.parquet", per_user_table(setup.dataset, cold))


def per_user_table(dataset: Dataset, result: RankingResult) -> pl.DataFrame:
    """Return user_id and one float64 column per metric and k, one row per measured user: the mean over its queries."""
    users = dataset.user_ids().gather(result.users).alias("user_id")
    table = pl.DataFrame([users, *(pl.Series(name, values) for name, values in result.per_query.items())])
    return table if result.owner is None else table.group_by("user_id", maintain_order=True).mean()


def lists_table(dataset: Dataset, tested: Tested) -> pl.DataFrame:
    """Return the lists as rows user_id, item_id, rank (from 1), score; users in the order of their ids, best item
    first. Where users have several targets in turn, `turn` numbers their lists from 1.
    """
    items, task = tested.ranked.items, tested.task
    filled = items >= 0  # [n, k]
    entries = filled.sum(axis=1)
    turn = {}
    if task.owner is not None:
        first = np.searchsorted(task.owner, task.owner)
        turn["turn"] = np.repeat(np.arange(len(task)) - first + 1, entries).astype(np.int32)
    return pl.DataFrame(
        {
            "user_id": dataset.user_ids().gather(np.repeat(task.users, entries)),
            **turn,
            "item_id": dataset.item_ids().gather(items[filled]),
            "rank": np.nonzero(filled)[1].astype(np.int32) + 1,
            "score": tested.ranked.scores[filled],
        }
    )


# --- result.json ----------------------------------------------------------------------------------------------------


def _result(
    setup: Setup, trained: TrainingResult, skipped: int, tested: Tested, cold: RankingResult | None
) -> dict[str, Any]:
    config = setup.config
    chosen: Component = config.model
    test = _report(tested.result)
    if (repeats := with_repeats(tested.task, tested.result)) is not None:
        test["with_repeats"] = repeats
    result = {
        "model": chosen.name,
        "seed": config.seed,
        "data": _data(setup),
        "evaluation": dump(config.evaluation),
        "selection": {"name": config.selection, "value": trained.best_value, "epoch": trained.best_epoch},
        "training": {
            "best_epoch": trained.best_epoch,
            "best_value": trained.best_value,
            "epochs": trained.epochs,
            "stopped": trained.stopped,
            "parameters": sum(parameter.numel() for parameter in setup.model.parameters()),
            "skipped_rows": skipped,
            "repeats": trained.repeats,
        },
        "valid": _report(validate_best(setup)),
        "test": test,
        "buckets": {
            name: {"items": int(items.sum()), "n": part.n, **_numbers(part)}
            for name, (items, part) in bucket_results(setup, tested).items()
        },
    }
    result["exposure"] = _exposure(setup, tested)
    result["by_frequency"] = _by_frequency(setup, tested)
    if cold is not None and setup.split.cold_items is not None:  # "test" ranks the cold items among the whole catalogue
        result["cold_items"] = {"items": int(setup.split.cold_items.sum()), "among_cold": _report(cold)}
    return result


def _by_frequency(setup: Setup, tested: Tested) -> dict[str, dict[str, Any]]:
    """Return the number that selected by how often training showed the target: bin -> n, value, interval."""
    metric = setup.config.selection
    if metric not in tested.result.per_query:
        return {}  # a number of the model's own, or one of all lists together
    found = {}
    for name, part in by_frequency(setup, tested).items():
        bound = intervals(part)[metric] if part.n else None
        ends = None if bound is None else [bound.low, bound.high]
        found[name] = {"n": part.n, metric: part.summary.get(metric), "interval": ends}
    return found


def _exposure(setup: Setup, tested: Tested) -> dict[str, float | None]:
    """Return how often training showed what is recommended, the mean over list entries: "train_count@10" -> count."""
    count, items = trained_count(setup), tested.ranked.items
    found = {}
    for k in setup.config.evaluation.ks:
        shown = items[:, :k][items[:, :k] >= 0]
        found[f"train_count@{k}"] = float(count[shown].mean()) if len(shown) else None
    return found


def _data(setup: Setup) -> dict[str, Any]:
    """Return which data were used and how they were divided."""
    dataset, split = setup.dataset, setup.split
    features = dataset.info.features
    return {
        "name": dataset.info.name,
        "fingerprint": dataset.fingerprint(),
        "tables": tables_digest(dataset),
        "users": dataset.n_users,
        "items": dataset.n_items,
        "rows": {
            name: len(split.part(label).row) for name, label in (("train", TRAIN), ("valid", VALID), ("test", TEST))
        },
        "split": setup.config.data.split.tree(),
        "split_seed": setup.config.data.split_seed,
        "repeats": split.repeats,
        "uses_future": split.uses_future,
        "left_out": dict(split.left_out),
        "notices": [*dataset.info.notices, *split.notices],
        "features": {
            name: {key: value for key, value in dump(features[name]).items() if key != "folder"}
            for name in setup.features_read()
        },
    }


def _report(result: RankingResult) -> dict[str, Any]:
    """Return a result with its intervals."""
    return {**result.report(), **_numbers(result)}


def _numbers(result: RankingResult) -> dict[str, Any]:
    """Return the metrics, and the 95 % intervals over users of those that have a value per user.

    A number that is not finite becomes null.
    """
    bounds = intervals(result) if result.n else {}
    return {
        "metrics": {name: value if math.isfinite(value) else None for name, value in result.summary.items()},
        "intervals": {name: [bound.low, bound.high] for name, bound in bounds.items()},
    }


def _write_timing(run: RunDirectory, users: int, test_seconds: float, seconds: float) -> None:
    """Add what the whole took, training of earlier processes included."""
    epochs = run.records(TIMING)
    run.append(
        TIMING,
        {
            "stage": "test",
            "train_seconds": sum(record.get("train_seconds", 0.0) for record in epochs),
            "validation_seconds": sum(record.get("validation_seconds", 0.0) for record in epochs),
            "test_seconds": test_seconds,
            "test_users_per_second": users / test_seconds,
            "after_training_seconds": seconds,
            "peak_memory_bytes": max([peak_memory(), *(record.get("peak_memory_bytes", 0) for record in epochs)]),
        },
    )
