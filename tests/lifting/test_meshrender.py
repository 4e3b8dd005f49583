"""The z-buffer and the texture lookup, against what can be computed by hand."""

import numpy as np
import pytest
import torch

pytest.importorskip("numba")
from sensorium.lifting.camera import orbit
from sensorium.lifting.mesh import Mesh
from sensorium.lifting.meshrender import look_up, rasterise, render_mesh, silhouette, texel_faces, texture_places

from .made import SPHERE, ball_mesh, cube_mesh, plain_mesh, with_texture


def camera(side: int = 64, elevation: float = 0.0, azimuth: float = 0.0, **other):
    return orbit(elevation, azimuth, height=side, width=side, **other)


def test_every_pixel_of_a_split_square_belongs_to_exactly_one_face() -> None:
    """The top-left rule: along the shared edges there is no gap, and drawing each face alone counts no pixel twice."""
    steps = np.linspace(-0.5, 0.5, 8)
    v = np.array([[x, y, 0] for y in steps for x in steps], dtype=np.float32)
    quads = np.array([[r * 8 + c, r * 8 + c + 1, r * 8 + c + 8, r * 8 + c + 9] for r in range(7) for c in range(7)])
    f = np.concatenate([quads[:, [0, 1, 3]], quads[:, [0, 3, 2]]]).astype(np.int32)
    view = camera(97, elevation=-20, azimuth=15)
    whole = rasterise(Mesh(v, f), view).covered
    alone = sum(silhouette(Mesh(v, f[[k]]), view).astype(int) for k in range(len(f)))
    assert np.array_equal(alone, whole.astype(int))
    outline = plain_mesh([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]], [[0, 1, 2], [0, 2, 3]])
    assert np.array_equal(silhouette(outline, view), whole)


def test_weights_are_perspective_correct_and_depth_is_along_the_axis() -> None:
    mesh = ball_mesh()
    view = camera(128, elevation=-30, azimuth=40)
    seen = rasterise(mesh, view)
    points = np.einsum("pk,pkc->pc", seen.barycentric[seen.covered], mesh.v[mesh.f[seen.face[seen.covered]]])
    pixels, depth = view.project(points)
    rows, columns = np.nonzero(seen.covered)
    assert np.abs(pixels - np.stack([columns + 0.5, rows + 0.5], 1)).max() < 0.02
    assert depth == pytest.approx(seen.depth[seen.covered], abs=1e-4)
    nearest = 2 - SPHERE
    assert seen.depth[seen.covered].min() == pytest.approx(nearest, abs=0.01)
    disc = np.pi * (view.focal * np.tan(np.arcsin(SPHERE / 2))) ** 2
    assert seen.covered.sum() == pytest.approx(disc, rel=0.03)


def test_the_nearer_face_is_seen_in_any_order() -> None:
    square = [[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [-0.5, 0.5, 0.0]]
    near = [[x, y, 0.3] for x, y, _ in square]
    faces = [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]]
    for order in (faces, faces[::-1]):
        seen = rasterise(plain_mesh(square + near, order), camera())
        middle = np.array(order)[seen.face[32, 32]]
        assert middle.min() >= 4
        assert seen.depth[32, 32] == pytest.approx(1.7, abs=1e-4)


def test_faces_are_cut_at_the_near_plane() -> None:
    """A floor that runs under the camera and behind it: the half in front is seen, with right depths."""
    floor = plain_mesh([[-9, -0.5, 9], [9, -0.5, 9], [9, -0.5, -9], [-9, -0.5, -9]], [[0, 1, 2], [0, 2, 3]])
    view = camera(64)
    seen = rasterise(floor, view)
    assert seen.covered[40:].all()
    assert not seen.covered[:33].any()
    row = 50
    expected = 0.5 * view.focal / (row + 0.5 - 32)  # depth of a plane half a unit below
    assert seen.depth[row] == pytest.approx(np.full(64, expected), rel=1e-4)
    behind = Mesh(ball_mesh().v + np.float32([0, 0, 5]), ball_mesh().f)
    assert not silhouette(behind, view).any()
    inside = rasterise(ball_mesh(), camera(16, radius=0.1))
    assert inside.covered.all()


def test_texel_faces_cover_what_their_triangle_covers() -> None:
    faces = np.int32([[0, 1, 2]])
    found = texel_faces(faces, np.float32([[0, 0], [1, 0], [0, 1]]), 8)
    # The origin is at the bottom left, row 0 at the top.
    assert found[7, 0] == 0
    assert found[0, 7] == -1
    assert (found == 0).sum() in range(28, 37)


def test_look_up_reads_texels_where_they_lie() -> None:
    texture = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(0))
    place = torch.tensor([[0.5 / 8, 1 - 0.5 / 8], [7.5 / 8, 0.5 / 8]])  # first texel of the first row, last of the last
    found = look_up(texture, place, torch.ones(2))
    assert torch.allclose(found, torch.stack([texture[0, 0], texture[7, 7]]), atol=1e-5)
    whole = look_up(texture, place, torch.full((2,), 8.0))
    assert torch.allclose(whole, texture.mean((0, 1)).expand(2, 3), atol=1e-5)
    between = look_up(texture, place, torch.full((2,), 8 / 2**0.5))
    two = torch.nn.functional.avg_pool2d(texture.movedim(2, 0), 4).movedim(0, 2)
    expected = 0.5 * torch.stack([two[0, 0], two[1, 1]]) + 0.5 * texture.mean((0, 1))
    assert torch.allclose(between, expected, atol=1e-5)


def test_the_texture_gets_the_gradient_of_its_lookup() -> None:
    texture = torch.rand(4, 4, 3, dtype=torch.float64, requires_grad=True)
    place = torch.rand(5, 2, dtype=torch.float64)
    span = torch.tensor([1.0, 1.5, 2.0, 3.0, 9.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda picture: look_up(picture, place, span), (texture,))


def test_the_span_of_a_pixel_is_the_texels_it_covers() -> None:
    """A square of texels seen straight on: each pixel spans 64 texels / its side in pixels; on the slant more."""
    v = [[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]]
    mesh = with_texture(
        plain_mesh(v, [[0, 1, 2], [0, 2, 3]]),
        np.zeros((64, 64, 3), np.float32),
        np.float32([[0, 0], [1, 0], [1, 1], [0, 1]]),
    )
    view = camera(64)
    _, span = texture_places(mesh, rasterise(mesh, view), view, 64)
    side = view.focal / 2
    assert span.numpy() == pytest.approx(np.full(len(span), 64 / side), rel=1e-4)
    slanted = camera(64, azimuth=60)
    _, wider = texture_places(mesh, rasterise(mesh, slanted), slanted, 64)
    assert float(wider.mean()) == pytest.approx(2 * 64 / side, rel=0.1)


def test_a_picture_of_a_half_red_square_shows_it_upright() -> None:
    albedo = np.zeros((8, 8, 3), np.float32)
    albedo[:4, :, 0] = 1  # red above
    albedo[4:, :, 2] = 1
    v = [[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]]
    mesh = with_texture(plain_mesh(v, [[0, 1, 2], [0, 2, 3]]), albedo, np.float32([[0, 0], [1, 0], [1, 1], [0, 1]]))
    seen = render_mesh(mesh, camera(64), background=(0, 1, 0))
    assert seen.rgb[26, 32].tolist() == [1, 0, 0]
    assert seen.rgb[38, 32].tolist() == [0, 0, 1]
    assert seen.rgb[1, 1].tolist() == [0, 1, 0]
    assert seen.alpha[32, 32] == 1
    assert 0 < float(seen.alpha.mean()) < 1
    partly = (seen.alpha > 0) & (seen.alpha < 1)
    assert bool(partly.any())  # edges are smooth


def test_the_cube_of_the_tests_is_closed_and_seen_from_all_sides() -> None:
    cube = cube_mesh()
    for azimuth in (0, 90, 180, 270):
        assert silhouette(cube, camera(32, azimuth=azimuth)).sum() > 100
