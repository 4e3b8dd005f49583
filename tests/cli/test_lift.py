"""lift view, mesh, turntable, fit."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import Command

pytest.importorskip("numba")
pytest.importorskip("xatlas")
from sensorium.core.files import read_json, write_json
from sensorium.experiments import jobs
from sensorium.lifting import viewer
from sensorium.lifting.cloud import GaussianCloud, from_points
from sensorium.lifting.files.meshes import read_mesh
from sensorium.lifting.files.ply import read_ply, write_ply
from sensorium.testing.scenes import photographs


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    """A ball of 800 Gaussians, red in front."""
    height = 1 - (2 * np.arange(800) + 1) / 800
    turn = np.arange(800) * np.pi * (3 - np.sqrt(5))
    across = np.sqrt(1 - height**2)
    points = 0.4 * np.stack([across * np.cos(turn), height, across * np.sin(turn)], 1)
    colours = np.where(points[:, 2:] > 0, [1.0, 0, 0], [0, 0, 1.0])
    made = from_points(points.astype(np.float32), colours, opacity=0.8)
    small = GaussianCloud(
        made.means, made.log_scales.clamp(max=float(np.log(0.025))), made.quats, made.opacity_logit, made.sh_dc
    )
    write_ply(tmp_path / "ball.ply", small)
    return tmp_path / "ball.ply"


def test_a_cloud_becomes_a_mesh_a_page_and_a_film(
    command: Command, cloud: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "STILL", 64)
    monkeypatch.setattr(viewer, "PREVIEW", 16)
    small = ("--resolution", "32", "--texture", "64", "--max-faces", "1000", "--view-size", "64")
    said = command("lift", "mesh", cloud, *small)
    assert said.status == 0, said.err
    assert "watertight" in said.out
    assert "yes" in said.out
    mesh = read_mesh(cloud.with_suffix(".glb"))
    assert len(mesh.f) <= 1000
    said = command("lift", "view", cloud.with_suffix(".glb"), "--no-film", "--out", cloud.with_name("page.html"))
    assert (said.status, said.err) == (0, "")
    assert "data-albedo" in cloud.with_name("page.html").read_text()
    said = command("lift", "view", cloud, "--no-film")
    assert said.status == 0
    assert "data-gaussians" in cloud.with_suffix(".html").read_text()
    said = command("lift", "turntable", cloud, "--frames", "4", "--size", "32", "--out", cloud.with_suffix(".gif"))
    assert said.status == 0
    with Image.open(cloud.with_suffix(".gif")) as film:
        assert film.n_frames == 4


def test_axes_turn_what_is_read(command: Command, cloud: Path) -> None:
    write_ply(cloud.with_name("down.ply"), read_ply(cloud), axes="colmap")
    command("lift", "turntable", cloud, "--frames", "2", "--size", "32", "--out", cloud.with_name("a.gif"))
    turned = cloud.with_name("down.ply")
    command(
        *("lift", "turntable", turned, "--axes", "colmap", "--frames", "2", "--size", "32"),
        *("--out", cloud.with_name("b.gif")),
    )
    assert cloud.with_name("a.gif").read_bytes() == cloud.with_name("b.gif").read_bytes()


def test_errors_are_one_line(command: Command, cloud: Path) -> None:
    """L3-5: a level above the highest density names it, and no file appears."""
    cases = [
        (("mesh", cloud, "--level", "1e9", "--resolution", "32"), "highest density of this cloud is"),
        (("mesh", cloud, "--level", "high"), "--level high: a number or auto"),
        (("mesh", cloud, "--texture", "130"), "multiple of 4"),
        (("mesh", cloud, "--out", cloud.with_suffix(".stl")), "written as .glb or .obj"),
        (("mesh", cloud.with_name("no.ply")), "does not exist"),
        (("view", cloud, "--axes", "blender"), "known: opengl, colmap"),
        (("view", cloud.with_suffix(".fbx")), "a cloud is a .ply file"),
        (("turntable", cloud, "--out", cloud.with_suffix(".webm")), ".mp4 or .gif"),
    ]
    before = sorted(cloud.parent.iterdir())
    for words, expected in cases:
        said = command("lift", *words)
        assert said.status == 2, said.err
        assert expected in said.err
        assert said.err.splitlines()[-1].startswith("error: ")
    assert sorted(cloud.parent.iterdir()) == before


def test_photographs_become_a_cloud(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(jobs.JOBS, "splat", "sensorium.lifting.splat_job:SplatJob")
    places = [(elevation, azimuth) for elevation in (-30, 10) for azimuth in range(0, 360, 90)]
    (tmp_path / "photos").mkdir()
    for (elevation, azimuth), view in zip(places, photographs("torus", places, side=32), strict=True):
        pixels = np.rint(view.rgb * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{elevation}_{azimuth}.png")
    settings = ["fit.points=200", "fit.optimisation.iterations=20", "hold_out=4"]
    words = [word for setting in settings for word in ("--set", setting)]
    said = command("lift", "fit", tmp_path / "photos", "--out", tmp_path / "run", *words)
    assert said.status == 0, said.err
    assert "dB from sides that were held out" in said.out
    result = read_json(tmp_path / "run" / "result.json")
    assert len(read_ply(tmp_path / "run" / "cloud.ply")) == result["gaussians"]
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.fixture
def cup(tmp_path: Path) -> Path:
    """A red square on nothing."""
    pixels = np.zeros((48, 48, 4), dtype=np.uint8)
    pixels[10:38, 14:34] = (200, 60, 40, 255)
    Image.fromarray(pixels).save(tmp_path / "cup.png")
    return tmp_path / "cup.png"


def test_a_photo_needs_no_command(command: Command, cup: Path, tmp_path: Path) -> None:
    """`lift cup.png` is `lift photo cup.png`; comparing runs both arms and finds what is there."""
    settings = [
        "sizes.points=100",
        "sizes.known_side=32",
        "sizes.novel_sides=[32]",
        "sizes.optimisation.iterations=20",
        "mesh.resolution=24",
        "mesh.texture=64",
        "mesh.view_size=32",
        "mesh.max_faces=300",
        "output.turntable=none",
        "texture.steps=2",
    ]
    small = ["--preset", "test", "--guidance", "none", *(word for one in settings for word in ("--set", one))]
    said = command("lift", cup, "--out", tmp_path / "runs" / "base-0", "--set", "contrastive.weight=0", *small)
    assert said.status == 0, said.err
    assert "guidance: none" in said.out
    result = read_json(tmp_path / "runs" / "base-0" / "result.json")
    assert len(read_mesh(tmp_path / "runs" / "base-0" / "mesh.glb").f) == result["mesh"]["faces"]
    said = command("lift", "compare", cup, "--out", tmp_path / "runs", *small)
    assert said.status == 0, said.err
    assert "contrastive" in said.out
    assert set(read_json(tmp_path / "runs" / "compare.json")) == {"base", "contrastive"}
    said = command("lift", "compare", cup, "--out", tmp_path / "runs", "--elevation", "10", *small)
    assert said.status == 2
    assert "another configuration" in said.err
    # Pictures of the same object from known cameras, of which the photo is one.
    truth = tmp_path / "renders" / "cup"
    truth.mkdir(parents=True)
    for name in ("cup.png", "0_180.png", "0_90.png"):
        (truth / name).write_bytes(cup.read_bytes())
    write_json(truth / "cameras.json", {"radius": 2, "fovy": 49.1})
    measure = ("lift", "measure", tmp_path / "runs" / "base-0", truth, "--out", tmp_path / "truth.json")
    said = command(*measure)
    assert said.status == 2
    assert "cup.png: a render is named <elevation>_<azimuth>.png" in said.err
    own = {"cup.png": {"elevation": 0, "azimuth": 0}}
    write_json(truth / "cameras.json", {"radius": 2, "fovy": 49.1, "pictures": own})
    said = command(*measure)
    assert said.status == 0, said.err
    assert "against 2 pictures of cup" in said.out
    found = read_json(tmp_path / "truth.json")
    assert set(found) == {"mesh", "cloud"}
    assert 0 < found["mesh"]["iou"] < 1
    assert f"{found['mesh']['psnr']:.3f}" in said.out
    assert command(*measure, "--side", "8").status == 2


def test_photos_that_are_refused_cost_one_line(command: Command, cup: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (40, 40), (9, 9, 9, 1)).save(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("no picture")
    for words, expected in [
        (("lift", tmp_path / "empty.png"), "mask is empty"),
        (("lift", tmp_path / "text.png"), "no picture format"),
        (("lift", tmp_path / "nowhere.png"), "no such file"),
        (("lift", cup, "--elevation", "steep"), "degrees or auto"),
        (("lift", cup, "--preset", "cpu-slow"), "preset"),
        (("lift", cup, "--set", "contrastive.wight=1"), "contrastive.weight"),
        (("lift", "compare", cup, "--seeds", "a"), "whole numbers"),
    ]:
        said = command(*words, "--guidance", "none", "--out", tmp_path / "out")
        assert said.status == 2, said.err
        assert expected in said.err
        assert said.err.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "out").exists()
