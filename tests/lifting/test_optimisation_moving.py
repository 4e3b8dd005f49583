"""Adam over rows that come and go."""

import torch

from sensorium.lifting.cloud import ball
from sensorium.lifting.optimisation.config import RatesConfig
from sensorium.lifting.optimisation.moving import EPSILON, MovingCloud


def pulled(moving: MovingCloud, step: int) -> None:
    """Give every attribute a gradient."""
    draw = torch.Generator().manual_seed(step)
    for value in moving.values.values():
        value.grad = torch.randn(value.shape, generator=draw)


def test_steps_are_those_of_torchs_adam() -> None:
    begin = ball(7, seed=0)
    moving = MovingCloud(begin)
    rates = RatesConfig().at(0.0)
    leaves = begin.leaves().tensors()
    adam = torch.optim.Adam([{"params": [value], "lr": rates[name]} for name, value in leaves.items()], eps=EPSILON)
    for step in range(5):
        pulled(moving, step)
        for name, value in leaves.items():
            gradient = moving.values[name].grad
            assert gradient is not None
            value.grad = gradient.clone()
        moving.step(rates)
        adam.step()
    for name, value in leaves.items():
        torch.testing.assert_close(moving.values[name], value, rtol=1e-6, atol=1e-7)
        assert not torch.equal(value, begin.tensors()[name])


def test_rows_keep_their_moments_and_new_ones_have_none() -> None:
    moving = MovingCloud(ball(6, seed=0))
    for step in range(3):
        pulled(moving, step)
        moving.step(RatesConfig().at(0.5))
    first, second = dict(moving.first), dict(moving.second)
    stay = torch.tensor([True, False, True, True, False, True])
    moving.keep(stay)
    moving.append(ball(2, seed=1))
    assert len(moving) == 6
    for name, value in moving.values.items():
        assert value.is_leaf
        assert value.requires_grad
        assert len(value) == len(moving.first[name]) == len(moving.second[name]) == 6
        assert torch.equal(moving.first[name][:4], first[name][stay])
        assert torch.equal(moving.second[name][:4], second[name][stay])
        assert not moving.first[name][4:].any()
        assert not moving.second[name][4:].any()
    pulled(moving, 9)
    moving.step(RatesConfig().at(0.5))


def test_a_reset_dims_and_forgets_the_moments_of_opacities_alone() -> None:
    moving = MovingCloud(ball(4, seed=0))
    pulled(moving, 0)
    moving.step(RatesConfig().at(0.0))
    moving.limit_opacity(0.01)
    assert moving.cloud.opacities.max() <= 0.01 + 1e-7
    assert not moving.first["opacity_logit"].any()
    assert moving.first["means"].any()


def test_the_rate_of_means_falls_exponentially() -> None:
    rates = RatesConfig()
    assert abs(rates.at(0)["means"] - 0.01) < 1e-12
    assert abs(rates.at(0.5)["means"] - (0.01 * 0.0002) ** 0.5) < 1e-9
    assert abs(rates.at(1)["means"] - 0.0002) < 1e-12
    assert rates.at(2) == rates.at(1)
    assert set(rates.at(0)) == {*ball(1, seed=0).tensors(), "sh_rest"}
