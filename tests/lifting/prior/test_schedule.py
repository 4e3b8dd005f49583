"""The noise schedule: what mixes and what is told of it are inverses, and the ends are where they should be."""

import math

import pytest
import torch

from sensorium.lifting.prior.schedule import CosineSchedule

SCHEDULE = CosineSchedule()


@pytest.fixture
def mixture() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(9, 4, 8, 8, generator=generator, dtype=torch.float64) * 2 - 1
    noise = torch.randn(9, 4, 8, 8, generator=generator, dtype=torch.float64)
    return x0, noise, torch.linspace(0.001, 0.999, 9, dtype=torch.float64)


def test_the_share_of_the_signal_is_the_published_cosine() -> None:
    t = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    expected = [math.cos(0.5 * math.pi * (value + 0.008) / 1.008) ** 2 for value in t.tolist()]
    assert SCHEDULE.alpha_bar(t).tolist() == pytest.approx(expected, abs=1e-12)
    assert float(SCHEDULE.alpha_bar(t)[0]) > 0.999
    assert float(SCHEDULE.alpha_bar(t)[-1]) < 1e-12


def test_signal_and_noise_are_told_of_what_is_mixed_of_them(mixture: tuple[torch.Tensor, ...]) -> None:
    x0, noise, t = mixture
    noisy, velocity = SCHEDULE.mix(x0, noise, t), SCHEDULE.velocity(x0, noise, t)
    assert torch.allclose(SCHEDULE.clean(noisy, velocity, t), x0, atol=1e-6)
    assert torch.allclose(SCHEDULE.noise(noisy, velocity, t), noise, atol=1e-6)
    assert torch.allclose(SCHEDULE.noise_of_clean(noisy, x0, t), noise, atol=1e-6)


def test_mixture_and_velocity_are_signal_and_noise_turned_by_an_angle(mixture: tuple[torch.Tensor, ...]) -> None:
    x0, noise, t = mixture
    noisy, velocity = SCHEDULE.mix(x0, noise, t), SCHEDULE.velocity(x0, noise, t)
    assert torch.allclose(noisy.square() + velocity.square(), x0.square() + noise.square(), atol=1e-10)


def test_single_precision_keeps_the_noise_where_there_is_hardly_any() -> None:
    t = torch.tensor([1e-3])
    _, spread = SCHEDULE.factors(t, torch.zeros(1, 1))
    assert float(spread) == pytest.approx(math.sin(0.5 * math.pi * 0.009 / 1.008), rel=1e-5)


def test_times_of_a_run_fall_evenly_from_the_start_to_zero() -> None:
    assert SCHEDULE.times(4).tolist() == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert SCHEDULE.times(2, start=0.5).tolist() == pytest.approx([0.5, 0.25, 0])
