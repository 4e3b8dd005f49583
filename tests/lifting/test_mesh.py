"""Geometry: checks, normals, volumes."""

import numpy as np
import pytest

from sensorium.core.errors import DataError
from sensorium.lifting.mesh import Mesh, TexturedMesh, signed_volume, vertex_normals, without_unused

from .made import ball_mesh, cube_mesh


def test_volume_is_that_of_the_shape_wherever_it_lies() -> None:
    cube = cube_mesh(0.5)
    assert signed_volume(cube) == pytest.approx(1, abs=1e-6)
    far = Mesh(cube.v + np.float32(1000), cube.f)
    assert signed_volume(far) == pytest.approx(1, abs=1e-3)
    assert signed_volume(Mesh(cube.v, cube.f[:, ::-1].copy())) == pytest.approx(-1, abs=1e-6)


def test_normals_of_a_sphere_point_away_from_its_middle() -> None:
    ball = ball_mesh()
    outwards = ball.v / np.linalg.norm(ball.v, axis=1, keepdims=True)
    assert np.abs(vertex_normals(ball) - outwards).max() < 0.03


def test_a_vertex_without_faces_has_a_normal_and_can_be_dropped() -> None:
    cube = cube_mesh()
    loose = Mesh(np.concatenate([np.float32([[9, 9, 9]]), cube.v]), cube.f + 1)
    assert vertex_normals(loose)[0].tolist() == [0, 1, 0]
    tidy = without_unused(loose)
    assert np.array_equal(tidy.v, cube.v)
    assert np.array_equal(tidy.f, cube.f)


@pytest.mark.parametrize(
    ("v", "f", "said"),
    [
        (np.zeros((3, 2), np.float32), np.zeros((1, 3), np.int32), "v of a mesh"),
        (np.zeros((3, 3), np.float64), np.zeros((1, 3), np.int32), "v of a mesh"),
        (np.zeros((3, 3), np.float32), np.array([[0, 1, 3]], np.int32), "name vertex 3"),
        (np.full((3, 3), np.nan, np.float32), np.array([[0, 1, 2]], np.int32), "not finite"),
    ],
)
def test_what_is_no_mesh_is_said(v: np.ndarray, f: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Mesh(v, f)


def test_a_texture_outside_its_range_is_refused() -> None:
    cube = cube_mesh()
    vt, vn = np.zeros((8, 2), np.float32), vertex_normals(cube)
    with pytest.raises(DataError, match=r"outside \[0, 1\]"):
        TexturedMesh(cube.v, cube.f, vt, vn, np.full((4, 4, 3), 1.5, np.float32))
    with pytest.raises(DataError, match="as many vt"):
        TexturedMesh(cube.v, cube.f, vt[:-1], vn, np.zeros((4, 4, 3), np.float32))
