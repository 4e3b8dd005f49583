"""Textures from views: colours where they belong, chart borders that are not seen, nothing left empty."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("xatlas")
from sensorium.lifting.camera import orbit
from sensorium.lifting.mesh import Mesh, TexturedMesh
from sensorium.lifting.meshrender import rasterise, render_mesh, texel_faces
from sensorium.lifting.texture import REACH, Observation, bake, chart_of_face, facing
from sensorium.lifting.uv import unwrap

from .made import ball_mesh, checker, cube_mesh, painted

AROUND = [(0, azimuth) for azimuth in range(0, 360, 45)] + [(-60, 0), (60, 0), (-45, 90), (45, 180)]


def observed(mesh: TexturedMesh, places=AROUND, size: int = 144) -> list[Observation]:
    """Pictures of a mesh from the given elevations and azimuths."""
    found = []
    for elevation, azimuth in places:
        seen = render_mesh(mesh, orbit(elevation, azimuth, height=size, width=size))
        camera = orbit(elevation, azimuth, height=size, width=size)
        found.append(Observation(camera, seen.rgb.numpy(), seen.alpha.numpy() > 0.999))
    return found


def one_colour(mesh: TexturedMesh, colour: tuple[float, float, float]) -> TexturedMesh:
    return replace(mesh, albedo=np.broadcast_to(np.float32(colour), mesh.albedo.shape).copy())


@pytest.mark.parametrize("merge", ["blend", "first"])
def test_a_checkered_cube_comes_back_from_its_own_pictures(merge: str) -> None:
    """Mean absolute error below .05 on texels that were seen at less than 60 degrees."""
    truth = painted(cube_mesh(), checker)
    baked = bake(unwrap(cube_mesh(), 256), observed(truth), 256, merge=merge)
    assert np.array_equal(baked.mesh.vt, truth.vt)  # the same charts: texels can be compared
    compared = baked.inside & baked.seen
    assert np.abs(baked.mesh.albedo - truth.albedo)[compared].mean() < 0.05
    assert baked.coverage > 0.98
    assert np.abs(truth.albedo[compared] - truth.albedo[compared].mean(0)).mean() > 0.2  # the truth is not flat


def test_a_green_ball_has_no_seams() -> None:
    """L3-8: across chart borders neighbouring texels differ by at most 3/255, and so does the picture of the ball."""
    green = (0.1, 0.8, 0.2)
    plain = ball_mesh(24)
    truth = one_colour(painted(plain, np.zeros_like, 256), green)
    baked = bake(unwrap(plain, 256), observed(truth), 256)
    faces = texel_faces(baked.mesh.f, baked.mesh.vt, 256)
    charts = np.where(faces >= 0, chart_of_face(baked.mesh)[faces], -1)
    albedo = baked.mesh.albedo
    for along in (0, 1):
        step = np.abs(np.diff(albedo, axis=along)).max(2)
        border = np.diff(charts, axis=along) != 0
        assert step[border].max() <= 3 / 255
    # On the surface: both sides of each cut.
    seen = render_mesh(baked.mesh, orbit(-20, 30, height=200, width=200), background=green).rgb.numpy()
    assert np.abs(seen - np.float32(green)).max() <= 3 / 255


def test_padding_around_charts_keeps_their_colour() -> None:
    """L3-8: at least four texels around every chart have its colour, so that coarser levels stay clean."""
    truth = one_colour(painted(cube_mesh(), np.zeros_like, 128), (0.2, 0.4, 0.9))
    baked = bake(unwrap(cube_mesh(), 128), observed(truth), 128)
    from scipy.ndimage import distance_transform_edt

    near = distance_transform_edt(~baked.inside) <= 4
    assert np.abs(baked.mesh.albedo[near] - np.float32([0.2, 0.4, 0.9])).max() < 0.01
    assert REACH >= 4


def test_who_looks_straight_decides() -> None:
    """Of a red picture from the front and a blue one from the side, each side of the ball takes what looked straight at
    it, and what both saw alike is half of both; an important picture outweighs the other."""
    plain = ball_mesh(24)
    base = painted(plain, np.zeros_like, 64)
    red = observed(one_colour(base, (1, 0, 0)), [(0, 0)])
    blue = observed(one_colour(base, (0, 0, 1)), [(0, 90)])
    surface = unwrap(plain, 64)

    def middle(observations: list[Observation], azimuth: float, merge: str = "blend") -> np.ndarray:
        mesh = bake(surface, observations, 64, merge=merge).mesh
        seen = render_mesh(mesh, orbit(0, azimuth, height=64, width=64))
        return seen.rgb.numpy()[32, 28:36].mean(0)

    assert middle(red + blue, 45) == pytest.approx([0.5, 0, 0.5], abs=0.07)
    assert middle(red + blue, 5) == pytest.approx([1, 0, 0], abs=0.05)
    assert middle(red + blue, 85) == pytest.approx([0, 0, 1], abs=0.05)
    assert middle([*red, replace(blue[0], importance=1000.0)], 45) == pytest.approx([0, 0, 1], abs=0.1)
    # Whoever comes first has what both saw, the other what it alone saw.
    assert middle(red + blue, 45, "first")[0] > 0.7
    assert middle(blue + red, 45, "first")[2] > 0.7


def test_what_nobody_saw_takes_the_nearest_colour_on_the_surface() -> None:
    """Seen from the front alone, the back of a red ball is red, not white and not grey."""
    plain = ball_mesh(20)
    truth = one_colour(painted(plain, np.zeros_like, 128), (0.9, 0.1, 0.1))
    baked = bake(unwrap(plain, 128), observed(truth, [(0, 0)]), 128)
    assert 0.1 < baked.coverage < 0.5
    back = render_mesh(baked.mesh, orbit(0, 180, height=64, width=64), background=(0.9, 0.1, 0.1)).rgb.numpy()
    assert np.abs(back - np.float32([0.9, 0.1, 0.1])).max() < 0.02
    nothing = bake(unwrap(plain, 128), [], 128)
    assert nothing.coverage == 0
    assert np.unique(nothing.mesh.albedo).tolist() == [0.5]


def test_pixels_at_the_edge_of_something_nearer_do_not_count() -> None:
    """A small ball before a wall: its rim is not painted onto the wall."""
    wall = cube_mesh(0.6)
    flat = Mesh(wall.v * np.float32([1, 1, 0.1]) - np.float32([0, 0, 0.4]), wall.f)
    ball = ball_mesh(12, 0.2)
    both = Mesh(np.concatenate([flat.v, ball.v]), np.concatenate([flat.f, ball.f + 8]).astype(np.int32))
    camera = orbit(0, 0, height=128, width=128)
    seen = rasterise(both, camera)
    on_wall = (seen.face >= 0) & (seen.face < 12)
    rgb = np.where(on_wall[..., None], np.float32([0, 1, 0]), np.float32([1, 0, 0]))
    from scipy.ndimage import uniform_filter

    blurred = uniform_filter(rgb, (3, 3, 0))  # as antialiasing mixes them
    baked = bake(unwrap(both, 256), [Observation(camera, blurred.astype(np.float32), seen.covered)], 256)
    faces = texel_faces(baked.mesh.f, baked.mesh.vt, 256)
    wall_texels = (faces >= 0) & (faces < 12) & baked.seen
    assert wall_texels.sum() > 500
    assert np.abs(baked.mesh.albedo[wall_texels] - np.float32([0, 1, 0])).max() < 0.01


def test_facing_is_the_cosine_to_the_viewer() -> None:
    ball = unwrap(ball_mesh(24), 128)
    camera = orbit(0, 0, 50, height=64, width=64, fovy_deg=1.2)  # from afar: all rays run alike
    seen = rasterise(Mesh(ball.v, ball.f), camera)
    rows, columns = np.nonzero(seen.covered)
    away = np.hypot(columns + 0.5 - 32, rows + 0.5 - 32) / (camera.focal * 0.4 / 50)
    expected = np.sqrt(np.clip(1 - away**2, 0, None))
    inner = away < 0.9
    assert facing(ball, seen, camera)[inner] == pytest.approx(expected[inner], abs=0.08)
