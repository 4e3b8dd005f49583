"""Intervals hold the truth as often as they say, p-values are right under the null, Holm by hand."""

import numpy as np
import pytest

from sensorium.core.errors import DataError
from sensorium.evaluation import bootstrap
from sensorium.evaluation.bootstrap import holm, mean_interval, mean_intervals, paired_difference, resampled_means


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(300):
        found = mean_interval(rng.beta(0.5, 1.5, 150), seed=trial)  # skewed, in [0, 1], as recall is
        held += found.low <= 0.25 <= found.high
    assert 0.90 <= held / 300 <= 0.98


def test_an_interval_is_near_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(3, 2, 2000)
    found = mean_interval(values, resamples=4000)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert found.mean == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)
    narrow = mean_interval(values, level=0.5)
    assert found.low < narrow.low < narrow.mean < narrow.high < found.high


def test_false_alarms_are_as_rare_as_they_should_be() -> None:
    rng = np.random.default_rng(2)
    ps = []
    for trial in range(300):
        a = rng.normal(size=80)
        ps.append(paired_difference(a, a + rng.normal(size=80), seed=trial, resamples=400).p)
    assert 0.02 <= np.mean(np.array(ps) < 0.05) <= 0.10
    assert 0.4 <= np.mean(ps) <= 0.6


def test_pairing_finds_what_single_intervals_cannot() -> None:
    rng = np.random.default_rng(3)
    a = rng.random(500)
    b = a - 0.01 - 0.02 * rng.random(500)
    found = paired_difference(a, b)
    assert found.low < found.difference < found.high
    assert found.difference == pytest.approx(0.02, abs=0.002)
    assert found.low > 0
    assert found.p == pytest.approx(2 / 1001)
    first, second = mean_interval(a), mean_interval(b)
    assert first.low < second.high  # the single intervals overlap
    swapped = paired_difference(b, a)
    assert swapped.difference == -found.difference
    assert swapped.p == found.p


def test_no_difference_is_p_one() -> None:
    found = paired_difference([0.1, 0.5], [0.1, 0.5])
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_draws_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).random((100, 2))
    whole = resampled_means(values, seed=1, resamples=50)
    assert not np.array_equal(whole, resampled_means(values, seed=2, resamples=50))
    monkeypatch.setattr(bootstrap, "GROUP_DRAWS", 700)  # seven resamples at once
    assert resampled_means(values, seed=1, resamples=50) == pytest.approx(whole, abs=1e-12)
    both = mean_intervals({"a": values[:, 0], "b": values[:, 1]}, seed=1)
    alone = mean_interval(values[:, 1], seed=1)
    assert (both["b"].low, both["b"].high) == pytest.approx((alone.low, alone.high), abs=1e-12)
    assert mean_intervals({}) == {}


def test_means_are_those_of_drawn_rows() -> None:
    means = resampled_means(np.eye(3), seed=0, resamples=200)
    counts = means * 3
    assert np.allclose(counts, counts.round())
    assert np.allclose(counts.sum(axis=1), 3)
    assert counts.max() == 3  # one row three times: with replacement


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04 -> x4 .02, x3 .03, x2 .06, x1 .04 raised to .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm({"a": 0.9, "b": 0.6}) == {"a": 1.0, "b": 1.0}
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.1, float("nan")])


def test_what_cannot_be_resampled_is_refused() -> None:
    with pytest.raises(DataError, match="needs one value per query"):
        mean_interval([])
    with pytest.raises(DataError, match="'recall@5' holds a value that is not finite, at place 1"):
        mean_intervals({"recall@5": [0.5, float("nan")]})
    with pytest.raises(DataError, match="there are 3 and 2 values"):
        paired_difference([1, 2, 3], [1, 2])


def test_whole_users_are_drawn_with_all_of_their_queries() -> None:
    values = np.random.default_rng(0).random(300)
    alone = mean_intervals({"hr": values}, owner=np.arange(300))["hr"]
    assert alone == mean_intervals({"hr": values})["hr"]  # one query each: the same draws
    alike = np.repeat(values[:60], 5)  # five equal answers of a user are one
    drawn, naive = (
        mean_intervals({"hr": alike}, owner=np.repeat(np.arange(60), 5))["hr"],
        mean_intervals({"hr": alike})["hr"],
    )
    few = mean_intervals({"hr": values[:60]})["hr"]
    assert (drawn.low, drawn.high) == pytest.approx((few.low, few.high))
    assert drawn.high - drawn.low > 1.8 * (naive.high - naive.low)
    uneven = mean_intervals({"hr": np.array([1.0, 1.0, 1.0, 0.0])}, owner=np.array([7, 7, 7, 9]))["hr"]
    assert uneven.mean == 0.75
    assert (uneven.low, uneven.high) == (0.0, 1.0)
