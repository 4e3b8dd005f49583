from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from sensorium.core.errors import DataError
from sensorium.data import sampling
from sensorium.data.sampling import NegativeSampler, PairSet
from sensorium.data.view import TrainView

from .made import make_view, random_pairs

FEW, MANY = 0, 1  # two users of `lopsided`


def lopsided() -> TrainView:
    """20 items, one without a row; a user who holds few of them, one who holds all but three, and others."""
    pairs = [(FEW, item) for item in (3, 4)] + [(MANY, item) for item in range(16)]
    pairs += [(user, item) for user in range(2, 40) for item in range(19) if (user + item) % (item + 1) == 0]
    return make_view(pairs, 40, 20)


def expected_shares(view: TrainView, user: int, alpha: float) -> npt.NDArray[np.float64]:
    """The distribution by its definition."""
    weight = np.where(view.item_count > 0, view.item_count.astype(float) ** alpha, 0)
    weight[view.item[view.user == user]] = 0
    share: npt.NDArray[np.float64] = weight / weight.sum()
    return share


@pytest.mark.parametrize("rounds", [1, 2, 20], ids=lambda rounds: f"{rounds} rounds")
@pytest.mark.parametrize("alpha", [0.0, 0.75, 2.0])
@pytest.mark.parametrize("user", [FEW, MANY])
def test_distribution_over_what_the_user_does_not_hold(
    monkeypatch: pytest.MonkeyPatch, rounds: int, alpha: float, user: int
) -> None:
    """Chi-square, p > .001; by rejection, by the direct draw of what is left, and by both."""
    monkeypatch.setattr(sampling, "ROUNDS", rounds)
    view = lopsided()
    sampler = NegativeSampler(view, popularity_alpha=alpha)
    drawn = sampler.draw(np.full(40_000, user), 1, np.random.default_rng(0))
    found, share = np.bincount(drawn.ravel(), minlength=20), expected_shares(view, user, alpha)
    assert not found[share == 0].any()
    assert chisquare(found[share > 0], share[share > 0] * 40_000).pvalue > 0.001


@pytest.mark.parametrize("direct_bits", [0, 1 << 29], ids=["hashed", "direct"])
def test_no_train_item_in_a_million_draws(monkeypatch: pytest.MonkeyPatch, direct_bits: int) -> None:
    """No train item is ever drawn."""
    monkeypatch.setattr(sampling, "DIRECT_BITS", direct_bits)
    user, item = random_pairs(500, 400, 60_000)
    view = make_view(list(zip(user, item, strict=True)), 500, 400)
    sampler = NegativeSampler(view)
    users = np.random.default_rng(1).integers(0, 500, 250_000)
    drawn = sampler.draw(users, 4, np.random.default_rng(0))
    assert drawn.shape == (250_000, 4)
    assert drawn.dtype == np.int64
    had = view.matrix.toarray() > 0
    assert not had[users[:, None], drawn].any()
    shares = ((~had) / (~had).sum(1, keepdims=True)).sum(0)  # of users drawn uniformly
    assert chisquare(np.bincount(drawn.ravel(), minlength=400), shares / shares.sum() * drawn.size).pvalue > 0.001


def again(view: TrainView, times: int) -> TrainView:
    """The same pairs, each of the two first users standing several times, as `data.repeats: all` leaves them."""
    repeats = np.where(view.user <= MANY, times, 1)
    return replace(view, user=np.repeat(view.user, repeats), item=np.repeat(view.item, repeats))


@pytest.mark.parametrize("rounds", [1, 20], ids=lambda rounds: f"{rounds} rounds")
@pytest.mark.parametrize("alpha", [0.0, 0.75])
@pytest.mark.parametrize("user", [FEW, MANY])
def test_a_pair_that_stands_again_is_held_once(
    monkeypatch: pytest.MonkeyPatch, rounds: int, alpha: float, user: int
) -> None:
    """Chi-square, p > .001, over what the user does not hold; the same by rejection and by the direct draw."""
    monkeypatch.setattr(sampling, "ROUNDS", rounds)
    view = again(lopsided(), 12)
    sampler = NegativeSampler(view, popularity_alpha=alpha)
    drawn = sampler.draw(np.full(40_000, user), 1, np.random.default_rng(0))
    found, share = np.bincount(drawn.ravel(), minlength=20), expected_shares(view, user, alpha)
    assert not found[share == 0].any()
    assert chisquare(found[share > 0], share[share > 0] * 40_000).pvalue > 0.001


def test_many_rows_of_one_item_are_not_every_item() -> None:
    """Exact: of three items user 0 has one four times, and draws each other one; user 1 does have all three."""
    view = make_view([(0, 1)] * 4 + [(1, 0), (1, 1), (1, 2), (1, 2)], 2, 3)
    sampler = NegativeSampler(view)
    assert sampler.has_negatives.tolist() == [True, False]
    assert set(sampler.draw(np.zeros(200, np.int64), 1, np.random.default_rng(0)).ravel()) == {0, 2}


def test_items_without_a_train_row_are_never_drawn() -> None:
    drawn = NegativeSampler(lopsided()).draw(np.full(5_000, FEW), 1, np.random.default_rng(0))
    assert 19 not in drawn


def test_one_item_left_is_always_it() -> None:
    view = make_view([(0, item) for item in range(999)] + [(1, 999)], 2, 1000)
    for alpha in (0.0, 1.0):
        drawn = NegativeSampler(view, popularity_alpha=alpha).draw(np.zeros(50, np.int64), 2, np.random.default_rng(0))
        assert (drawn == 999).all()


def test_a_user_who_has_everything() -> None:
    """TR-1: 3 items; A has all three, B item 1, C item 2."""
    view = make_view([(0, 0), (0, 1), (0, 2), (1, 1), (2, 2)], 3, 3)
    sampler = NegativeSampler(view)
    assert sampler.has_negatives.tolist() == [False, True, True]
    assert set(sampler.draw(np.array([1] * 200), 1, np.random.default_rng(0)).ravel()) == {0, 2}
    with pytest.raises(DataError, match="user 0 holds every item that occurs in train"):
        sampler.draw(np.array([1, 0]), 1, np.random.default_rng(0))


def test_draws_follow_the_generator_alone() -> None:
    view = lopsided()
    users = np.repeat(np.arange(40), 10)
    one, again, other = (NegativeSampler(view).draw(users, 3, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    used = NegativeSampler(view)
    used.draw(users, 3, np.random.default_rng(5))
    np.testing.assert_array_equal(used.draw(users, 3, np.random.default_rng(0)), one)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_pair_set_knows_its_pairs(data: st.DataObject) -> None:
    n_users, n_items = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 70))
    held = data.draw(st.lists(st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1)), max_size=60))
    pairs = np.array(held, dtype=np.int64).reshape(-1, 2)
    before = sampling.DIRECT_BITS
    sampling.DIRECT_BITS = data.draw(st.sampled_from([0, before]))
    try:
        found = PairSet(pairs[:, 0], pairs[:, 1], n_users, n_items)
    finally:
        sampling.DIRECT_BITS = before
    user, item = np.divmod(np.arange(n_users * n_items), n_items)
    expected = [pair in set(held) for pair in zip(user.tolist(), item.tolist(), strict=True)]
    assert found.contains(user, item).tolist() == expected
