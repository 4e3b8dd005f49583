"""Shuffles of the audit: what they keep, what they lose, and that they are uniform."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.core.seeds import numpy_generator
from sensorium.experiments.shuffles import other_items, permuted_items, uniform_items


def rows(users: int, items: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random distinct (user, item) pairs, in random order."""
    draw = np.random.default_rng(seed)
    keys = draw.permutation(np.flatnonzero(draw.random(users * items) < share))
    return keys // items, keys % items


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 30), st.integers(8, 30), st.floats(0.05, 0.4), st.integers(0, 10**6))
def test_permuted_items_keep_all_counts(users: int, items: int, share: float, seed: int):
    user, item = rows(users, items, share, seed)
    draw = np.random.default_rng(seed)
    held_out = draw.random(len(user)) < 0.2
    forbidden = np.sort(user[held_out] * items + item[held_out])
    user, item = user[~held_out], item[~held_out]
    try:
        new = permuted_items(user, item, forbidden, items, numpy_generator(seed, "test"))
    except DataError:
        return  # too few rows or too dense: refused, never given half done
    assert np.array_equal(np.bincount(new, minlength=items), np.bincount(item, minlength=items))
    keys = user * items + new
    assert len(np.unique(keys)) == len(keys)
    assert not np.isin(keys, forbidden).any()


def test_permuted_items_forget_who_had_what():
    user, item = rows(200, 100, 0.1, 1)
    group = (item < 50).astype(int)
    own = group == user % 2  # users of even number have the upper half only
    user, item = user[own], item[own]
    new = permuted_items(user, item, np.zeros(0, dtype=np.int64), 100, numpy_generator(0, "test"))
    share = np.mean((new < 50) == (user % 2))
    assert share == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(user)))


def test_permuting_dense_data_is_refused():
    user, item = np.divmod(np.arange(40), 8)  # everybody has everything but for a forbidden pair
    with pytest.raises(DataError, match="too dense"):
        permuted_items(user[:-1], item[:-1], np.array([0]), 8, numpy_generator(0, "test"))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(3, 12), st.integers(0, 10**6))
def test_uniform_items_are_distinct_for_each_user(users: int, items: int, seed: int):
    user = np.repeat(np.arange(users), np.random.default_rng(seed).integers(0, items + 1, size=users))
    item = uniform_items(user, items, numpy_generator(seed, "test"))
    assert item.min(initial=0) >= 0
    assert item.max(initial=0) < items
    assert len(np.unique(user * items + item)) == len(user)


def test_uniform_items_are_uniform():
    user = np.repeat(np.arange(5000), 3)
    item = uniform_items(user, 7, numpy_generator(0, "test"))
    counts = np.bincount(item, minlength=7)
    expected = len(user) / 7
    assert ((counts - expected) ** 2 / expected).sum() < 22.5  # chi-square of 6 degrees, p > .001
    with pytest.raises(DataError, match="user 2 has more rows"):
        uniform_items(np.array([0, 2, 2, 2]), 2, numpy_generator(0, "test"))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 20), st.integers(10, 30), st.integers(0, 10**6))
def test_other_items_are_new_to_their_users(users: int, items: int, seed: int):
    user, item = rows(users, items, 0.2, seed)
    taken = np.sort(user * items + item)
    chosen = np.random.default_rng(seed).random(len(user)) < 0.3
    known = np.arange(items // 2)
    new = other_items(user[chosen], item[chosen], taken, known, items, numpy_generator(seed, "test"))
    keys = user[chosen] * items + new
    changed = new != item[chosen]
    assert not np.isin(keys[changed], taken).any()
    assert len(np.unique(keys)) == len(keys)
    assert np.isin(new[changed], known).all()
    for stayed in np.flatnonzero(~changed):  # nothing known was left for that user
        assert np.isin(user[chosen][stayed] * items + known, np.concatenate([taken, keys])).all()
