"""Whole lifts at the size of a test with the embedded prior: objects that it never saw, and a drawn picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

pytest.importorskip("numba")
pytest.importorskip("xatlas")
pytest.importorskip("trimesh")
import trimesh

from sensorium.experiments.run import run
from sensorium.lifting.files.meshes import read_mesh
from sensorium.lifting.generation import job
from sensorium.lifting.generation.measures import drawer
from sensorium.lifting.guidance.base import Pose, straight_colours
from sensorium.lifting.prior.objects import TRAINING_SEEDS, draw_object

OBJECTS = [(900_000_100, None), (900_000_204, "superellipsoid")]  # one of a family of training, one of another


def photo_of(seed: int, family: str | None) -> tuple[np.ndarray, float]:
    """The reference picture of an object, uint8 [128, 128, 4], and the elevation of its camera."""
    assert seed not in TRAINING_SEEDS
    item = draw_object(seed, family)
    premultiplied = torch.from_numpy(item.render([item.elevation], [0.0], 128)[0] / np.float32(255)).movedim(-1, 0)
    rgba = torch.cat([straight_colours(premultiplied[None])[0], premultiplied[3:]])
    return np.rint(rgba.movedim(0, -1).numpy() * 255).astype(np.uint8), round(item.elevation, 2)


def check(path: Path, result: dict) -> None:
    """The asset is closed, and others can read it."""
    scene = trimesh.load(path / "mesh.glb")
    (loaded,) = scene.geometry.values()
    loaded.merge_vertices(merge_tex=True, merge_norm=True)
    assert loaded.is_watertight
    assert loaded.is_winding_consistent
    assert loaded.volume > 0
    assert len(loaded.faces) == len(read_mesh(path / "mesh.glb").f) == result["mesh"]["faces"]
    assert result["mesh"]["watertight"]
    assert loaded.visual.material.baseColorTexture.size == (128, 128)
    assert result["guidance"] == "view-prior"
    assert "guidance: view-prior" in (path / "report.html").read_text()


@pytest.mark.parametrize(("seed", "family"), OBJECTS)
def test_a_held_out_object_becomes_a_closed_mesh(
    seed: int, family: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "VIEW_SIDE", 64)
    photo, elevation = photo_of(seed, family)
    done = run({"kind": "lift", "photo": photo, "elevation": elevation, "preset": "test"}, out=tmp_path / "run")
    check(done.path, done.result)
    assert done.result["reference_view"]["mesh"]["psnr"] > 15
    assert done.result["reference_view"]["mesh"]["iou"] > 0.8
    mesh = read_mesh(done.path / "mesh.glb")
    behind = drawer(mesh)(Pose(elevation, 180.0), 64)
    assert behind[3].mean() > 0.02  # it has another side


@pytest.mark.slow
def test_a_drawn_picture_becomes_a_closed_mesh(tmp_path: Path) -> None:
    """Nothing of it is an object of three dimensions; the elevation is estimated."""
    picture = Image.new("RGBA", (96, 96))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((30, 24, 62, 78), fill=(200, 80, 60, 255))
    draw.ellipse((56, 36, 80, 64), outline=(200, 80, 60, 255), width=6)
    picture.save(tmp_path / "cup.png")
    tree = {"kind": "lift", "photo": str(tmp_path / "cup.png"), "elevation": "auto", "preset": "test"}
    done = run(tree, out=tmp_path / "run")
    check(done.path, done.result)
    assert done.result["elevation_estimated"]
    assert abs(done.result["elevation"]) < 60
