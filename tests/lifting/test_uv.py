"""Texture coordinates: charts apart, vertices re-indexed."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from sensorium.core.errors import DataError

pytest.importorskip("xatlas")
from sensorium.lifting.mesh import Mesh, vertex_normals
from sensorium.lifting.meshrender import texel_faces
from sensorium.lifting.texture import chart_of_face
from sensorium.lifting.uv import LEAST_PADDING, unwrap

from .made import ball_mesh, cube_mesh


@pytest.mark.parametrize(("mesh", "size"), [(ball_mesh(16), 128), (cube_mesh(), 64), (ball_mesh(40), 256)])
def test_charts_keep_their_distance(mesh: Mesh, size: int) -> None:
    """L3-8: texels of different charts are at least four apart, so that a pyramid's first levels do not mix them."""
    surface = unwrap(mesh, size)
    faces = texel_faces(surface.f, surface.vt, size)
    charts = np.where(faces >= 0, chart_of_face(surface)[faces], -1)
    found = np.unique(charts[charts >= 0])
    assert len(found) > 1
    for chart in found:
        others = (charts >= 0) & (charts != chart)
        assert distance_transform_edt(~others)[charts == chart].min() > LEAST_PADDING


def test_per_vertex_data_follow_the_vertices() -> None:
    """xatlas reorders vertices: positions and normals are re-indexed with its map."""
    mesh = ball_mesh(12)
    surface = unwrap(mesh, 128)
    assert np.array_equal(surface.v, mesh.v[surface.origin])
    assert np.array_equal(surface.vn, vertex_normals(mesh)[surface.origin])
    assert np.array_equal(surface.v[surface.f], mesh.v[mesh.f])  # the same triangles in the same order
    assert len(surface.v) > len(mesh.v)
    assert (surface.vt >= 0).all()
    assert (surface.vt <= 1).all()


def test_the_same_mesh_gives_the_same_coordinates() -> None:
    first, second = (unwrap(ball_mesh(16), 128) for _ in range(2))
    assert np.array_equal(first.vt, second.vt)
    assert np.array_equal(first.f, second.f)


def test_no_faces_and_too_small_a_texture_are_said() -> None:
    with pytest.raises(DataError, match="without faces"):
        unwrap(Mesh(cube_mesh().v, np.zeros((0, 3), np.int32)), 64)
    with pytest.raises(DataError, match="ask for a larger one"):
        unwrap(cube_mesh(), 8)
