"""Metrics against a reference of loops, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core import registry
from sensorium.core.errors import ConfigError, DataError, UnknownNameError
from sensorium.evaluation.metrics import Relevance, load_metrics, query_metric
from sensorium.evaluation.results import metrics_of_lists

from .brute_force import PER_QUERY, metrics_of


def test_three_users_by_hand() -> None:
    """EV-1: three users by hand; the usual errors (ideal over k or over |T| alone) give .213986 and .339160."""
    result = metrics_of_lists(
        [list("abcde")] * 3, [["b", "z"], ["a"], ["a", "c", "x", "y", "z", "w", "v"]], [5], ["recall", "ndcg", "map"]
    )
    assert result.per_query["recall@5"] == pytest.approx([0.5, 1, 0.285714], abs=1e-6)
    assert result.per_query["ndcg@5"] == pytest.approx([0.386853, 1, 0.508740], abs=1e-6)
    assert result.per_query["map@5"] == pytest.approx([0.25, 1, 0.333333], abs=1e-6)
    assert result.summary == pytest.approx({"recall@5": 0.595238, "ndcg@5": 0.631864, "map@5": 0.527778}, abs=1e-6)


def test_duplicates_count_once() -> None:
    """EV-4: duplicates in truth or list."""
    result = metrics_of_lists([["x", "x", "y", "q"]], [["x", "x", "y"]], [2, 4])
    assert result.per_query["recall@2"] == pytest.approx([0.5])
    assert result.per_query["recall@4"] == pytest.approx([1.0])
    assert max(result.summary.values()) <= 1
    assert result.excluded["duplicate_targets"] == 1


def test_users_without_a_list_and_without_truth() -> None:
    """EV-5: users without a list score 0 and count, users without truth are left out and counted."""
    result = metrics_of_lists([[1], [2], [3], [], [9]], [[1], [2], [3], [4], []], [10], ["recall"])
    assert result.summary["recall@10"] == 0.75
    assert result.n == 4
    assert result.excluded["users_without_targets"] == 1
    assert result.query.tolist() == [0, 1, 2, 3]


def test_nobody_has_truth() -> None:
    with pytest.raises(DataError, match="no user has a right answer"):
        metrics_of_lists([[1]], [[]], [1])
    with pytest.raises(DataError, match="2 lists for 1 users"):
        metrics_of_lists([[1], [2]], [[1]], [1])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_plain_lists_equal_loops(data: st.DataObject) -> None:
    items = st.integers(0, 12)
    users = data.draw(st.integers(1, 6))
    lists = [data.draw(st.lists(items, unique=True, max_size=9)) for _ in range(users)]
    truth = [data.draw(st.lists(items, unique=True, min_size=user == 0, max_size=9)) for user in range(users)]
    ks = data.draw(st.lists(st.integers(1, 12), unique=True, min_size=1, max_size=3))
    result = metrics_of_lists(lists, truth, ks, PER_QUERY)
    measured = [user for user in range(users) if truth[user]]
    assert result.query.tolist() == measured
    for k in ks:
        expected = [metrics_of(lists[user], set(truth[user]), k) for user in measured]
        for name in PER_QUERY:
            values = result.per_query[f"{name}@{k}"]
            assert values == pytest.approx([row[name] for row in expected], abs=1e-9)
            assert ((values >= 0) & (values <= 1 + 1e-12)).all()


def test_a_metric_of_a_third_party() -> None:
    @query_metric("whether the first place is a hit")
    def first_place(relevance: Relevance, k: int) -> np.ndarray:
        return relevance.hits[:, 0].astype(float)

    with registry.registered("sensorium.metrics", "first_place", first_place):
        result = metrics_of_lists([[1, 2], [1, 2]], [[1], [2]], [2], ["first_place"])
    assert result.per_query["first_place@2"].tolist() == [1, 0]


def test_what_is_no_metric_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'ndcg'"):
        load_metrics(["ndgc"])
    with (
        registry.registered("sensorium.metrics", "plain", len),
        pytest.raises(ConfigError, match="not a metric"),
    ):
        load_metrics(["plain"])


def test_novelty_needs_counts() -> None:
    with pytest.raises(ConfigError, match="novelty needs the train count"):
        metrics_of_lists([[1]], [[1]], [1], ["novelty"])
