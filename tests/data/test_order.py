from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.order import by_time

from .made import make_dataset

Table = list[tuple[int, int, int]]


def ordered(folder: Path, table: Table, seed: int = 0, order: list[int] | None = None) -> Table:
    """The (user, item, time) rows in the order of `by_time`."""
    user, item, time = (np.array(column, dtype=np.int64) for column in zip(*table, strict=True))
    dataset = make_dataset(folder, user.tolist(), item.tolist())
    found = by_time(dataset, user, item, time, None if order is None else np.array(order), seed)
    return [table[position] for position in found]


def test_by_user_and_then_oldest_first(tmp_path: Path) -> None:
    table = [(1, 0, 30), (0, 1, 20), (1, 1, 10), (0, 0, 40), (1, 2, 20)]
    assert ordered(tmp_path / "d", table) == [(0, 1, 20), (0, 0, 40), (1, 1, 10), (1, 2, 20), (1, 0, 30)]


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_equal_times_do_not_follow_the_file(tmp_path_factory: object, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("data")  # type: ignore[attr-defined]
    pairs = data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=2, max_size=30, unique=True))
    table = [(user, item, data.draw(st.integers(0, 2))) for user, item in pairs]
    shuffled = data.draw(st.permutations(table))
    assert ordered(folder / "one", table) == ordered(folder / "other", shuffled)


def test_equal_times_follow_the_seed_and_not_the_item_ids(tmp_path: Path) -> None:
    """`mlls` is sorted by film inside a second: an id order would be a pattern that is nobody's behaviour."""
    table = [(user, item, 0) for user in range(200) for item in range(8)]
    orders = []
    for seed in (0, 1):
        found = ordered(tmp_path / str(seed), table, seed)
        items = np.array([item for _, item, _ in found]).reshape(200, 8)
        assert (np.sort(items, axis=1) == np.arange(8)).all()
        first = np.bincount(items[:, 0], minlength=8)  # of 200 users, 25 each if the item plays no part
        assert first.min() > 8
        assert first.max() < 48
        assert len(np.unique(items, axis=0)) > 150  # each user has an order of its own
        orders.append(items)
    assert (orders[0] != orders[1]).mean() > 0.5


def test_equal_times_follow_the_order_of_data_that_have_one(tmp_path: Path) -> None:
    table = [(0, 3, 5), (0, 1, 5), (0, 2, 5), (0, 0, 1)]
    assert ordered(tmp_path / "d", table, order=[2, 0, 1, 3]) == [(0, 0, 1), (0, 1, 5), (0, 2, 5), (0, 3, 5)]


def test_order_alone_and_no_rows(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "d", [0, 0, 0], [0, 1, 2])
    user, item, none = np.zeros(3, dtype=np.int64), np.arange(3), np.zeros(0, dtype=np.int64)
    assert by_time(dataset, user, item, None, np.array([5, 9, 7]), 0).tolist() == [0, 2, 1]
    assert by_time(dataset, none, none, none, None, 0).tolist() == []
