"""Adaptive density: what multiplies, what goes, and the limits of both."""

import logging
import math

import pytest
import torch

from sensorium.lifting.camera import orbit
from sensorium.lifting.cloud import GaussianCloud, ball
from sensorium.lifting.optimisation.adaptive import Bounds, Statistics, densify, hottest, prune
from sensorium.lifting.optimisation.config import DensityConfig
from sensorium.lifting.optimisation.moving import MovingCloud
from sensorium.lifting.rasterisers import WHITE, render
from sensorium.testing.scenes import photograph

CPU = torch.device("cpu")


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def statistics(pull: list[float]) -> Statistics:
    found = Statistics(len(pull), CPU)
    found.pull, found.count = 2 * torch.tensor(pull), torch.full((len(pull),), 2.0)
    return found


def cloud_of(scales: list[float], opacities: list[float]) -> GaussianCloud:
    begin = ball(len(scales), seed=0).tensors()
    return GaussianCloud(
        **{
            **begin,
            "log_scales": torch.tensor(scales).log()[:, None].repeat(1, 3),
            "opacity_logit": torch.logit(torch.tensor(opacities)),
        }
    )


def test_small_ones_are_copied_and_large_ones_split() -> None:
    begin = cloud_of([0.03, 0.03, 0.05, 0.05], [0.5, 0.6, 0.7, 0.8])
    moving = MovingCloud(begin)
    stay = densify(moving, statistics([0.02, 0.005, 0.02, 0.005]), DensityConfig(), generator(), Bounds())
    cloud = moving.cloud
    assert stay.tolist() == [True, True, False, True]
    torch.testing.assert_close(cloud.opacities, torch.tensor([0.5, 0.6, 0.8, 0.5, 0.7, 0.7]))
    assert torch.equal(cloud.means[3], begin.means[0])  # verbatim
    torch.testing.assert_close(cloud.scales[4:], torch.full((2, 3), 0.05 / 1.6))
    assert not torch.equal(cloud.means[4], cloud.means[5])
    assert (cloud.means[4:] - begin.means[2]).norm(dim=1).max() < 5 * 0.05


def test_children_are_drawn_from_their_parents_distribution() -> None:
    quarter = torch.tensor([math.cos(math.pi / 4), 0, 0, math.sin(math.pi / 4)])
    parents = GaussianCloud(
        **{
            **ball(4000, seed=0).tensors(),
            "means": torch.zeros(4000, 3),
            "log_scales": torch.tensor([0.3, 0.1, 0.05]).log().repeat(4000, 1),
            "quats": quarter.repeat(4000, 1),
        }
    )
    moving = MovingCloud(parents)
    densify(moving, statistics([1.0] * 4000), DensityConfig(), generator(), Bounds())
    spread = moving.cloud.means.detach().std(0)
    torch.testing.assert_close(
        spread, torch.tensor([0.1, 0.3, 0.05]), rtol=0.05, atol=0
    )  # the quarter turn swaps x and y


def test_the_hardest_pulled_come_first_when_there_is_no_room_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bounds = Bounds()
    with caplog.at_level(logging.INFO, logger="sensorium"):
        for _ in range(3):
            hot = hottest(torch.tensor([0.02, 0.05, 0.001, 0.04, 0.03]), DensityConfig(max_points=7), bounds)
    assert hot.tolist() == [False, True, False, True, False]
    assert sum("max_points" in record.getMessage() for record in caplog.records) == 1
    assert not hottest(torch.tensor([1.0]), DensityConfig(max_points=1), bounds).any()


def test_faint_huge_and_too_wide_ones_go_and_one_always_stays() -> None:
    moving = MovingCloud(cloud_of([0.1, 0.5, 0.1, 0.1], [0.005, 0.9, 0.5, 0.5]))
    wide = torch.tensor([False, False, False, True])
    assert prune(moving, Bounds(), opacity=0.01, scale=0.4, too_wide=wide) == 3
    torch.testing.assert_close(moving.cloud.opacities, torch.tensor([0.5]))
    bounds = Bounds()
    moving = MovingCloud(cloud_of([0.1, 0.1, 0.1], [0.002, 0.004, 0.003]))
    assert prune(moving, bounds, opacity=0.01, scale=0.4) == 2
    torch.testing.assert_close(moving.cloud.opacities, torch.tensor([0.004]))
    assert len(bounds.notes) == 1


def pulls(side: int, rule: str = "all_views") -> Statistics:
    """The statistics of one scene, drawn at a size."""
    leaves = cloud_of([0.08] * 400, [0.3] * 400).leaves()
    found = Statistics(400, CPU)
    camera, other = (orbit(-10, azimuth, height=side, width=side) for azimuth in (20, 110))
    outs = []
    for view in (camera, other):
        target = torch.from_numpy(photograph("cube", view.resized(128, 128)).rgb).permute(2, 0, 1)[None]
        target = torch.nn.functional.interpolate(target, (side, side), mode="bilinear", antialias=True)[0].permute(
            1, 2, 0
        )
        out = render(leaves, view, bg=WHITE)
        (1e4 * (out.rgb - target).square().mean()).backward()
        outs.append(out)
    found.add(outs, rule)
    return found


def test_decisions_are_the_same_at_any_size() -> None:
    """With gradients in pixels, four times the pixels would mean a quarter of the pull."""
    threshold = float(pulls(128).mean_pull.median())
    small, large = (pulls(side).mean_pull >= threshold for side in (128, 512))
    assert (small == large).float().mean() >= 0.95
    assert 0.2 < small.float().mean() < 0.8


def test_the_last_view_alone_counts_where_asked() -> None:
    every, last = pulls(64), pulls(64, "last_view")
    assert every.count.max() == 2
    assert last.count.max() == 1
    assert (every.pull >= last.pull).all()
    assert every.widest.max() > 0
