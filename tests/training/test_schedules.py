"""Learning rates against their closed forms."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.training.config import ScheduleConfig
from sensorium.training.schedules import learning_rate_factor


def factor(step: int, *, per_epoch: int = 10, epochs: int = 100, **keys: Any) -> float:
    return learning_rate_factor(ScheduleConfig(**keys), step=step, steps_per_epoch=per_epoch, epochs=epochs)


def test_constant():
    assert [factor(step) for step in (0, 7, 999)] == [1.0] * 3


@given(step=st.integers(0, 5000), per_epoch=st.integers(1, 60))
def test_exponential_is_continuous_in_epochs(step: int, per_epoch: int):
    value = factor(step, per_epoch=per_epoch, name="exponential", gamma=0.96, every=50)
    assert value == pytest.approx(0.96 ** (step / per_epoch / 50))


def test_exponential_at_its_marks():
    assert factor(500, name="exponential") == pytest.approx(
        0.96
    )  # 10 steps an epoch, 50 epochs: the published schedule
    assert factor(1000, name="exponential") == pytest.approx(0.96**2)


def test_cosine_begins_at_one_passes_the_middle_and_ends_at_the_floor():
    assert factor(0, name="cosine", floor=0.1) == 1.0
    assert factor(500, name="cosine", floor=0.1) == pytest.approx(0.55)
    assert factor(250, name="cosine") == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert factor(1000, name="cosine", floor=0.1) == pytest.approx(0.1)
    assert factor(2000, name="cosine", floor=0.1) == pytest.approx(0.1)


def test_warm_up_is_linear_and_then_over():
    rates = [factor(step, warmup=0.5) for step in range(10)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    # A cosine starts when the warm-up ends: half its way is half of the 90 epochs after 10.
    assert factor(100, warmup=10, name="cosine") == 1.0
    assert factor(550, warmup=10, name="cosine") == pytest.approx(0.5)


@given(step=st.integers(0, 1000), name=st.sampled_from(["exponential", "cosine"]), warmup=st.floats(0, 20))
def test_never_above_one_never_below_zero_and_falling_after_the_warm_up(step: int, name: str, warmup: float):
    now, later = (factor(at, name=name, warmup=warmup) for at in (step, step + 1))
    assert 0.0 <= now <= 1.0
    assert later <= now or step < warmup * 10
