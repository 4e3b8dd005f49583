"""The density on a grid: block by block equals the dense sum."""

import numpy as np
import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.lifting.cloud import GaussianCloud

pytest.importorskip("numba")
from sensorium.lifting.density import BLOCK, dense_sum, density

from .made import any_cloud, cloud_of, even_sphere, filled_sphere


def grid_points(resolution: int) -> np.ndarray:
    axis = np.linspace(-1, 1, resolution)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)


@pytest.mark.parametrize(
    "cloud",
    [
        cloud_of(even_sphere(400), 0.03, 0.9),
        cloud_of(filled_sphere(400), 0.05, 0.9),
        any_cloud(60),  # long thin ellipsoids, turned any way
    ],
    ids=["hollow", "filled", "any"],
)
def test_block_wise_equals_the_dense_sum(cloud: GaussianCloud) -> None:
    """Within 2 % of the highest density, which is what three standard deviations leave out."""
    resolution = 28  # not a multiple of the block
    assert resolution % BLOCK
    field = density(cloud, resolution)
    dense = dense_sum(cloud, field.to_world(grid_points(resolution))).reshape(field.values.shape)
    assert np.abs(field.values - dense).max() < 0.02 * dense.max()
    assert field.highest > 0.9 * dense.max()


def test_axes_are_x_y_z_and_coordinates_come_back() -> None:
    points = np.array([[0, 0, 0], [4, 2, 1]], dtype=np.float32)
    field = density(cloud_of(points, 0.1, 0.9), 41)
    peaks = np.argwhere(field.values > 0.6)
    world = field.to_world(peaks / 40 * 2 - 1)
    nearest = np.linalg.norm(world[:, None] - points[None], axis=2)
    assert nearest.min(1).max() < 0.1
    assert nearest.min(0).max() < 0.1
    assert field.scale == pytest.approx(1.8 / 4)


def test_faint_gaussians_are_left_out_and_only_faint_ones_are_an_error() -> None:
    cloud = cloud_of(np.float32([[0, 0, 0], [1, 0, 0], [9, 0, 0]]), 0.1, 0.5)
    faint = GaussianCloud(
        cloud.means, cloud.log_scales, cloud.quats, torch.tensor([0.0, 0.0, -6.0]), cloud.sh_dc
    )  # sigmoid(-6) = .0025
    assert density(faint, 16).centre[0] == pytest.approx(0.5)
    with pytest.raises(DataError, match="no Gaussian of 3"):
        density(GaussianCloud(cloud.means, cloud.log_scales, cloud.quats, torch.full((3,), -9.0), cloud.sh_dc), 16)


def test_one_gaussian_is_a_ball_and_values_that_are_not_finite_are_said() -> None:
    one = cloud_of(np.float32([[5, 5, 5]]), 0.2, 0.9)
    field = density(one, 33)
    assert field.highest == pytest.approx(0.9, abs=1e-3)
    assert field.values[16, 16, 16] == field.values.max()
    with pytest.raises(DataError, match="not finite"):
        density(one.map(lambda value: value * float("nan") if value.shape[-1:] == (3,) else value), 16)
