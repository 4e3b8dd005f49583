"""Cameras: the worked values, targets that are not the origin, what is refused."""

import numpy as np
import pytest

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.seeds import numpy_generator
from sensorium.lifting.camera import Camera, from_opencv, orbit


def in_camera(camera: Camera, point: list[float]) -> np.ndarray:
    return (camera.view @ np.array([*point, 1.0]))[:3]


def test_the_reference_camera_stands_on_plus_z() -> None:
    camera = orbit(0, 0, 2, height=64, width=64)
    np.testing.assert_allclose(camera.position, [0, 0, 2], atol=1e-12)
    np.testing.assert_allclose(in_camera(camera, [0, 0, 0]), [0, 0, 2], atol=1e-12)


def test_right_of_the_object_is_right_in_the_picture_and_up_is_up() -> None:
    camera = orbit(0, 0, 2, height=64, width=96)
    pixels, _ = camera.project([[0.5, 0, 0], [0, 0.5, 0]])
    assert pixels[0, 0] > 48
    assert pixels[0, 1] == pytest.approx(32)
    assert in_camera(camera, [0, 0.5, 0])[1] == pytest.approx(-0.5)
    assert pixels[1, 1] < 32


def test_negative_elevation_looks_down_and_azimuth_90_looks_from_plus_x() -> None:
    assert orbit(-30, 0, 2, height=8, width=8).position[1] == pytest.approx(1)
    side = orbit(0, 90, 2, height=8, width=8)
    np.testing.assert_allclose(side.position, [2, 0, 0], atol=1e-12)
    assert in_camera(side, [0, 0, 0.5])[0] == pytest.approx(-0.5)


def test_a_target_away_from_the_origin_is_the_centre_of_the_picture() -> None:
    """A view matrix that negates the whole translation passes only while the target is the origin."""
    draw = numpy_generator(0, "poses")
    for elevation, azimuth, radius in zip(
        draw.uniform(-80, 80, 20), draw.uniform(-180, 180, 20), draw.uniform(1, 4, 20), strict=True
    ):
        camera = orbit(elevation, azimuth, radius, target=(0.3, 0.2, 0), height=60, width=80)
        pixels, depth = camera.project([[0.3, 0.2, 0]])
        np.testing.assert_allclose(pixels[0], [40, 30], atol=1e-9)
        assert depth[0] == pytest.approx(radius)
        np.testing.assert_allclose(camera.view @ camera.c2w @ np.diag([1, -1, -1, 1]), np.eye(4), atol=1e-12)


def test_the_default_frame_holds_an_object_of_its_size() -> None:
    camera = orbit(0, 0, height=100, width=100)
    pixels, _ = camera.project([[0.73, 0, 0]])
    assert pixels[0, 0] == pytest.approx(90, abs=0.5)


def test_intrinsics_project_as_the_camera_does() -> None:
    camera = orbit(-20, 40, 3, target=(0.1, 0, 0.2), height=50, width=70)
    seen = camera.intrinsics @ in_camera(camera, [0.2, 0.3, -0.1])
    np.testing.assert_allclose(seen[:2] / seen[2], camera.project([[0.2, 0.3, -0.1]])[0][0])
    assert camera.tangents[0] == pytest.approx(35 / camera.focal)


def test_an_opencv_camera_sees_what_its_matrices_say() -> None:
    first = orbit(-10, 30, 2, target=(0.1, 0.2, 0.3), height=42, width=64)
    again = from_opencv(first.view.astype(np.float32), first.intrinsics, 42, 64)
    np.testing.assert_allclose(again.c2w, first.c2w, atol=1e-6)
    assert again.fovy_deg == pytest.approx(first.fovy_deg)
    with pytest.raises(DataError, match="orthonormal"):
        from_opencv(np.diag([2.0, 1, 1, 1]), first.intrinsics, 42, 64)


def test_another_size_keeps_the_field_of_view() -> None:
    camera = orbit(0, 0, height=64, width=64)
    assert camera.resized(128, 128).focal == pytest.approx(2 * camera.focal)


def test_what_is_no_camera_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"89\.9"):
        orbit(90, 0, height=8, width=8)
    with pytest.raises(ConfigError, match="positive distance"):
        orbit(0, 0, 0, height=8, width=8)
    with pytest.raises(DataError, match="orthonormal"):
        Camera(np.diag([1.0, 1, -1, 1]), 49.1, 8, 8)
    with pytest.raises(DataError, match="last row"):
        Camera(np.ones((4, 4)), 49.1, 8, 8)
    with pytest.raises(DataError, match="fovy"):
        Camera(np.eye(4), 180, 8, 8)
