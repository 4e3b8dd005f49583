from __future__ import annotations

import numpy as np
import pytest

from sensorium.testing import tiny_data, tiny_view
from sensorium.testing.data import relabelled, view_of_rows, with_masked_content, without_content


def test_the_same_seed_gives_the_same_world() -> None:
    one, other = tiny_data(seed=3), tiny_data(seed=3)
    assert np.array_equal(one.view.item, other.view.item)
    assert np.array_equal(one.view.features["text"].x, other.view.features["text"].x)
    assert not np.array_equal(one.view.item, tiny_data(seed=4).view.item)


def test_rows_are_sorted_distinct_and_apart_from_the_test() -> None:
    data = tiny_data()
    train = data.view.user * data.view.n_items + data.view.item
    test = data.test_user * data.view.n_items + data.test_item
    assert np.all(np.diff(train) > 0)
    assert len(np.unique(test)) == len(test) == 42 * 2
    assert not np.intersect1d(train, test).size
    assert data.view.user_count[-1] == data.view.item_count[-1] == 0


def test_users_prefer_what_their_content_neighbours_have() -> None:
    """The features carry the planted tastes: items of one user are nearer to each other than to the rest."""
    data = tiny_data(users=100, items=60, missing=0.0)
    x = data.view.features["text"].x
    x = (x - x.mean(0)) / x.std(0)
    own = np.mean([x[data.view.item[data.view.user == user]].var(0).mean() for user in range(99)])
    assert own < 0.8


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 users"):
        tiny_view(users=5, items=6, rows_per_user=8)


def test_relabelling_moves_rows_and_features_together() -> None:
    data = tiny_data()
    draw = np.random.default_rng(0)
    new_user, new_item = draw.permutation(43), draw.permutation(31)
    moved = relabelled(data, new_user, new_item)
    assert np.array_equal(moved.view.matrix.toarray()[np.ix_(new_user, new_item)], data.view.matrix.toarray())
    assert np.array_equal(moved.view.features["text"].x[new_item], data.view.features["text"].x)
    back = relabelled(moved, np.argsort(new_user), np.argsort(new_item))
    assert np.array_equal(back.test_item, data.test_item)


def test_only_masked_content_is_replaced() -> None:
    view = tiny_view()
    x, present = view.features["text"]
    for value in (1e9, None):
        other = with_masked_content(view, value).features["text"]
        assert np.array_equal(other.x[present], x[present])
        assert np.all(np.abs(other.x[~present]).max(1) > 1)
    assert not without_content(view, 3).features["image"].present[3]


def test_a_view_of_given_rows() -> None:
    view = view_of_rows([1, 0], [0, 2], users=2, items=3)
    assert view.user.tolist() == [0, 1]
    assert view.item.tolist() == [2, 0]
