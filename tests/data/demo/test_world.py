"""The hidden state holds what its config promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.demo.config import DemoConfig
from sensorium.data.demo.world import AGE_BANDS, FACTORS, make_world

SMALL = DemoConfig(users=300, items=200)


def test_same_config_same_world_other_seed_other_world() -> None:
    one, two = make_world(SMALL), make_world(SMALL)
    other = make_world(SMALL.model_copy(update={"seed": 1}))
    for factor in FACTORS:
        assert (one.item[factor.name] == two.item[factor.name]).all()
        assert (one.taste_last[factor.name] == two.taste_last[factor.name]).all()
        assert (one.item[factor.name] != other.item[factor.name]).any()


@settings(max_examples=15, deadline=None)
@given(
    items=st.integers(50, 300),
    users=st.integers(10, 200),
    seed=st.integers(0, 2**31),
    blend=st.floats(0, 0.49),
    tail=st.floats(0, 2),
    cold=st.floats(0, 0.49),
)
def test_shares_and_chances_are_well_formed(
    items: int, users: int, seed: int, blend: float, tail: float, cold: float
) -> None:
    world = make_world(DemoConfig(users=users, items=items, seed=seed, blend=blend, tail=tail, cold=cold))
    for factor in FACTORS:
        shares = world.item[factor.name]
        assert shares.shape == (items, len(factor.kinds))
        assert np.allclose(shares.sum(1), 1, atol=1e-6)
        assert shares.max(1).min() >= 1 - blend - 1e-6
        assert world.taste_first[factor.name].shape == (users, len(factor.kinds))
    assert world.popularity.sum() == pytest.approx(1)
    assert world.cold.sum() == round(cold * items)
    assert ((world.arrival >= 0) & (world.arrival <= 1)).all()
    assert (world.joined < world.left).all()
    assert (world.left <= 1).all()


def test_topic_and_style_are_almost_independent() -> None:
    """The part that both contents show is the weak one that `shared` plants."""
    agree = {}
    for shared in (0.0, 0.1, 1.0):
        world = make_world(DemoConfig(items=4_000, shared=shared))
        topic, style = world.item["topic"].argmax(1), world.item["style"].argmax(1)
        agree[shared] = (topic % world.item["style"].shape[1] == style).mean()
    assert agree[0.0] == pytest.approx(1 / 8, abs=0.02)
    assert agree[0.1] == pytest.approx(0.1 + 0.9 / 8, abs=0.02)
    assert agree[1.0] == 1


def test_popularity_has_a_long_tail_and_cold_items_are_its_end() -> None:
    world = make_world(SMALL)
    ranked = np.sort(world.popularity)[::-1]
    assert ranked[:20].sum() > 0.2
    assert world.popularity[world.cold].max() < world.popularity[~world.cold].min()
    assert world.arrival[world.cold].min() >= 0.9


def test_cold_items_show_every_topic() -> None:
    world = make_world(DemoConfig(items=2_000, cold=0.1))
    assert len(np.unique(world.item["topic"][world.cold].argmax(1))) == 10


def test_group_leaks_into_taste_as_much_as_asked() -> None:
    def distance(leak: float) -> float:
        world = make_world(DemoConfig(users=4_000, leak=leak))
        taste = world.taste_first["topic"]
        return float(np.abs(taste[world.group == 0].mean(0) - taste[world.group == 1].mean(0)).mean())

    assert distance(0.0) < 0.1
    assert distance(0.2) == pytest.approx(0.4, abs=0.1)


def test_drift_turns_tastes() -> None:
    still = make_world(DemoConfig(users=500, drift=0))
    assert (still.taste_first["style"] == still.taste_last["style"]).all()
    turned = make_world(DemoConfig(users=500, drift=1))
    correlation = np.corrcoef(turned.taste_first["style"].ravel(), turned.taste_last["style"].ravel())[0, 1]
    assert abs(correlation) < 0.15


def test_some_users_do_not_tell_their_age() -> None:
    world = make_world(DemoConfig(users=3_000, missing=0.2))
    assert (world.age_band == -1).mean() == pytest.approx(0.2, abs=0.03)
    assert world.age_band.max() == len(AGE_BANDS) - 1
