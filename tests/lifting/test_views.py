"""Frames around objects of any size, and pictures of clouds."""

import numpy as np
import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.mesh import Mesh
from sensorium.lifting.views import frame, ring, splat

from .made import ball_mesh, cloud_of, even_sphere


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (3.0, -2.0, 5.0)])
def test_an_object_of_any_size_at_any_place_fills_the_picture(size: float, place: tuple[float, float, float]) -> None:
    points = even_sphere(300) * np.float32(size) + np.float32(place) * np.float32(size)
    cloud = cloud_of(points, 0.02 * size, opacity=0.9)
    around = frame(cloud)
    assert around.target == pytest.approx(np.array(place) * size, abs=0.01 * size)
    for azimuth in (0, 90, 200):
        camera = around.camera(-30, azimuth, size=32)
        pixels, depth = camera.project(points)
        assert (pixels > 0).all()
        assert (pixels < 32).all()
        assert (depth > camera.near).all()
        assert np.ptp(pixels, axis=0).min() > 20
        covered = splat(cloud, camera)[1]
        assert 0.3 < float((covered > 0.5).float().mean()) < 0.9


def test_strays_and_invisible_gaussians_do_not_move_the_frame() -> None:
    points = even_sphere(1000)
    strays = np.concatenate([points, np.float32([[90, 0, 0], [0, -80, 0]])])
    tidy, wild = frame(cloud_of(points, 0.02)), frame(cloud_of(strays, 0.02))
    assert wild.target == pytest.approx(tidy.target, abs=1e-3)
    assert wild.radius == pytest.approx(tidy.radius, rel=1e-3)
    cloud = cloud_of(strays, 0.02)
    faint = torch.where(torch.arange(len(strays)) < 500, cloud.opacity_logit, torch.full((len(strays),), -9.0))
    upper = frame(GaussianCloud(cloud.means, cloud.log_scales, cloud.quats, faint, cloud.sh_dc))
    assert upper.target[1] > 0.1  # the half that is left


def test_the_frame_of_a_mesh_counts_used_vertices() -> None:
    ball = ball_mesh()
    loose = Mesh(np.concatenate([ball.v, np.float32([[50, 0, 0]])]), ball.f)
    assert frame(loose).radius == pytest.approx(0.4, rel=0.01)
    with pytest.raises(DataError, match="without faces"):
        frame(Mesh(ball.v, ball.f[:0]))
    with pytest.raises(DataError, match="empty cloud"):
        frame(cloud_of(even_sphere(3), 0.1)[:0])


def test_a_ring_goes_once_around() -> None:
    assert ring(4) == [0, 90, 180, 270]
