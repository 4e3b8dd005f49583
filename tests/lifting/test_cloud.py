"""Clouds: what their numbers stand for, where they begin, what is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.lifting.cloud import GaussianCloud, ball, concatenate, from_points, from_tensors, rotation_matrices


def test_a_ball_is_grey_round_faint_and_inside_its_radius() -> None:
    cloud = ball(2000, seed=0)
    distance = cloud.means.norm(dim=1)
    assert len(cloud) == 2000
    assert distance.max() <= 0.5
    assert (distance < 0.25).float().mean() == pytest.approx(1 / 8, abs=0.03)  # even in volume, not in radius
    assert cloud.means.mean(0).abs().max() < 0.02
    torch.testing.assert_close(cloud.colours, torch.full((2000, 3), 0.5))
    torch.testing.assert_close(cloud.opacities, torch.full((2000,), 0.1))
    assert (cloud.log_scales == cloud.log_scales[:, :1]).all()
    assert cloud.means.dtype == torch.float32
    assert torch.equal(ball(2000, seed=0).means, cloud.means)
    assert not torch.equal(ball(2000, seed=1).means, cloud.means)


def test_a_gaussian_is_as_wide_as_its_three_neighbours_are_away() -> None:
    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3], [9, 9, 9]])
    expected = math.sqrt((1 + 4 + 9) / 3)
    assert from_points(points).scales[0, 0].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_points_and_points_in_one_place_have_a_scale(count: int) -> None:
    cloud = from_points(np.zeros((count, 3)))
    assert len(cloud) == count
    torch.testing.assert_close(cloud.scales, torch.full((count, 3), math.sqrt(1e-7)))


def test_given_colours_come_back() -> None:
    colours = np.array([[0.0, 0.25, 1.0], [1, 1, 0]])
    cloud = from_points(np.array([[0.0, 0, 0], [1, 0, 0]]), colours, opacity=0.8)
    np.testing.assert_allclose(cloud.colours.numpy(), colours, atol=1e-6)
    torch.testing.assert_close(cloud.opacities, torch.full((2,), 0.8))


@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4).filter(lambda q: sum(x * x for x in q) > 0.01))
def test_quaternions_of_any_length_rotate(quat: list[float]) -> None:
    turn = rotation_matrices(torch.tensor([quat], dtype=torch.float64))[0]
    torch.testing.assert_close(turn @ turn.T, torch.eye(3, dtype=torch.float64))
    assert torch.linalg.det(turn).item() == pytest.approx(1)


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    turn = rotation_matrices(torch.tensor([[1.0, 0, 0, 1.0]]))[0]
    torch.testing.assert_close(turn @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]))


def test_rows_are_chosen_and_joined_in_every_tensor() -> None:
    cloud = ball(5, seed=0)
    first, rest = cloud[:2], cloud[torch.tensor([False, False, True, True, True])]
    joined = concatenate(first, rest)
    for name, value in cloud.tensors().items():
        assert torch.equal(joined.tensors()[name], value)


def test_leaves_are_copies_that_gather_gradients() -> None:
    cloud = ball(3, seed=0)
    leaves = cloud.leaves()
    leaves.means.sum().backward()
    assert leaves.means.grad is not None
    with torch.no_grad():
        leaves.means.zero_()
    assert cloud.means.abs().sum() > 0


def test_degrees_of_harmonics() -> None:
    cloud = ball(2, seed=0)
    for degree, count in enumerate([3, 8, 15], start=1):
        higher = GaussianCloud(**cloud.tensors(), sh_rest=torch.zeros(2, count, 3))
        assert higher.sh_degree == degree
        with pytest.raises(DataError, match="cannot be joined"):
            concatenate(cloud, higher)
    assert cloud.sh_degree == 0


def test_tensors_come_back_and_missing_ones_are_named() -> None:
    stored = {f"cloud.{name}": value for name, value in ball(4, seed=0).tensors().items()}
    again = from_tensors(stored, prefix="cloud.")
    assert all(torch.equal(stored[f"cloud.{name}"], value) for name, value in again.tensors().items())
    del stored["cloud.quats"]
    with pytest.raises(DataError, match="quats"):
        from_tensors(stored, prefix="cloud.")


def test_what_does_not_fit_is_refused() -> None:
    parts = ball(4, seed=0).tensors()
    with pytest.raises(DataError, match="quats of shape"):
        GaussianCloud(**{**parts, "quats": torch.zeros(4, 3)})
    with pytest.raises(DataError, match=r"sh_dc is torch\.float64"):
        GaussianCloud(**{**parts, "sh_dc": parts["sh_dc"].double()})
    with pytest.raises(DataError, match="K = 3, 8 or 15"):
        GaussianCloud(**parts, sh_rest=torch.zeros(4, 5, 3))
