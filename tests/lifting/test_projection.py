"""Projection: the closed form of one Gaussian, boxes that lose nothing, what is culled."""

import math

import numpy as np
import pytest
import torch

from sensorium.lifting.camera import orbit
from sensorium.lifting.cloud import GaussianCloud, ball, from_points
from sensorium.lifting.projection import LEAST_ALPHA, project
from sensorium.testing.rasterisers import one_gaussian, random_cloud, random_view


def test_one_round_gaussian_on_the_axis_is_a_circle_of_known_size() -> None:
    camera = orbit(0, 0, 2, height=64, width=48)
    seen = project(one_gaussian(0.04, 0.5), camera)
    variance = (camera.focal * 0.04 / 2) ** 2 + 0.3
    torch.testing.assert_close(seen.conics, torch.tensor([[1 / variance, 0, 1 / variance]]))
    torch.testing.assert_close(seen.means, torch.tensor([[24.0, 32.0]]))
    assert seen.depths.tolist() == [2]
    assert seen.radii.tolist() == [math.ceil(3 * math.sqrt(variance + math.sqrt(0.1)))]


def test_a_turned_ellipsoid_lies_along_its_long_axis() -> None:
    """A Gaussian turned by 30 degrees about the view axis: its conic is that of the turned ellipse, y being down."""
    angle = math.radians(30)
    cloud = GaussianCloud(
        means=torch.zeros(1, 3),
        log_scales=torch.tensor([[0.2, 0.05, 0.1]]).log(),
        quats=torch.tensor([[math.cos(angle / 2), 0, 0, math.sin(angle / 2)]]),
        opacity_logit=torch.zeros(1),
        sh_dc=torch.zeros(1, 3),
    )
    camera = orbit(0, 0, 2, height=64, width=64)
    a, b, c = project(cloud, camera, eps2d=0.0).conics[0].tolist()
    covariance = np.linalg.inv([[a, b], [b, c]]) / (camera.focal / 2) ** 2
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])  # in pixels, y is down
    np.testing.assert_allclose(covariance, turn @ np.diag([0.04, 0.0025]) @ turn.T, rtol=1e-4, atol=1e-6)


def test_every_pixel_that_counts_lies_in_the_box() -> None:
    cloud, camera = random_cloud(400, 5), random_view(5, 50, 70)
    seen = project(cloud, camera)
    x = (torch.arange(70) + 0.5).double()
    y = (torch.arange(50) + 0.5).double()
    dx = (seen.means[:, 0].double()[:, None] - x)[:, None, :]
    dy = (seen.means[:, 1].double()[:, None] - y)[:, :, None]
    a, b, c = (part.double()[:, None, None] for part in seen.conics.unbind(-1))
    alpha = seen.opacities.double()[:, None, None] * torch.exp(-(a * dx**2 + c * dy**2) / 2 - b * dx * dy)
    counts = (
        (alpha >= LEAST_ALPHA) & (seen.depths > camera.near)[:, None, None] & _regular(cloud, camera)[:, None, None]
    )
    column, row = torch.arange(70), torch.arange(50)
    first_column, last_column, first_row, last_row = (part[:, None] for part in seen.boxes.unbind(-1))
    inside = ((column >= first_column) & (column <= last_column))[:, None, :]
    inside = inside & ((row >= first_row) & (row <= last_row))[:, :, None]
    assert not (counts & ~inside).any()
    assert torch.equal(seen.visible, inside.any(2).any(1))
    # The boxes are tight: nearly every visible Gaussian counts somewhere within one pixel of each side of its box.
    assert counts.any(2).any(1)[seen.visible].float().mean() > 0.9


def _regular(cloud: GaussianCloud, camera: object) -> torch.Tensor:
    view = torch.tensor(camera.view, dtype=torch.float32)  # type: ignore[attr-defined]
    return (cloud.means @ view[2, :3] + view[2, 3]) > 0.2


def test_what_is_near_faint_or_outside_is_culled_and_finite() -> None:
    points = np.array([[0.0, 0, 0], [0, 0, 1.85], [0, 0, 3], [50, 0, 0], [0, 0, 0]])
    cloud = from_points(points, opacity=0.5)
    tensors = {
        **cloud.tensors(),
        "log_scales": torch.full((5, 3), -3.0),
        "opacity_logit": torch.tensor([0.0, 0, 0, 0, math.log(1 / 300)]),
    }
    seen = project(GaussianCloud(**tensors), orbit(0, 0, 2, height=32, width=32))
    assert seen.visible.tolist() == [True, False, False, False, False]
    assert seen.radii[1:].tolist() == [0, 0, 0, 0]
    assert all(torch.isfinite(value).all() for value in (seen.means, seen.conics, seen.depths))
    leaves = GaussianCloud(**tensors).leaves()
    again = project(leaves, orbit(0, 0, 2, height=32, width=32))
    (again.means.sum() + again.conics.sum() + again.opacities.sum()).backward()
    assert all(value.grad is None or torch.isfinite(value.grad).all() for value in leaves.tensors().values())


def test_the_near_depth_is_the_cameras_unless_one_is_given() -> None:
    cloud = one_gaussian(0.05, 0.5)
    camera = orbit(0, 0, 0.5, height=16, width=16)
    assert project(cloud, camera).visible.all()
    assert not project(cloud, camera, near=0.6).visible.any()


def test_antialiasing_dims_what_is_smaller_than_a_pixel() -> None:
    camera = orbit(0, 0, 2, height=32, width=32)
    small, large = one_gaussian(1e-3, 0.5), one_gaussian(0.3, 0.5)
    variance = (camera.focal * 1e-3 / 2) ** 2
    dimmed = project(small, camera, antialias=True).opacities
    torch.testing.assert_close(dimmed, torch.tensor([0.5 * variance / (variance + 0.3)]))
    assert project(large, camera, antialias=True).opacities.item() == pytest.approx(0.5, rel=0.05)


def test_float64_clouds_are_projected_in_float64() -> None:
    assert project(ball(3, seed=0).to(torch.float64), orbit(0, 0, height=8, width=8)).conics.dtype == torch.float64
