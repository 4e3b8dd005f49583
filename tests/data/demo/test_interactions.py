"""Rows follow from tastes, popularity, arrival and planted noise, and from nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.demo.config import DemoConfig
from sensorium.data.demo.interactions import SPAN, START, sample_rows
from sensorium.data.demo.world import FACTORS, make_world

SMALL = DemoConfig(users=300, items=200)


def test_same_config_same_rows() -> None:
    world = make_world(SMALL)
    one, two = sample_rows(world, SMALL), sample_rows(world, SMALL)
    for name in ("user", "item", "timestamp", "planted"):
        assert (getattr(one, name) == getattr(two, name)).all()


@settings(max_examples=15, deadline=None)
@given(
    users=st.integers(10, 80),
    items=st.integers(50, 120),
    seed=st.integers(0, 2**31),
    noise=st.floats(0, 0.9),
    shelf=st.integers(2, 40),
)
def test_rows_are_well_formed(users: int, items: int, seed: int, noise: float, shelf: int) -> None:
    config = DemoConfig(users=users, items=items, seed=seed, noise=noise, shelf=shelf)
    world = make_world(config)
    rows = sample_rows(world, config)
    assert len(np.unique(rows.user * items + rows.item)) == len(rows.user)
    assert (np.diff(rows.timestamp) >= 0).all()
    assert rows.timestamp.min() >= START
    assert rows.timestamp.max() <= START + SPAN
    # One ms of rounding apart, nobody takes what has not arrived, or acts before joining or after leaving.
    since = (rows.timestamp - START + 1) / SPAN
    assert (world.arrival[rows.item] <= since).all()
    assert (world.joined[rows.user] <= since).all()
    assert (since <= world.left[rows.user] + 2 / SPAN).all()
    assert (np.bincount(rows.user, minlength=users) <= world.activity).all()
    assert rows.planted.mean() == pytest.approx(noise, abs=0.08)


def test_blocks_are_an_internal_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than one block holds: every row is decided."""
    monkeypatch.setattr("sensorium.data.demo.interactions.CHUNK", 100)
    world = make_world(SMALL)
    rows = sample_rows(world, SMALL)
    assert len(rows.user) > 0.99 * world.activity.sum()


def test_clean_rows_follow_taste_and_planted_rows_do_not() -> None:
    world = make_world(SMALL)
    rows = sample_rows(world, SMALL)
    utility = sum(
        SMALL.weight(f.name)
        * np.einsum("nk,nk->n", world.taste_first[f.name][rows.user], world.item[f.name][rows.item])
        for f in FACTORS
    )
    everyone = sum(SMALL.weight(f.name) * (world.taste_first[f.name] @ world.item[f.name].T) for f in FACTORS)
    standard = (utility - everyone.mean(1)[rows.user]) / everyone.std(1)[rows.user]
    assert standard[~rows.planted].mean() > 0.8
    assert abs(standard[rows.planted].mean()) < 0.25  # not 0: what taste has taken is taken


def test_planted_rows_follow_popularity() -> None:
    config = DemoConfig(users=1_000, items=100, noise=0.5, tail=1.0, cold=0)
    world = make_world(config)
    rows = sample_rows(world, config)
    since_start = world.arrival[rows.item] == 0
    counts = np.bincount(rows.item[rows.planted & since_start], minlength=100)
    there = world.arrival == 0
    correlation = np.corrcoef(counts[there], world.popularity[there])[0, 1]
    assert correlation > 0.9


def test_noise_can_be_absent() -> None:
    config = SMALL.model_copy(update={"noise": 0.0})
    assert not sample_rows(make_world(config), config).planted.any()


def test_cold_items_have_few_rows_and_the_head_has_many() -> None:
    config = DemoConfig(items=400)
    world = make_world(config)
    counts = np.bincount(sample_rows(world, config).item, minlength=400)
    assert np.median(counts[world.cold]) <= 5
    assert counts.max() > 3 * np.median(counts)


def test_interest_drifts() -> None:
    """A user's early rows fit the first taste better than late rows do."""
    config = DemoConfig(users=1_500, items=200, drift=1.0, noise=0)
    world = make_world(config)
    rows = sample_rows(world, config)
    age = (rows.timestamp - START) / SPAN
    progress = (age - world.joined[rows.user]) / (world.left - world.joined)[rows.user]
    fit = np.einsum("nk,nk->n", world.taste_first["topic"][rows.user], world.item["topic"][rows.item])
    assert fit[progress < 0.25].mean() > fit[progress > 0.75].mean() + 0.3


def test_a_catalogue_that_a_user_owns_whole_ends() -> None:
    """More occasions than items can satisfy pass without a row, instead of looping for ever."""
    config = DemoConfig(users=10, items=50, min_rows=45, rows_per_user=50, shelf=2)
    rows = sample_rows(make_world(config), config)
    assert np.bincount(rows.user).max() <= 50
