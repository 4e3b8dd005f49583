"""Surfaces: closed, facing outwards, without stray parts, smooth, and as sound after decimation as before."""

import logging

import numpy as np
import pytest

from sensorium.core.errors import ConfigError, DataError

pytest.importorskip("skimage")
pytest.importorskip("fast_simplification")
from sensorium.lifting.density import Density, density
from sensorium.lifting.mesh import Mesh, signed_volume
from sensorium.lifting.surface import (
    clean,
    decimated,
    extract,
    facing_outwards,
    merged,
    parts,
    smoothed,
    solid,
    surface_area,
    topology,
    without_stray_parts,
)

from .made import ball_mesh, cloud_of, cube_mesh, torus_points


def field_of(function, resolution: int = 48) -> Density:
    """A density that is a function of x, y, z on [-1, 1]^3."""
    axis = np.linspace(-1, 1, resolution)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    return Density(function(x, y, z).astype(np.float32), np.array([10.0, 0, 0]), 2.0)


def ball_field(radius: float = 0.6) -> Density:
    return field_of(lambda x, y, z: 1 + radius - np.sqrt(x**2 + y**2 + z**2))


def shell_field(hole: float = 0.0) -> Density:
    """A hollow shell of density 1; with a round hole of that radius at its top."""

    def function(x, y, z):
        inside = np.abs(np.sqrt(x**2 + y**2 + z**2) - 0.6) < 0.1
        return np.where(inside & ~((np.hypot(x, z) < hole) & (y > 0)), 1.0, 0.0)

    return field_of(function, 64)


def test_a_ball_is_closed_outward_and_of_its_size_in_the_world() -> None:
    mesh = extract(ball_field(), 1.0)
    found = topology(mesh)
    assert (found.watertight, found.consistent, found.components, found.euler) == (True, True, 1, 2)
    radius = 0.6 / 2  # the grid's unit is half a world unit
    assert signed_volume(mesh) == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)
    assert mesh.v.mean(0) == pytest.approx([10, 0, 0], abs=1e-3)


def test_what_reaches_the_end_of_the_grid_is_closed_there() -> None:
    mesh = extract(field_of(lambda x, y, z: 2 - np.abs(y)), 1.5)
    assert topology(mesh).watertight


@pytest.mark.parametrize("level", [1e9, 1.7, 0.0, -1.0])
def test_a_level_without_a_surface_stops_before_meshing(level: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """L3-5: the highest density is named, and marching cubes never start."""
    import skimage.measure

    monkeypatch.setattr(skimage.measure, "marching_cubes", None)
    with pytest.raises(ConfigError, match=r"highest density of this cloud is 1\.5|a level is above 0"):
        extract(ball_field(), level)


def test_faces_that_look_inwards_are_turned() -> None:
    ball = ball_mesh()
    turned = facing_outwards(Mesh(ball.v, ball.f[:, ::-1].copy()))
    assert signed_volume(turned) > 0
    assert facing_outwards(ball) is ball


def test_merging_joins_places_and_drops_empty_and_double_faces() -> None:
    cube = cube_mesh()
    apart = Mesh(cube.v[cube.f].reshape(-1, 3), np.arange(36, dtype=np.int32).reshape(-1, 3))
    assert topology(apart).watertight is False
    again = Mesh(apart.v, np.concatenate([apart.f, apart.f[:2], np.int32([[0, 0, 1]])]))
    joined = merged(again)
    assert (len(joined.v), len(joined.f)) == (8, 12)
    assert topology(joined).watertight
    assert signed_volume(joined) == pytest.approx(signed_volume(cube))


def test_stray_parts_and_cavities_go_and_the_largest_part_stays() -> None:
    ball, crumb = ball_mesh(), ball_mesh(8, 0.02)
    hole = ball_mesh(16, 0.2)
    v = np.concatenate([ball.v, crumb.v + np.float32(1), hole.v])
    f = np.concatenate([ball.f, crumb.f + len(ball.v), hole.f[:, ::-1] + len(ball.v) + len(crumb.v)])
    mesh = Mesh(v, f.astype(np.int32))
    assert len(parts(mesh)) == 3
    assert sorted(np.sign(parts(mesh).volumes)) == [-1, 1, 1]
    kept = without_stray_parts(mesh)
    assert np.array_equal(kept.v, ball.v)
    assert len(without_stray_parts(crumb).f) == len(crumb.f)  # alone, it is the largest
    with pytest.raises(DataError, match="no face"):
        without_stray_parts(Mesh(ball.v, np.zeros((0, 3), np.int32)))


@pytest.mark.parametrize("hole", [0.0, 0.07], ids=["closed", "leaking"])
def test_shells_become_solid_even_where_they_leak(hole: float) -> None:
    """Through a pin-hole the inner wall would join the outer one: the object would be a skin."""
    field = shell_field(hole)
    mesh = clean(extract(field, 0.5), max_faces=20_000)
    found = topology(mesh)
    assert (found.watertight, found.components, found.euler) == (True, 1, 2)
    assert signed_volume(mesh) == pytest.approx(4 / 3 * np.pi * (0.7 / 2) ** 3, rel=0.1)


def test_a_solid_object_and_a_wide_opening_are_left_as_they_are() -> None:
    ball, bowl = ball_field(), shell_field(0.45)
    assert solid(ball, 1.0) is ball.values
    assert solid(bowl, 0.5) is bowl.values


def test_smoothing_takes_noise_and_keeps_the_volume() -> None:
    ball = ball_mesh(32)
    noise = np.random.default_rng(0).normal(0, 0.004, ball.v.shape).astype(np.float32)
    rough = Mesh(ball.v + noise, ball.f)
    smooth = smoothed(rough)
    distance = np.abs(np.linalg.norm(smooth.v, axis=1) - 0.4)
    assert distance.mean() < 0.6 * np.abs(np.linalg.norm(rough.v, axis=1) - 0.4).mean()
    assert surface_area(smooth) < surface_area(rough)
    assert signed_volume(smooth) == pytest.approx(signed_volume(ball), rel=0.02)


def test_decimation_keeps_a_torus_a_torus() -> None:
    mesh = extract(density(cloud_of(torus_points(1500), 0.03), 48), 0.5)
    before = topology(mesh)
    assert (before.watertight, before.euler) == (True, 0)
    small = decimated(mesh, 800)
    assert topology(small) == before
    assert len(small.f) <= 800
    assert signed_volume(small) == pytest.approx(signed_volume(mesh), rel=0.05)


def test_decimation_that_opens_the_surface_is_undone_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import fast_simplification

    def breaking(v, f, target_count, agg):
        return v, f[:target_count]

    monkeypatch.setattr(fast_simplification, "simplify", breaking)
    ball = ball_mesh()
    with caplog.at_level(logging.INFO, "sensorium"):
        assert decimated(ball, 100) is ball
    assert "fewer would open it" in caplog.text
