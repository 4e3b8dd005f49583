"""Results: what is kept, and what a run writes of it."""

import json

import numpy as np
import pytest

from sensorium.evaluation import results
from sensorium.evaluation.ranking import evaluate
from sensorium.evaluation.results import measure
from sensorium.evaluation.tasks import list_task

from .doubles import Table, random_task


def test_values_of_single_queries_are_kept_unrounded() -> None:
    rng = np.random.default_rng(0)
    task = random_task(rng, 40, 60)
    result = evaluate(Table(rng.normal(size=(40, 60)).astype(np.float32)), task, ks=[5, 10], metrics=["recall", "gini"])
    assert set(result.per_query) == {"recall@5", "recall@10"}
    assert set(result.summary) == {"recall@5", "recall@10", "gini@5", "gini@10"}
    for name, values in result.per_query.items():
        assert values.dtype == np.float64
        assert len(values) == result.n == len(task)
        assert result.summary[name] == values.mean()
    assert result.lists.shape == (len(task), 10)
    assert result.lists.dtype == np.int32


def test_the_report_is_plain() -> None:
    rng = np.random.default_rng(1)
    task = random_task(rng, 10, 20)
    result = evaluate(Table(rng.normal(size=(10, 20)).astype(np.float32)), task, ks=[3], metrics=["recall"])
    report = json.loads(json.dumps(result.report(), allow_nan=False))
    assert report["metrics"] == result.summary
    assert report["n"] == len(task)
    assert report["ties"] == {"3": 0.0}


def test_blocks_of_lists_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    task = random_task(rng, 50, 40)
    lists = np.stack([rng.permutation(40)[:10] for _ in range(len(task))]).astype(np.int32)
    whole = measure(task, lists, ks=[1, 10], metrics=["ndcg", "map"])
    monkeypatch.setattr(results, "BLOCK", 7)
    parts = measure(task, lists, ks=[1, 10], metrics=["ndcg", "map"])
    assert parts.summary == whole.summary


def test_lists_that_do_not_fit_are_refused() -> None:
    task = random_task(np.random.default_rng(3), 5, 9)
    with pytest.raises(ValueError, match="lists of shape"):
        measure(task, np.zeros((len(task), 3), np.int32), ks=[5], metrics=["recall"])
    with pytest.raises(ValueError, match="lists of shape"):
        measure(task, np.zeros((len(task) + 1, 5), np.int32), ks=[5], metrics=["recall"])
    with pytest.raises(ValueError, match="has a target"):
        measure(list_task(5, np.arange(2)), np.zeros((2, 1), np.int32), ks=[1], metrics=["recall"])


def test_no_query_gives_an_empty_summary() -> None:
    task = list_task(5, np.zeros(0, dtype=np.int64))
    result = measure(task, np.zeros((0, 2), np.int32), ks=[2], metrics=["recall", "coverage"])
    assert (result.n, result.summary, result.tie_share) == (0, {}, None)
