from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.data.batches import Step
from sensorium.data.sequences import SequenceStore, pack, pack_histories
from sensorium.data.view import TrainView
from sensorium.data.windows import WindowBatches, cut
from sensorium.testing import tiny_view
from sensorium.testing.histories import ordered_view


def drawn(seed: int = 0, users: int = 200) -> tuple[SequenceStore, list[list[int]]]:
    """A store beside plain lists of the same items."""
    draw = np.random.default_rng(seed)
    lists = [draw.integers(50, size=draw.integers(0, 40)).tolist() for _ in range(users)]
    return pack_histories([torch.tensor(items, dtype=torch.int64) for items in lists]), lists


def test_rows_are_packed_by_user_in_the_given_order() -> None:
    user, item = np.array([1, 0, 1, 3]), np.array([7, 5, 2, 9])
    store = pack(user, item, np.array([1, 2, 0, 3]), 4)
    assert store.values.tolist() == [5, 2, 7, 9]
    assert store.offsets.tolist() == [0, 1, 3, 3, 4]
    assert (store.values.dtype, store.offsets.dtype) == (np.int32, np.int64)


def test_parts_of_a_store_are_those_of_lists() -> None:
    store, lists = drawn()
    users = np.array([5, 0, 199, 5])
    some = store.of(users)
    assert [part.tolist() for part in np.split(some.values, some.offsets[1:-1])] == [lists[user] for user in users]
    tail = store.tail(3)
    assert [part.tolist() for part in np.split(tail.values, tail.offsets[1:-1])] == [items[-3:] for items in lists]
    assert store.last(6).tolist() == [[-1] * (6 - len(items[-6:])) + items[-6:] for items in lists]
    with pytest.raises(DataError, match="user 200 has no sequence"):
        store.of(np.array([0, 200]))


def test_a_written_store_is_mapped_and_the_same_bytes_twice(tmp_path: Path) -> None:
    store, _ = drawn()
    store.write(tmp_path / "a")
    store.write(tmp_path / "b")
    for name in ("offsets.arrow", "sequences.arrow"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    found = SequenceStore.open(tmp_path / "a")
    assert not found.values.flags.writeable  # mapped
    assert np.array_equal(found.values, store.values)
    assert np.array_equal(found.last(4), store.last(4))
    store.tail(1).write(tmp_path / "short")
    (tmp_path / "short" / "offsets.arrow").replace(tmp_path / "a" / "offsets.arrow")
    with pytest.raises(DataError, match="do not belong together"):
        SequenceStore.open(tmp_path / "a")
    with pytest.raises(DataError, match="holds no sequences"):
        SequenceStore.open(tmp_path / "c")


@pytest.mark.parametrize("length", [1, 3, 10])
def test_windows_last(length: int) -> None:
    store, lists = drawn()
    windows = cut(store, length, "last")
    assert windows.user.tolist() == [user for user, items in enumerate(lists) if len(items) > 1]
    for user, start, end in zip(windows.user, windows.start, windows.end, strict=True):
        assert store.values[start:end].tolist() == lists[user][-length - 1 :]


@pytest.mark.parametrize("length", [1, 3, 10])
def test_windows_all_hold_every_step_once(length: int) -> None:
    store, lists = drawn()
    windows = cut(store, length, "all")
    steps = [(user, place) for user, items in enumerate(lists) for place in range(len(items) - 1)]
    found = [
        (int(user), place - int(store.offsets[user]))
        for user, start, end in zip(windows.user, windows.start, windows.end, strict=True)
        for place in range(start, end - 1)
    ]
    assert sorted(found) == steps
    assert (windows.end - windows.start).max() <= length + 1


def test_batches_go_once_over_all_windows_and_by_rank() -> None:
    view = ordered_view(users=40)
    batches = WindowBatches(view, 4, "all", batch_size=7, n_negatives=2)
    steps = [Step(seed=3, phase="main", epoch=1, index=index) for index in range(len(batches))]
    rows = torch.cat([batches.batch(step).items for step in steps])
    windows = cut(view.sequences, 4, "all")
    wanted = view.sequences.windows(windows.end, 5, windows.start)
    assert sorted(rows.tolist()) == sorted(wanted.tolist())
    whole = batches.batch(steps[0])
    parts = [batches.batch(Step(3, "main", 1, 0, rank, 2)) for rank in range(2)]
    assert torch.equal(torch.cat([part.items for part in parts]), whole.items)
    assert torch.equal(torch.cat([part.neg for part in parts]), whole.neg)
    assert whole.neg.shape == (7, 4, 2)
    for user, negatives in zip(whole.user.tolist(), whole.neg, strict=True):
        held = view.item[view.user == user].tolist()
        assert not set(negatives.flatten().tolist()) & set(held)
    with pytest.raises(IndexError):
        batches.batch(Step(3, "main", 1, len(batches)))


def many(users: int) -> TrainView:
    """A view of six rows for each user, in order, made of arrays alone."""
    rows = 6 * users
    item = np.sort(np.random.default_rng(0).integers(500, size=(users, 6)), axis=1).ravel()
    user = np.repeat(np.arange(users), 6)
    return TrainView(users, 500, user, item, None, 0, {}, {}, in_order=np.arange(rows))


def most_objects(users: int, each_batch: Callable[[TrainView], object] = lambda _: None) -> int:
    """How many more objects live at the worst moment of one epoch than before its view was made."""
    gc.collect()
    before = most = sys.getallocatedblocks()
    view = many(users)
    batches = WindowBatches(view, 4, "all", batch_size=256, n_negatives=2)
    for index in range(len(batches)):
        batch = batches.batch(Step(seed=3, phase="main", epoch=1, index=index))
        made = each_batch(view)
        most = max(most, sys.getallocatedblocks())
        del batch, made
    return most - before


def test_an_epoch_makes_no_object_for_each_user() -> None:
    """Specification 7.9: ten times the users are as many objects; one list of theirs would be seen."""
    most_objects(500)  # whatever is made once in a process
    few, more = most_objects(1_000), most_objects(10_000)
    assert abs(more - few) < 500
    assert most_objects(10_000, lambda view: view.sequences.offsets.tolist()) > few + 9_000


def test_a_view_without_order_says_so() -> None:
    with pytest.raises(DataError, match="no order"):
        WindowBatches(tiny_view(), 4)
