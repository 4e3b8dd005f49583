"""A lift against renders of its object: their cameras are found again, and what is wrong with a folder is said."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("numba")
pytest.importorskip("xatlas")
from sensorium.core.config import dump
from sensorium.core.errors import DataError, RunError
from sensorium.core.rundir import RunDirectory
from sensorium.encoders.lpips import LPIPS
from sensorium.lifting.camera import orbit
from sensorium.lifting.cloud import ball
from sensorium.lifting.files.meshes import write_mesh
from sensorium.lifting.files.ply import write_ply
from sensorium.lifting.generation.cardboard import extrusion
from sensorium.lifting.generation.config import LiftConfig
from sensorium.lifting.generation.measures import camera_drawer
from sensorium.lifting.generation.renders import CAMERAS, against_renders, alignment, measured, read_renders
from sensorium.lifting.guidance.base import Pose, straight_colours
from sensorium.lifting.mesh import TexturedMesh
from sensorium.lifting.photo.cutout import cut_out

from .shapes import ELEVATION, cube

SIDE = 96
DIRECTIONS = [(-20, 30), (-20, 120), (10, 210), (0, 300), (60, 30)]  # the first is lifted; 30 is its azimuth
SIZE, RADIUS, FOVY = 0.35, 0.7, 60.0  # the object, and from where it is as near as a lift's to its camera


@pytest.fixture(scope="module")
def lifted() -> TexturedMesh:
    """What a perfect lift makes of `truth`'s first picture, in the frame of lifts."""
    photo = cube(Pose(ELEVATION, 0), 64)
    framed = cut_out(straight_colours(photo[None])[0].movedim(0, -1).numpy(), photo[3].numpy()).framed(64)
    return extrusion(framed, ELEVATION)


def write(path: Path, rgba: torch.Tensor) -> None:
    both = torch.cat([straight_colours(rgba[None])[0], rgba[3:]])
    Image.fromarray(np.rint(both.movedim(0, -1).numpy() * 255).astype(np.uint8)).save(path)


@pytest.fixture
def truth(tmp_path: Path, lifted: TexturedMesh) -> Path:
    """The same object, smaller, moved aside and turned by 30 degrees, before cameras of another lens."""
    folder = tmp_path / "cube"
    folder.mkdir()
    turn = np.radians(30)
    around = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    axes = Pose(ELEVATION, 30.0).camera(1).c2w
    moved = SIZE * lifted.v @ around.T + 0.03 * axes[:3, 0] - 0.02 * axes[:3, 1]
    draw = camera_drawer(replace(lifted, v=moved.astype(np.float32)))
    for elevation, azimuth in DIRECTIONS:
        camera = orbit(elevation, azimuth, RADIUS, fovy_deg=FOVY, height=SIDE, width=SIDE)
        write(folder / f"{elevation}_{azimuth}.png", draw(camera))
    (folder / CAMERAS).write_text(json.dumps({"radius": RADIUS, "fovy": FOVY}))
    return folder


@pytest.fixture(scope="module")
def lpips() -> LPIPS:
    return LPIPS.shipped()


def test_the_truth_s_cameras_are_found_again(truth: Path, lifted: TexturedMesh, lpips: LPIPS) -> None:
    """The size and place of the object in the photo, and the angle that it was taken from, are undone."""
    renders = read_renders(truth)
    scale, _ = alignment(renders.picture("-20_30.png"), renders.places["-20_30.png"], ELEVATION)
    assert scale == pytest.approx(1 / SIZE, rel=0.03)
    found = against_renders(lifted, renders, "-20_30.png", lpips)
    assert found.views == 4
    assert found.mean.iou > 0.93
    assert found.mean.psnr > 20
    assert found.behind_psnr is not None
    smaller = replace(lifted, v=lifted.v * np.float32(0.8))
    assert against_renders(smaller, renders, "-20_30.png", lpips).mean.iou < found.mean.iou - 0.2
    turned = against_renders(lifted, renders, "10_210.png", lpips)  # lifted from elsewhere: all is turned
    assert turned.mean.psnr < found.mean.psnr - 3


def test_the_alignment_is_that_of_the_frame(truth: Path) -> None:
    """By the frame of lifts itself: the middle of the photo's box comes to the middle, its longer side to 0.8."""
    renders = read_renders(truth)
    photo, place = renders.picture("-20_30.png"), renders.places["-20_30.png"]
    scale, target = alignment(photo, place, ELEVATION)
    camera = orbit(ELEVATION, 0, scale * RADIUS, target=target, fovy_deg=FOVY, height=SIDE, width=SIDE)
    points = np.array([[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]]) @ camera.c2w[:3, :3].T  # of the plane that faces it
    seen, _ = camera.project(points)  # where they are in the photo
    framed_at, _ = Pose(ELEVATION, 0).camera(SIDE).project(points)  # and in the frame
    rows, columns = (np.flatnonzero((photo[3] > 0.05).any(axis).numpy()) for axis in (1, 0))
    middle = np.array([columns[0] + columns[-1] + 1, rows[0] + rows[-1] + 1]) / 2
    longest = max(len(rows), len(columns))
    np.testing.assert_allclose((seen - middle) * 0.8 * SIDE / longest + SIDE / 2, framed_at, atol=0.05)


def test_conventions_of_others(truth: Path) -> None:
    plain = read_renders(truth).places["60_30.png"]
    assert (plain.elevation, plain.azimuth) == (60, 30)
    told = {"radius": 2, "fovy": 30, "above": "positive", "turn": "left",
            "pictures": {"60_30.png": {"elevation": 20, "azimuth": 5, "radius": 3}}}  # fmt: skip
    (truth / CAMERAS).write_text(json.dumps(told))
    place = read_renders(truth).places["60_30.png"]
    assert (place.elevation, place.azimuth, place.radius, place.fovy) == (-20, -5, 3, 30)
    assert read_renders(truth).places["0_300.png"].azimuth == -300


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        ([], r"cameras\.json: keys and values are wanted, not list"),
        ({"fovy": 40}, r"cameras\.json: radius is missing for -20_120\.png"),
        ({"radius": 2}, "fovy is missing"),
        ({"radius": "far", "fovy": 40}, r"radius of .*\.png is a number, not 'far'"),
        ({"radius": -1, "fovy": 40}, r"radius -1.*a positive radius"),
        ({"radius": 2, "fovy": 200}, "fovy 200"),
        ({"radius": 2, "fov": 40}, "the key 'fov' is not known"),
        ({"radius": 2, "fovy": 40, "above": "up"}, "above is negative or positive, not 'up'"),
        ({"radius": 2, "fovy": 40, "pictures": {"1_1.png": {}}}, r"1_1\.png is not in"),
        ({"radius": 2, "fovy": 40, "pictures": {"0_300.png": {"azimut": 1}}}, r"0_300\.png: the key 'azimut'"),
        ({"radius": 2, "fovy": 40, "pictures": {"0_300.png": {"elevation": 99}}}, r"0_300\.png has elevation 99"),
    ],
)
def test_cameras_that_are_none_are_refused(truth: Path, cameras: Any, message: str) -> None:
    (truth / CAMERAS).write_text(json.dumps(cameras))
    with pytest.raises(DataError, match=message):
        read_renders(truth)


def test_folders_that_hold_no_renders_are_refused(truth: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        read_renders(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"has no cameras\.json"):
        read_renders(tmp_path)
    (tmp_path / CAMERAS).write_text('{"radius": 2, "fovy": 40}')
    with pytest.raises(DataError, match="holds no picture"):
        read_renders(tmp_path)
    (truth / CAMERAS).write_text("{")
    with pytest.raises(DataError, match=r"cameras\.json"):
        read_renders(truth)
    (truth / CAMERAS).write_text('{"radius": 2, "fovy": 40}')
    (truth / "front.png").write_bytes((truth / "0_300.png").read_bytes())
    with pytest.raises(DataError, match=r"front\.png: a render is named <elevation>_<azimuth>\.png"):
        read_renders(truth)


def test_pictures_that_cannot_be_compared_are_named(truth: Path, lifted: TexturedMesh, lpips: LPIPS) -> None:
    renders = read_renders(truth)
    with pytest.raises(DataError, match=r"holds no picture 1_1\.png \(there are -20_120\.png"):
        against_renders(lifted, renders, "1_1.png", lpips)
    for picture, message in [
        (Image.new("RGBA", (40, 30), (9, 9, 9, 9)), "40 x 30 pixels: a render is square"),
        (Image.new("RGB", (40, 40)), "no transparency"),
        (Image.new("RGBA", (40, 40)), "shows nothing"),
    ]:
        picture.save(truth / "0_300.png")
        with pytest.raises(DataError, match=rf"0_300\.png.*{message}"):
            against_renders(lifted, renders, "-20_30.png", lpips)
    alone = replace(renders, places={"-20_30.png": renders.places["-20_30.png"]})
    with pytest.raises(DataError, match="no picture from another side"):
        against_renders(lifted, alone, "-20_30.png", lpips)


def test_without_pictures_from_behind_nothing_is_said_of_it(truth: Path, lifted: TexturedMesh, lpips: LPIPS) -> None:
    renders = read_renders(truth)
    near = replace(renders, places={name: renders.places[name] for name in ("-20_30.png", "60_30.png")})
    found = against_renders(lifted, near, "-20_30.png", lpips, side=64)
    assert (found.behind_psnr, found.janus, found.views) == (None, None, 1)


def test_a_run_is_measured(truth: Path, lifted: TexturedMesh, lpips: LPIPS, tmp_path: Path) -> None:
    config = LiftConfig.model_validate(
        {"photo": str(truth / "-20_30.png"), "guidance": "none", "preset": "test", "elevation": ELEVATION}
    )
    run = RunDirectory.create(tmp_path / "run", dump(config))
    write_mesh(run.path / "mesh.glb", lifted)
    write_ply(run.path / "cloud.ply", ball(50, seed=0))
    with pytest.raises(RunError, match="not complete"):
        measured(run.path, truth)
    run.write_result({"kind": "lift", "elevation": ELEVATION})
    found = measured(run.path, truth, side=48)
    assert found["mesh"]["iou"] > 0.9 > found["cloud"]["iou"]  # type: ignore[operator]
    assert found["mesh"]["views"] == 4
    (truth / "-20_30.png").rename(truth / "-20.0_30.png")
    with pytest.raises(DataError, match=r"holds no picture -20_30\.png.*--photo"):
        measured(run.path, truth)
    assert measured(run.path, truth, photo="-20.0_30.png", side=48) == found
    other = RunDirectory.create(tmp_path / "other", {"kind": "splat"})
    with pytest.raises(RunError, match="kind splat"):
        measured(other.path, truth)
