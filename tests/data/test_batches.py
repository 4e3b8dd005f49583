import logging

import numpy as np
import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.data.batches import Batch, PairBatches, Step
from sensorium.data.view import TrainView

from .made import make_view, random_pairs

USERS, ITEMS, ROWS = 40, 30, 500


def view() -> TrainView:
    return make_view(list(zip(*random_pairs(USERS, ITEMS, ROWS), strict=True)), USERS, ITEMS)


def batches(batch_size: int = 64, n_negatives: int = 1) -> PairBatches:
    return PairBatches(view(), batch_size, n_negatives)


def assert_equal(one: Batch, other: Batch) -> None:
    for name in ("user", "pos", "neg", "row"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_a_pass_gives_every_train_row_once_with_negatives() -> None:
    source, rows = batches(n_negatives=3), view()
    assert len(source) == 8
    passed = [source.batch(Step(0, "main", 0, index)) for index in range(8)]
    assert [len(batch) for batch in passed] == [64] * 7 + [ROWS - 7 * 64]
    row = torch.cat([batch.row for batch in passed]).numpy()
    assert sorted(row) == list(range(ROWS))
    had = rows.matrix.toarray() > 0
    for batch in passed:
        np.testing.assert_array_equal(batch.user, rows.user[batch.row])
        np.testing.assert_array_equal(batch.pos, rows.item[batch.row])
        assert batch.neg.shape == (len(batch), 3)
        assert not had[batch.user.numpy()[:, None], batch.neg.numpy()].any()
        assert batch.user.dtype == batch.pos.dtype == batch.neg.dtype == batch.row.dtype == torch.int64
        assert batch.weight is None


def test_any_batch_can_be_had_at_any_time() -> None:
    one, other = batches(), batches()
    steps = [Step(0, phase, epoch, index) for phase in ("a", "b") for epoch in range(3) for index in range(8)]
    expected = {step: one.batch(step) for step in steps}
    for position in np.random.default_rng(0).permutation(len(steps)):
        assert_equal(other.batch(steps[position]), expected[steps[position]])


def test_seed_phase_and_epoch_each_give_another_order_and_other_negatives() -> None:
    source = batches()
    first = source.batch(Step(0, "main", 0, 0))
    for step in (Step(1, "main", 0, 0), Step(0, "other", 0, 0), Step(0, "main", 1, 0)):
        assert not torch.equal(source.batch(step).row, first.row)
    whole = [batches(batch_size=ROWS).batch(Step(0, "main", epoch, 0)) for epoch in (0, 1)]
    negatives = [batch.neg[batch.row.argsort()] for batch in whole]  # of the same rows
    assert not torch.equal(*negatives)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_slices_of_the_ranks_make_up_the_global_batch(world: int) -> None:
    """Each rank takes its slice of the global batch."""
    source = batches(n_negatives=2)
    for index in (0, 7):
        whole = source.batch(Step(3, "main", 2, index))
        parts = [batches(n_negatives=2).batch(Step(3, "main", 2, index, rank, world)) for rank in range(world)]
        for name in ("user", "pos", "neg", "row"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_rows_of_a_user_who_has_everything_are_left_out_and_counted_once(caplog: pytest.LogCaptureFixture) -> None:
    """TR-1: 3 items; user A (0) has all three, B has item 1, C has item 2."""
    with caplog.at_level(logging.WARNING):
        source = PairBatches(make_view([(0, 0), (0, 1), (0, 2), (1, 1), (2, 2)], 3, 3), batch_size=4)
        for epoch in range(3):
            batch = source.batch(Step(0, "main", epoch, 0))
            assert sorted(batch.user.tolist()) == [1, 2]
    assert source.skipped_rows == 3
    assert len(source) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "3 train rows of 1 users are left out of training: they hold every item that occurs in train, "
        "so there is no negative to draw"
    ]


def test_no_negative_for_anybody() -> None:
    """TR-1: an error only where nothing is left."""
    with pytest.raises(DataError, match="4 train rows and no negative for any of them"):
        PairBatches(make_view([(0, 0), (0, 1), (1, 0), (1, 1)], 2, 3))


def test_popular_items_are_drawn_more_often_with_alpha() -> None:
    pairs = [(user, 0) for user in range(30)] + [(user, 1 + user % 9) for user in range(30, 60)]
    shares = []
    for alpha in (0.0, 1.0):
        source = PairBatches(make_view(pairs, 60, 10), batch_size=60, n_negatives=50, popularity_alpha=alpha)
        batch = source.batch(Step(0, "main", 0, 0))
        shares.append((batch.neg[batch.user >= 30] == 0).float().mean().item())
    assert shares[0] == pytest.approx(1 / 9, abs=0.03)
    assert shares[1] == pytest.approx(30 / (60 - 30 / 9), abs=0.04)


def test_a_batch_that_is_not_there() -> None:
    for index in (-1, 8):
        with pytest.raises(IndexError, match="a pass has 8 batches"):
            batches().batch(Step(0, "main", 0, index))


def test_a_batch_moves_as_a_whole() -> None:
    batch = batches().batch(Step(0, "main", 0, 0))
    batch.weight = torch.ones(len(batch))
    moved = batch.to("meta")
    assert {moved.user.device.type, moved.pos.device.type, moved.neg.device.type, moved.row.device.type} == {"meta"}
    assert moved.weight is not None
    assert moved.weight.device.type == "meta"
    assert batch.user.device.type == "cpu"
