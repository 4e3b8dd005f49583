"""Guidance that knows the truth."""

import math

import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.lifting.guidance.base import Pose, Sampler, times_of
from sensorium.lifting.guidance.oracle import Constant, Oracle
from sensorium.lifting.prior import CosineSchedule


def truth(pose: Pose, side: int) -> torch.Tensor:
    """Another shade from every side."""
    return torch.full((4, side, side), 0.5 + pose.azimuth / 720)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_pulls_to_the_truth() -> None:
    """In z = 2 RGBA - 1 the gradient is sqrt(a (1 - a)) (z - z*)."""
    oracle = Oracle(truth, side=8)
    rgba = torch.rand(2, 4, 8, 8, generator=generator(), dtype=torch.float64).requires_grad_()
    poses = [Pose(0, 30), Pose(0, -90)]
    said = oracle.sds(rgba, poses, 0.4, generator())
    said.loss.sum().backward()
    a = float(CosineSchedule().alpha_bar(torch.tensor(0.6, dtype=torch.float64)))
    wanted = torch.stack([truth(pose, 8) for pose in poses]).double()
    apart = 2 * (rgba.detach() - wanted)
    torch.testing.assert_close(rgba.grad, 2 * math.sqrt(a * (1 - a)) * apart, atol=1e-6, rtol=0)
    assert said.logs["t"] == 0.6


def test_the_front_is_shown_behind_alone() -> None:
    oracle = Oracle(truth, janus=1.0, side=4)
    oracle.prepare(torch.zeros(4, 4, 4), 0.0)
    shown = oracle.refine(torch.zeros(3, 4, 4, 4), [Pose(0, 80), Pose(0, 100), Pose(0, 180)], 0.8, generator())
    expected = [truth(Pose(0, azimuth), 1).mean().item() for azimuth in (80, 0, 0)]
    torch.testing.assert_close(shown.mean((1, 2, 3)), torch.tensor(expected))
    half = Oracle(truth, janus=0.5, side=4)
    poses = [Pose(0, 180)] * 200
    fooled = half.refine(torch.zeros(200, 4, 4, 4), poses, 0.8, generator()).mean((1, 2, 3)) < 0.6
    assert 70 < int(fooled.sum()) < 130


def test_noise_is_the_generators() -> None:
    oracle = Oracle(truth, noise=0.1, side=4)
    pose, picture = [Pose(0, 0)], torch.zeros(1, 4, 4, 4)
    first, again, other = (oracle.refine(picture, pose, 0.8, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert {Oracle(truth).name, oracle.name, Oracle(truth, janus=0.1).name} == {
        "oracle",
        "oracle-noisy",
        "oracle-janus",
    }
    assert oracle.identity() != Oracle(truth, side=4).identity()


def test_uniform_times_pull_each_picture_as_its_time_says() -> None:
    oracle = Oracle(truth, side=4, times="uniform")
    rgba = torch.rand(3, 4, 4, 4, generator=generator(), dtype=torch.float64).requires_grad_()
    poses = [Pose(0, 30), Pose(0, -90), Pose(0, 5)]
    said = oracle.sds(rgba, poses, 1.0, generator())
    said.loss.sum().backward()
    draw = generator()
    torch.rand(3, generator=draw)  # who is fooled is drawn first
    t = times_of(1.0, 3, "uniform", draw)
    assert isinstance(t, torch.Tensor)
    a = CosineSchedule().alpha_bar(t)[:, None, None, None]
    apart = 2 * (rgba.detach() - torch.stack([truth(pose, 4) for pose in poses]).double())
    torch.testing.assert_close(rgba.grad, 2 * (a * (1 - a)).sqrt() * apart, atol=1e-6, rtol=0)
    assert said.logs["t"] == pytest.approx(t.mean().item())
    assert oracle.identity() != Oracle(truth, side=4).identity()


def test_constant_guidance_shows_one_picture_to_all_cameras() -> None:
    picture = torch.rand(4, 16, 16, generator=generator())
    constant = Constant(picture, side=8)
    shrunk = torch.nn.functional.avg_pool2d(picture, 2)
    poses = [Pose(0, 0), Pose(-40, 170)]
    refined = constant.refine(torch.zeros(2, 4, 32, 32), poses, 0.8, generator())
    sampled = constant.sample(poses, generator=generator())
    for found in (*refined, *sampled):
        torch.testing.assert_close(found, shrunk)
    rgba = torch.zeros(2, 4, 8, 8, dtype=torch.float64, requires_grad=True)
    constant.sds(rgba, poses, 0.5, generator()).loss.sum().backward()
    a = float(CosineSchedule().alpha_bar(torch.tensor(0.5, dtype=torch.float64)))
    expected = -4 * math.sqrt(a * (1 - a)) * shrunk.double()
    torch.testing.assert_close(rgba.grad, torch.stack([expected] * 2), atol=1e-6, rtol=0)
    assert constant.name == "constant"
    assert constant.identity() != Constant(picture.flip(0), side=8).identity()
    with pytest.raises(DataError, match=r"\[4, S, S\], not \[3, 16, 16\]"):
        Constant(picture[:3])


def test_sampling_shows_the_truth_as_it_holds_it() -> None:
    oracle, poses = Oracle(truth, side=4), [Pose(0, 30), Pose(0, -90)]
    assert isinstance(oracle, Sampler)
    torch.testing.assert_close(
        oracle.sample(poses, generator=generator()), torch.stack([truth(pose, 4) for pose in poses])
    )
    with pytest.raises(DataError, match="at least one step, not 0"):
        oracle.sample(poses, steps=0, generator=generator())
