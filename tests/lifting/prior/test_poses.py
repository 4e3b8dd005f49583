"""What the model is told of a camera is what the cameras of lifting are."""

import numpy as np
import pytest
import torch

from sensorium.lifting.camera import orbit
from sensorium.lifting.prior.poses import angles, plucker


@pytest.mark.parametrize(("elevation", "azimuth"), [(0.0, 0.0), (-30.0, 120.0), (10.0, -75.0), (-80.0, 179.0)])
def test_rays_go_from_the_camera_through_the_middles_of_pixels(elevation: float, azimuth: float) -> None:
    side = 16
    rays = plucker(torch.tensor([elevation]), torch.tensor([azimuth]), side)[0].double().numpy()
    camera = orbit(elevation, azimuth, height=side, width=side)
    direction, moment = rays[:3], rays[3:]
    points = camera.position[:, None, None] + 1.7 * direction
    pixels, depth = camera.project(points.reshape(3, -1).T)
    rows, columns = np.mgrid[:side, :side]
    assert (depth > 0).all()
    assert pixels == pytest.approx(np.column_stack([columns.ravel(), rows.ravel()]) + 0.5, abs=1e-3)
    assert moment == pytest.approx(np.cross(points, direction, axis=0), abs=1e-5)  # the same for every point of a ray


def test_angles_tell_apart_what_differs_by_a_whole_turn_of_nothing() -> None:
    here = angles(torch.tensor([5.0]), torch.tensor([-20.0]), torch.tensor([30.0]))
    assert here.shape == (1, 8)
    around = angles(torch.tensor([5.0]), torch.tensor([-20.0]), torch.tensor([390.0]))
    beyond = angles(torch.tensor([5.0]), torch.tensor([-20.0]), torch.tensor([210.0]))
    assert torch.allclose(here, around, atol=1e-5)
    assert not torch.allclose(here, beyond, atol=0.1)
