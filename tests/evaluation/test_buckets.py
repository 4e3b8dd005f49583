"""Buckets of items by train rows: what is a target changes, what competes only where that is asked."""

import numpy as np
import pytest

from sensorium.core.seeds import catalogue_order
from sensorium.evaluation.buckets import (
    evaluate_within,
    frequency_buckets,
    measure_buckets,
    popularity_buckets,
    warm_and_cold,
)
from sensorium.evaluation.ranking import evaluate
from sensorium.evaluation.tasks import restrict

from .brute_force import metrics_of, ranked_list
from .doubles import Table, per_query, random_task


def test_bounds_of_the_buckets() -> None:
    counts = np.array([0, 1, 5, 6, 20, 21, 1000])
    members = {name: np.flatnonzero(items).tolist() for name, items in popularity_buckets(counts).items()}
    assert members == {"0": [0], "1-5": [1, 2], "6-20": [3, 4], ">20": [5, 6]}
    assert warm_and_cold(counts)["cold"].tolist() == [True] + [False] * 6
    assert np.array_equal(warm_and_cold(counts)["warm"], ~warm_and_cold(counts)["cold"])


def test_buckets_equal_brute_force() -> None:
    """Against the whole catalogue and against the bucket, per query, with the same targets."""
    rng = np.random.default_rng(0)
    n_users, n_items, k = 30, 80, 10
    scores = rng.integers(0, 40, (n_users, n_items)).astype(np.float32)
    task = random_task(rng, n_users, n_items)
    counts = rng.choice([0, 0, 3, 10, 50], n_items)
    place = catalogue_order(n_items, 0).tolist()
    result = evaluate(Table(scores), task, ks=[k], metrics=["recall"])
    parts = measure_buckets(task, result, popularity_buckets(counts), ks=[k], metrics=["recall", "ndcg"])
    targets = per_query(task, task.target_offsets, task.target_items)
    masks = per_query(task, task.mask_offsets, task.mask_items)
    for name, items in popularity_buckets(counts).items():
        members = set(np.flatnonzero(items).tolist())
        rows = [row for row in range(len(task)) if targets[row] & members]
        assert parts[name].query.tolist() == task.query[rows].tolist()
        assert parts[name].n + parts[name].excluded["users_without_targets"] == n_users
        within = evaluate_within(Table(scores), task, items, ks=[k], metrics=["recall", "ndcg"])
        for found, hidden in ((parts[name], set()), (within, set(range(n_items)) - members)):
            for metric in ("recall", "ndcg"):
                expected = [
                    metrics_of(
                        ranked_list(scores[task.query[row]].tolist(), masks[row] | hidden, place, k),
                        targets[row] & members,
                        k,
                    )[metric]
                    for row in rows
                ]
                assert found.per_query[f"{metric}@{k}"] == pytest.approx(expected, abs=1e-9)
        assert parts[name].rules["candidates"] == result.rules["candidates"] if "candidates" in result.rules else True
        assert f"{len(members)} items" in parts[name].rules["targets"]


def test_an_empty_bucket_is_said_not_scored() -> None:
    rng = np.random.default_rng(1)
    task = random_task(rng, 10, 20)
    result = evaluate(Table(rng.normal(size=(10, 20)).astype(np.float32)), task, ks=[5], metrics=["recall"])
    parts = measure_buckets(task, result, {"none": np.zeros(20, dtype=bool)}, ks=[5], metrics=["recall"])
    assert parts["none"].n == 0
    assert parts["none"].summary == {}
    with pytest.raises(ValueError, match="another task"):
        measure_buckets(restrict(task, np.zeros(20, dtype=bool)), result, {}, ks=[5], metrics=["recall"])


def test_frequency_bins_double_and_hold_every_item_once():
    count = np.array([0, 1, 2, 3, 4, 7, 8, 40])
    found = frequency_buckets(count)
    assert {name: np.flatnonzero(items).tolist() for name, items in found.items() if items.any()} == {
        "0": [0], "1": [1], "2-3": [2, 3], "4-7": [4, 5], "8-15": [6], "32-63": [7],
    }  # fmt: skip
    assert np.array_equal(sum(items.astype(int) for items in found.values()), np.ones(8))
    assert list(frequency_buckets(np.zeros(3, dtype=np.int64))) == ["0"]
