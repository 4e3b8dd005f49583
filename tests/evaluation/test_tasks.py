"""Tasks: targets and masks of a split, restricted, and cut into shards."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.evaluation.tasks import list_task, ranking_task, restrict, shard, task_from_rows

from .doubles import Parts, per_query, random_task

SPLIT = Parts(
    n_users=4,
    n_items=6,
    train=[(0, 3), (0, 1), (1, 0), (2, 2), (3, 5)],
    valid=[(0, 4), (2, 5)],
    test=[(2, 0), (0, 5), (0, 2), (1, 4)],
)


def test_a_split_becomes_a_task() -> None:
    task = ranking_task(SPLIT, "test")
    assert task.query.tolist() == [0, 1, 2]
    assert per_query(task, task.target_offsets, task.target_items) == [{2, 5}, {4}, {0}]
    assert per_query(task, task.mask_offsets, task.mask_items) == [{1, 3}, {0}, {2}]
    assert task.excluded["users_without_targets"] == 1
    assert task.n_candidates.tolist() == [4, 5, 5]
    wider = ranking_task(SPLIT, "test", mask="train+valid")
    assert per_query(wider, wider.mask_offsets, wider.mask_items) == [{1, 3, 4}, {0}, {2, 5}]
    assert ranking_task(SPLIT, "valid").query.tolist() == [0, 2]


def test_a_task_without_targets_is_refused() -> None:
    with pytest.raises(DataError, match="the test part of this split has no row to rank"):
        ranking_task(Parts(2, 3, train=[(0, 1)]), "test")
    with pytest.raises(DataError, match="hides the targets of a validation"):
        ranking_task(SPLIT, "valid", mask="train+valid")


def test_only_some_items_are_targets() -> None:
    cold = np.array([False, False, True, False, False, True])
    task = ranking_task(SPLIT, "test", items=cold)
    assert task.query.tolist() == [0]
    assert task.target_items.tolist() == [2, 5]
    assert task.excluded["users_without_targets"] == 3
    within = ranking_task(SPLIT, "test", items=cold, candidates=cold)
    assert within.n_candidates.tolist() == [2]
    assert within.rules["candidates"] == "2 of 6 items"
    # A target outside the candidates can't be reached.
    outside = ranking_task(SPLIT, "test", candidates=cold)
    assert outside.query.tolist() == [0]
    assert outside.excluded["unreachable_targets"] == 2


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), with_candidates=st.booleans())
def test_restricting_equals_building_restricted(seed: int, with_candidates: bool) -> None:
    rng = np.random.default_rng(seed)
    n_users, n_items = 8, 12
    targets = rng.integers(0, n_users, 20), rng.integers(0, n_items, 20)
    masked = rng.integers(0, n_users, 30), rng.integers(0, n_items, 30)
    items = rng.random(n_items) < 0.5
    candidates = rng.random(n_items) < 0.7 if with_candidates else None
    whole = task_from_rows(n_items, targets, masked, n_users=n_users)
    cut = restrict(whole, items, candidates)
    built = task_from_rows(n_items, targets, masked, n_users=n_users, items=items, candidates=candidates)
    for name in ("query", "target_offsets", "target_items", "mask_offsets", "mask_items", "n_candidates"):
        assert np.array_equal(getattr(cut, name), getattr(built, name)), name
    # Every user is either asked or counted under one reason.
    for task in (cut, built):
        assert (
            len(task) + task.excluded["users_without_targets"] + task.excluded["queries_with_unreachable_targets_only"]
            == n_users
        )


def test_restricting_to_other_candidates_is_refused() -> None:
    some = np.array([True, False, True])
    task = task_from_rows(3, (np.array([0]), np.array([0])), (np.zeros(0, int), np.zeros(0, int)), candidates=some)
    with pytest.raises(ValueError, match="already ranks a part"):
        restrict(task, some, candidates=~some)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_shards_cover_each_query_once(count: int) -> None:
    task = random_task(np.random.default_rng(0), 20, 30)
    parts = [shard(task, index, count) for index in range(count)]
    assert np.concatenate([part.query for part in parts]).tolist() == task.query.tolist()
    for offsets, items in (("target_offsets", "target_items"), ("mask_offsets", "mask_items")):
        together = [row for part in parts for row in per_query(part, getattr(part, offsets), getattr(part, items))]
        assert together == per_query(task, getattr(task, offsets), getattr(task, items))


def test_a_list_task_keeps_the_order_of_its_queries() -> None:
    task = list_task(5, np.array([3, 1, 3]), (np.array([2, 0, 2]), np.array([4, 1, 0])))
    assert task.query.tolist() == [3, 1, 3]
    assert per_query(task, task.mask_offsets, task.mask_items) == [{1}, set(), {0, 4}]
    assert task.n_candidates.tolist() == [4, 5, 3]


def test_unsorted_targets_are_noticed() -> None:
    task = list_task(5, np.array([0]))
    broken = type(task)(5, task.query, np.array([0, 2]), np.array([3, 1]), task.mask_offsets, task.mask_items)
    with pytest.raises(ValueError, match="ascending"):
        _ = broken.target_keys
