"""An asset against pictures of its object from known cameras: folders of renders of GSO or OmniObject3D objects.

    <object>/
      cameras.json                   where the cameras stand
      <elevation>_<azimuth>.png      with transparency, square; degrees, as in -20_45.png
      ...

`cameras.json` holds

    radius    distance of the cameras to the origin, world units
    fovy      vertical field of view, degrees
    above     "negative" (default) or "positive": the sign of an elevation that looks down
    turn      "right" (default): azimuths grow as the camera goes to the side at the right of the photo; or "left"
    pictures  {"-20_45.png": {"elevation", "azimuth", "radius", "fovy"}}: what differs, for single pictures

What was lifted is one of the pictures. A lift brings its photo to a frame of its own (object centred, 0.8 of the side,
camera at radius 2, 49.1 degrees), so the truth's cameras are brought there too. With the box of the object in the
photo, h of H pixels on its longer side, centre (c_x, c_y) in halves of the picture's side (right, up),

    g = 0.8 H / h,  s = g * 2 tan(49.1 / 2) / (radius tan(fovy / 2)),  b = -2 tan(49.1 / 2) g (c_x right + c_y up)

a point x of the truth is s x + b in the lift's world: exact in the plane through the origin that faces the photo's
camera, a shift and a scale elsewhere. A camera of the truth at radius r so looks at b from s r away.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.core.config import build
from sensorium.core.errors import DataError, RunError
from sensorium.core.files import read_json
from sensorium.core.rundir import RunDirectory
from sensorium.encoders.lpips import LPIPS
from sensorium.lifting.camera import FOVY, RADIUS, STEEPEST, Camera, orbit
from sensorium.lifting.contrastive.term import perceptual
from sensorium.lifting.files.meshes import read_mesh
from sensorium.lifting.files.ply import read_ply
from sensorium.lifting.generation.config import LiftConfig
from sensorium.lifting.generation.measures import NovelMeasures, against_truth, camera_drawer
from sensorium.lifting.guidance.base import Pose, at_side
from sensorium.lifting.photo.cutout import FILL, INSIDE, repaired
from sensorium.lifting.views import Asset
from sensorium.media.images import read_cutout

CAMERAS = "cameras.json"
KEYS = {"radius", "fovy", "above", "turn", "pictures"}
OWN_KEYS = {"elevation", "azimuth", "radius", "fovy"}
_NAME = re.compile(r"(-?\d+(?:\.\d+)?)_(-?\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Place:
    """Where a picture was taken from, in the conventions of this room.

    Attributes:
        elevation: Degrees, negative above.
        azimuth: Degrees, growing to the right of the photo.
        radius: Distance to the origin, world units.
        fovy: Vertical field of view, degrees.
    """

    elevation: float
    azimuth: float
    radius: float
    fovy: float


@dataclass(frozen=True)
class Renders:
    """An object's pictures.

    Attributes:
        folder: Where they lie; its name is the object's.
        places: By file name, in their order.
    """

    folder: Path
    places: dict[str, Place]

    def picture(self, name: str, side: int | None = None) -> Tensor:
        """Return a picture, premultiplied RGBA, float32 [4, side, side] in [0, 1].

        Args:
            name: Its file's.
            side: Pixels; None leaves it as it is.

        Raises:
            MediaError: It cannot be read.
            DataError: It is not square, has no transparency, or shows nothing; or there is none of that name.
        """
        if name not in self.places:
            raise DataError(f"{self.folder} holds no picture {name} (there are {', '.join(self.places)})")
        path = self.folder / name
        pixels = np.asarray(read_cutout(path)[0])
        if pixels.shape[0] != pixels.shape[1]:
            raise DataError(f"{path} is {pixels.shape[1]} x {pixels.shape[0]} pixels: a render is square")
        if (pixels[..., 3] == 255).all():
            raise DataError(f"{path} has no transparency: which pixels are the object's cannot be told")
        if not pixels[..., 3].any():
            raise DataError(f"{path} shows nothing: all of it is transparent")
        values = torch.from_numpy(pixels.astype(np.float32) / 255).movedim(-1, 0)
        rgba = torch.cat([values[:3] * values[3:], values[3:]])
        return rgba if side is None or side == rgba.shape[-1] else at_side(rgba[None], side)[0]


def read_renders(folder: str | Path) -> Renders:
    """Read where an object's pictures were taken from; pixels are read when they are needed.

    Args:
        folder: Of one object, see the module.

    Raises:
        DataError: There is no such folder, no cameras.json, no picture, a name that says no direction, or a number that
            no camera has; the message names the file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of renders")
    path = folder / CAMERAS
    if not path.is_file():
        raise DataError(f"{folder} has no {CAMERAS}, which says where its cameras stand (radius, fovy)")
    told = _mapping(read_json(path), str(path), KEYS)
    own = _mapping(told.get("pictures", {}), f"{path}: pictures", None)
    sign = {"negative": 1.0, "positive": -1.0}[_choice(path, told, "above", ("negative", "positive"))]
    turn = {"right": 1.0, "left": -1.0}[_choice(path, told, "turn", ("right", "left"))]
    places = {}
    for file in sorted(folder.glob("*.png")):
        named = _NAME.fullmatch(file.stem)
        mine = _mapping(own.get(file.name, {}), f"{path}: pictures: {file.name}", OWN_KEYS)
        if named is None and not {"elevation", "azimuth"} <= set(mine):
            raise DataError(f"{file}: a render is named <elevation>_<azimuth>.png, for example -20_45.png")
        said = dict(zip(("elevation", "azimuth"), map(float, named.groups()), strict=True)) if named else {}
        values = {**{key: told[key] for key in ("radius", "fovy") if key in told}, **said, **mine}
        places[file.name] = _place(path, file.name, values, sign, turn)
    if strangers := sorted(set(own) - set(places)):
        raise DataError(f"{path}: pictures: {strangers[0]} is not in {folder}")
    if not places:
        raise DataError(f"{folder} holds no picture (*.png)")
    return Renders(folder, places)


def against_renders(
    asset: Asset, renders: Renders, photo: str, lpips: LPIPS, *, side: int | None = None, elevation: float | None = None
) -> NovelMeasures:
    """Compare an asset with an object's pictures from all sides but the photo's.

    Args:
        asset: The lift, of a mesh or a cloud, as this room makes it.
        renders: The truth.
        photo: The name of the picture that was lifted.
        lpips: The perceptual distance.
        side: Pixels along the pictures that are compared; None: as many as the photo has.
        elevation: What the lift was told of the photo's camera, degrees, where that is not the truth's: a lift that was
            tilted for it is judged as it is.

    Returns:
        Likeness on white: PSNR in dB, SSIM, LPIPS, IoU of the masks; `behind_psnr` and `janus` are None where no
        picture was taken from more than 90 degrees away.

    Raises:
        DataError: There is no picture of that name, or none beside it.
        MediaError: A picture cannot be read.
    """
    reference = renders.picture(photo)
    side = reference.shape[-1] if side is None else side
    front = renders.places[photo]
    told = front.elevation if elevation is None else elevation
    scale, target = alignment(reference, front, told)
    names: dict[Pose, str] = {}
    for name, place in renders.places.items():
        turned = (place.azimuth - front.azimuth + 180) % 360 - 180
        names.setdefault(Pose(place.elevation - front.elevation + told, turned, place.radius), name)
    photo_pose = Pose(told, 0.0)
    poses = [pose for pose in names if pose.angle_to(photo_pose) > 1]
    if not poses:
        raise DataError(f"{renders.folder} holds no picture from another side than {photo}: there is no truth to meet")
    draw = camera_drawer(asset)

    def camera(pose: Pose, pixels: int) -> Camera:
        return orbit(
            float(np.clip(pose.elevation, -STEEPEST, STEEPEST)),
            pose.azimuth,
            scale * pose.radius,
            target=target,
            fovy_deg=renders.places[names[pose]].fovy,
            height=pixels,
            width=pixels,
            near=0.05 * scale * pose.radius,
        )

    def truth(pose: Pose, pixels: int) -> Tensor:
        return renders.picture(photo if pose == photo_pose else names[pose], pixels)

    return against_truth(lambda pose, pixels: draw(camera(pose, pixels)), truth, told, lpips, side=side, poses=poses)


def alignment(reference: Tensor, front: Place, elevation: float) -> tuple[float, tuple[float, float, float]]:
    """Return s and b, which bring the truth's world to the lift's; see the module.

    Args:
        reference: The photo, premultiplied RGBA [4, H, H].
        front: Of its camera.
        elevation: That the lift was told, degrees.
    """
    covered = repaired(reference[3].numpy()) > INSIDE  # as the photo was cut out
    rows, columns = (np.flatnonzero(covered.any(axis)) for axis in (1, 0))
    side = len(covered)
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    grown = FILL * side / max(bottom - top, right - left)
    across, upwards = (left + right) / side - 1, 1 - (top + bottom) / side
    reach = RADIUS * math.tan(math.radians(FOVY) / 2)
    scale = grown * reach / (front.radius * math.tan(math.radians(front.fovy) / 2))
    axes = Pose(elevation, 0.0).camera(1).c2w
    x, y, z = (-reach * grown * (across * axes[:3, 0] + upwards * axes[:3, 1])).tolist()
    return float(scale), (x, y, z)


def measured(
    path: str | Path, folder: str | Path, *, photo: str | None = None, side: int | None = None
) -> dict[str, dict[str, float | None]]:
    """Compare what a complete lift made with pictures of its object.

    Args:
        path: The run's folder.
        folder: Of the object's pictures, see the module.
        photo: The name of the picture that was lifted; None: that of the run's photo.
        side: Pixels along the pictures that are compared; None: as many as they have.

    Returns:
        `mesh` and `cloud`, each by name: psnr (dB), ssim, lpips, iou, behind_psnr (dB), janus, views.

    Raises:
        RunError: The folder holds no complete lift.
        DataError: The pictures are not as they should be, or the run's photo is none of them.
    """
    run = RunDirectory.open(path)
    result = run.result
    if run.kind != "lift" or result is None:
        what = f"a run of kind {run.kind}" if run.kind != "lift" else "a lift that is not complete"
        raise RunError(f"{path} holds {what}: a complete lift is measured")
    config = build(LiftConfig, run.config, source=str(run.path / "config.yaml"))
    renders = read_renders(folder)
    name = Path(str(run.config["photo"])).name if photo is None else photo
    if name not in renders.places:
        raise DataError(
            f"{folder} holds no picture {name}, which is what {path} lifted: say which of them it was "
            f"(--photo; there are {', '.join(renders.places)})"
        )
    lpips = perceptual(config.lpips, wanted=config.lpips_net)[0]
    assets: dict[str, Asset] = {
        "mesh": read_mesh(run.path / f"mesh.{config.output.mesh}"),
        "cloud": read_ply(run.path / "cloud.ply"),
    }
    elevation = float(result["elevation"])
    return {
        kind: against_renders(asset, renders, name, lpips, side=side, elevation=elevation).as_dict()
        for kind, asset in assets.items()
    }


# --- cameras.json ---------------------------------------------------------------------------------------------------


def _mapping(value: Any, where: str, keys: set[str] | None) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: keys and values are wanted, not {type(value).__name__}")
    if keys is not None and (strange := sorted(set(value) - keys)):
        raise DataError(f"{where}: the key '{strange[0]}' is not known (known: {', '.join(sorted(keys))})")
    return value


def _choice(path: Path, told: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    value = told.get(key, known[0])
    if value not in known:
        raise DataError(f"{path}: {key} is {' or '.join(known)}, not {value!r}")
    return str(value)


def _place(path: Path, name: str, values: Mapping[str, Any], sign: float, turn: float) -> Place:
    for key in ("elevation", "azimuth", "radius", "fovy"):
        if key not in values:
            raise DataError(f"{path}: {key} is missing for {name}")
        value = values[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DataError(f"{path}: {key} of {name} is a number, not {value!r}")
    if abs(values["elevation"]) > 90 or values["radius"] <= 0 or not 0 < values["fovy"] < 180:
        raise DataError(
            f"{path}: {name} has elevation {values['elevation']:g}, radius {values['radius']:g} and fovy "
            f"{values['fovy']:g}; wanted are at most 90 degrees, a positive radius, and 0 < fovy < 180"
        )
    elevation, azimuth, radius, fovy = (float(values[key]) for key in ("elevation", "azimuth", "radius", "fovy"))
    return Place(sign * elevation, turn * azimuth, radius, fovy)
