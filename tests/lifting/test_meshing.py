"""From a cloud to a textured mesh, whole: spheres, a torus, sparse clouds, a photo that counts more."""

import logging

import numpy as np
import pytest
import torch

from sensorium.core.errors import ConfigError, DataError

pytest.importorskip("numba")
pytest.importorskip("xatlas")
from sensorium.lifting import meshing
from sensorium.lifting.camera import orbit
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.density import density
from sensorium.lifting.level import LEVELS, automatic_level, outlines
from sensorium.lifting.mesh import Floats, Mesh
from sensorium.lifting.meshing import MeshConfig, make_mesh, measure
from sensorium.lifting.meshrender import render_mesh
from sensorium.lifting.surface import extract
from sensorium.lifting.texture import Observation

from .made import SPHERE, cloud_of, cube_mesh, even_sphere, filled_sphere, red_front, torus_points

SMALL = MeshConfig(resolution=64, max_faces=3000, texture=128, view_size=64)
BALL = 4 / 3 * np.pi * SPHERE**3


@pytest.mark.parametrize(
    ("points", "scale"), [(even_sphere(3000), 0.011), (filled_sphere(3000), 0.025)], ids=["hollow", "filled"]
)
def test_a_sphere_of_gaussians_is_a_sphere(points: Floats, scale: float) -> None:
    """Closed, one part, Euler number 2, a volume within 20 % of the sphere's, outlines that agree to .95."""
    made = make_mesh(cloud_of(points, scale, colours=red_front(points)), SMALL)
    found = made.measures
    assert (found.watertight, found.winding_consistent, found.components, found.euler) == (True, True, 1, 2)
    assert found.volume == pytest.approx(BALL, rel=0.2)
    assert found.silhouette_iou is not None
    assert found.silhouette_iou >= 0.95
    assert found.faces <= 3000
    assert found.texture_coverage == pytest.approx(1, abs=0.02)
    assert made.agreement[made.level] == max(made.agreement.values())
    # Red in front, blue behind: the texture lies where it belongs.
    for azimuth, colour in ((0, [1, 0, 0]), (180, [0, 0, 1])):
        seen = render_mesh(made.mesh, orbit(0, azimuth, height=64, width=64)).rgb.numpy()
        assert seen[24:40, 24:40].mean((0, 1)) == pytest.approx(colour, abs=0.2)  # splats shine through


def test_a_torus_keeps_its_hole() -> None:
    """Euler number 0."""
    made = make_mesh(cloud_of(torus_points(3000), 0.02), SMALL.model_copy(update={"level": 0.35}))
    found = made.measures
    assert (found.watertight, found.components, found.euler) == (True, 1, 0)
    assert found.volume > 2 * np.pi**2 * 0.35 * 0.12**2
    assert found.silhouette_iou is not None
    assert found.silhouette_iou >= 0.95


def sparse_cloud() -> GaussianCloud:
    points = np.random.default_rng(5).uniform(-0.5, 0.5, (50, 3)).astype(np.float32)
    return cloud_of(points, 0.05, opacity=0.2)


def test_a_sparse_faint_cloud_has_a_mesh(caplog: pytest.LogCaptureFixture) -> None:
    """L3-5: 50 Gaussians of opacity .2 reach no level that is tried: half the highest density is taken, and said."""
    cloud = sparse_cloud()
    highest = density(cloud, 64).highest
    with caplog.at_level(logging.INFO, "sensorium"):
        made = make_mesh(cloud, SMALL)
    assert made.measures.faces > 0
    assert made.measures.watertight
    if highest < LEVELS[0]:
        assert made.level == pytest.approx(highest / 2)
        assert "half of it is taken" in caplog.text
    assert made.level < highest


def test_half_the_highest_density_is_taken_where_no_level_is_reached(caplog: pytest.LogCaptureFixture) -> None:
    points = np.float32([[-1, 0, 0], [1, 0, 0], [0, 1, 0]])
    cloud = cloud_of(points, 0.2, opacity=0.1)
    field = density(cloud, 32)
    with caplog.at_level(logging.INFO, "sensorium"):
        chosen = automatic_level(field, outlines(cloud, views=2, size=32))
    assert chosen.value == pytest.approx(field.highest / 2)
    assert len(chosen.mesh.f) > 0
    assert "half of it is taken" in caplog.text


def test_a_level_above_the_highest_density_stops_before_any_meshing(monkeypatch: pytest.MonkeyPatch) -> None:
    """L3-5: level 1e9 names the highest density; nothing is drawn and nothing meshed."""

    def never(*arguments: object) -> None:
        raise AssertionError("meshing started")

    monkeypatch.setattr(meshing, "outlines", never)
    monkeypatch.setattr(meshing, "extract", never)
    cloud = sparse_cloud()
    highest = density(cloud, 64).highest
    with pytest.raises(ConfigError, match=f"highest density of this cloud is {highest:.4g}"):
        make_mesh(cloud, MeshConfig(resolution=64, level=1e9))


def test_an_empty_and_a_transparent_cloud_are_said() -> None:
    cloud = sparse_cloud()
    with pytest.raises(DataError, match="no Gaussian of 0"):
        make_mesh(cloud[:0], SMALL)
    clear = GaussianCloud(cloud.means, cloud.log_scales, cloud.quats, torch.full((50,), -20.0), cloud.sh_dc)
    with pytest.raises(DataError, match="there is no surface"):
        make_mesh(clear, SMALL)


def test_the_level_with_the_outlines_of_the_cloud_is_chosen() -> None:
    """Levels that are too high lose the outer half of wide Gaussians: the agreement falls."""
    cloud = cloud_of(filled_sphere(400), 0.05)
    field, wanted = density(cloud, 48), outlines(cloud, views=4, size=64)
    chosen = automatic_level(field, wanted)
    assert set(chosen.agreement) == {level for level in LEVELS if level < field.highest}
    assert chosen.agreement[chosen.value] == max(chosen.agreement.values())
    assert chosen.agreement[chosen.value] > 0.95
    assert min(chosen.agreement.values()) < chosen.agreement[chosen.value] - 0.02


def test_of_equal_levels_the_largest_is_taken() -> None:
    cloud = cloud_of(filled_sphere(400), 0.05)
    field, wanted = density(cloud, 24), outlines(cloud, views=2, size=16)
    from sensorium.lifting import level as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "silhouette_agreement", lambda mesh, wanted: 0.5)
        assert module.automatic_level(field, wanted).value == max(v for v in LEVELS if v < field.highest)


def test_a_photo_counts_eight_times_as_much_as_the_splats() -> None:
    points = even_sphere(1500)
    cloud = cloud_of(points, 0.016)  # grey
    camera = orbit(0, 0, height=64, width=64)
    photo = np.broadcast_to(np.float32([1, 0, 0]), (64, 64, 3)).copy()
    config = MeshConfig(resolution=48, level=0.5, max_faces=1500, texture=64, view_size=64)
    made = make_mesh(cloud, config, reference=Observation(camera, photo, np.ones((64, 64), bool)))
    front = render_mesh(made.mesh, camera).rgb.numpy()[28:36, 28:36].mean((0, 1))
    back = render_mesh(made.mesh, orbit(0, 180, height=64, width=64)).rgb.numpy()[28:36, 28:36].mean((0, 1))
    assert front[0] > 0.7
    assert front[1] < 0.3
    assert back == pytest.approx([0.5, 0.5, 0.5], abs=0.03)


def test_translucent_splats_do_not_whiten_the_texture() -> None:
    points = even_sphere(600)
    cloud = cloud_of(points, 0.03, opacity=0.35, colours=np.tile(np.float32([0.8, 0.1, 0.1]), (600, 1)))
    config = MeshConfig(resolution=32, level=0.3, max_faces=1500, texture=64, view_size=64)
    made = make_mesh(cloud, config)
    assert np.abs(made.mesh.albedo - np.float32([0.8, 0.1, 0.1])).max() < 0.02


def test_measures_of_a_cube_and_of_an_open_one() -> None:
    cube = cube_mesh(0.5)
    found = measure(cube)
    assert (found.watertight, found.euler, found.faces, found.volume) == (True, 2, 12, pytest.approx(1, abs=1e-5))
    assert found.silhouette_iou is None
    from sensorium.lifting.mesh import Mesh

    assert measure(Mesh(cube.v, cube.f[1:])).watertight is False


def test_the_same_cloud_gives_the_same_mesh() -> None:
    cloud = cloud_of(even_sphere(500), 0.03, colours=red_front(even_sphere(500)))
    config = MeshConfig(resolution=32, max_faces=800, texture=64, view_size=32)
    first, second = make_mesh(cloud, config), make_mesh(cloud, config)
    assert np.array_equal(first.mesh.v, second.mesh.v)
    assert np.array_equal(first.mesh.albedo, second.mesh.albedo)


def test_the_config_says_what_it_takes() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        MeshConfig(texture=130)
    assert extract(density(sparse_cloud(), 16), 0.05).f.shape[1] == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("points", "scale"), [(even_sphere(3000), 0.011), (filled_sphere(3000), 0.025)], ids=["hollow", "filled"]
)
def test_spheres_at_the_full_resolution(points: Floats, scale: float) -> None:
    made = make_mesh(cloud_of(points, scale), MeshConfig(texture=512, view_size=256))
    found = made.measures
    assert (found.watertight, found.components, found.euler) == (True, 1, 2)
    assert found.volume == pytest.approx(BALL, rel=0.2)
    assert found.silhouette_iou is not None
    assert found.silhouette_iou >= 0.95


def test_a_ragged_surface_gets_a_larger_texture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts that do not fit are laid out on a larger picture, so that a lift does not end for want of texels."""
    asked = []
    lay_out = meshing.unwrap

    def crowded(surface: Mesh, size: int) -> object:
        asked.append(size)
        if size < 200:
            raise DataError("the charts do not fit")
        return lay_out(surface, size)

    monkeypatch.setattr(meshing, "unwrap", crowded)
    made = make_mesh(cloud_of(even_sphere(400), 0.05), MeshConfig(resolution=24, texture=64, view_size=32))
    assert asked == [64, 128, 256]
    assert made.mesh.albedo.shape == (256, 256, 3)
