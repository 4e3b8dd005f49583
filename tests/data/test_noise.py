"""Added noise: how much, where, and that valid and test stay clean."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.data.noise import NoiseConfig, add_noise
from sensorium.data.splits import TEST, TRAIN, VALID, Split, make_split
from sensorium.data.view import train_view

from .made import make_dataset, random_pairs


def made_split(users: int = 60, items: int = 40, seed: int = 0) -> Split:
    """A split in memory: items of very different popularity, 8 rows of each user."""
    draw = np.random.default_rng(seed)
    share = 1 / np.arange(1, items + 1)
    item = np.concatenate([draw.choice(items, 8, replace=False, p=share / share.sum()) for _ in range(users)])
    label = np.tile(np.array([TRAIN] * 6 + [VALID, TEST], dtype=np.int8), users)
    rows = np.arange(len(item))
    return Split("made", {}, 0, users, items, rows, np.repeat(np.arange(users), 8), item, label)


@given(st.sampled_from(["uniform", "popularity"]), st.sampled_from([0.1, 0.3, 0.5]), st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_new_pairs_are_added_to_train_and_nothing_else_changes(kind: str, rate: float, seed: int) -> None:
    split = made_split()
    noisy = add_noise(split, NoiseConfig(kind=kind, rate=rate), seed=seed)  # type: ignore[arg-type]
    before = len(split.row)
    for name in ("row", "user", "item", "label"):
        np.testing.assert_array_equal(getattr(noisy, name)[:before], getattr(split, name))
    assert noisy.injected is not None
    assert not noisy.injected[:before].any()
    assert noisy.injected[before:].all()
    assert noisy.injected.sum() == int(rate * (split.label == TRAIN).sum())
    assert (noisy.label[before:] == TRAIN).all()
    keys = noisy.user * noisy.n_items + noisy.item
    assert len(np.unique(keys)) == len(keys)  # no pair of train, valid or test, and none twice
    assert np.isin(noisy.item[before:], split.item[split.label == TRAIN]).all()
    again = add_noise(split, NoiseConfig(kind=kind, rate=rate), seed=seed)  # type: ignore[arg-type]
    np.testing.assert_array_equal(again.item, noisy.item)


def test_the_kinds_draw_items_as_they_say_and_users_by_their_rows() -> None:
    split = made_split(users=900, items=300)
    count = np.bincount(split.item[split.label == TRAIN], minlength=300)
    seen = {}
    for kind in ("uniform", "popularity"):
        noisy = add_noise(split, NoiseConfig(kind=kind, rate=0.5), seed=0)  # type: ignore[arg-type]
        assert noisy.injected is not None
        seen[kind] = np.bincount(noisy.item[noisy.injected], minlength=300)
    top = np.argsort(-count)[20:60]  # popular ones that most users do not have yet
    rare = np.argsort(-count)[-100:]
    assert seen["popularity"][top].mean() > 3 * seen["popularity"][rare].mean()
    assert seen["uniform"][top].mean() < 1.5 * seen["uniform"][rare].mean()


def test_heavy_users_get_more(tmp_path: Path) -> None:
    user = [0] * 20 + [1] * 4
    item = [*range(20), *range(4)]
    dataset = make_dataset(tmp_path / "d", user, item, n_items=200, split=[0] * 24)
    other = make_dataset(tmp_path / "e", [*user, *([2] * 180)], [*item, *range(20, 200)], n_items=200, split=[0] * 204)
    assert dataset.n_users == 2
    noisy = add_noise(make_split(other, "column", seed=0), NoiseConfig(kind="uniform", rate=0.3), seed=0)
    assert noisy.injected is not None
    drawn = np.bincount(noisy.user[noisy.injected], minlength=3)
    assert drawn[2] <= 20  # who holds 180 of 200 items can get no more
    assert drawn[0] > 2 * drawn[1]


def test_a_seed_of_its_own_wins_over_that_of_the_run() -> None:
    split = made_split()
    one = add_noise(split, NoiseConfig(rate=0.3, seed=7), seed=0)
    other = add_noise(split, NoiseConfig(rate=0.3, seed=7), seed=1)
    np.testing.assert_array_equal(one.item, other.item)
    assert "seed 7" in one.notices[-1]
    assert add_noise(split, NoiseConfig(rate=0.3), seed=1).item.tolist() != one.item.tolist()


def test_full_data_are_said_to_be_full() -> None:
    users, items = 6, 5
    pairs = np.array([(u, i) for u in range(users) for i in range(items)])
    rows = np.arange(len(pairs))
    split = Split("made", {}, 0, users, items, rows, pairs[:, 0], pairs[:, 1], np.zeros(len(pairs), dtype=np.int8))
    with pytest.raises(DataError, match="only 0 could be drawn"):
        add_noise(split, NoiseConfig(rate=0.5), seed=0)


def test_the_view_of_noisy_rows_is_sorted_and_has_their_times(tmp_path: Path) -> None:
    user, item = random_pairs(20, 15, 100, seed=0)
    dataset = make_dataset(tmp_path / "d", user, item, timestamp=list(range(len(user))))
    split = make_split(dataset, "random_per_user", seed=0)
    noisy = add_noise(split, NoiseConfig(rate=0.2), seed=0)
    view = train_view(dataset, noisy)
    keys = view.user * view.n_items + view.item
    assert (np.diff(keys) > 0).all()
    assert view.timestamp is not None
    assert len(view.timestamp) == len(view.user) == (noisy.label == TRAIN).sum()
