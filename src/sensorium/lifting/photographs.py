"""A folder of photographs of one object: what a fit to known views is made of.

Each file is named by where its camera stood, `<elevation>_<azimuth>.png` in degrees as `camera.orbit` counts them
(`-30_0.png` looks down from the front), on white or with transparency, which is laid on white.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from sensorium.core.errors import DataError
from sensorium.lifting.camera import FOVY, RADIUS, orbit
from sensorium.lifting.fitting import View
from sensorium.media.images import read_image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_NAME = re.compile(r"(-?\d+(?:\.\d+)?)_(-?\d+(?:\.\d+)?)")


def read_photographs(
    folder: str | Path, *, side: int | None = None, radius: float = RADIUS, fovy_deg: float = FOVY
) -> dict[str, View]:
    """Read every photograph of a folder.

    Args:
        folder: Where they lie.
        side: The longer side that they are brought to, pixels; None leaves them as they are.
        radius: Distance of the cameras to the object's middle, world units.
        fovy_deg: Vertical field of view, degrees.

    Returns:
        Views by file name, in the order of names.

    Raises:
        DataError: There is no such folder, no photograph in it, or one whose name says no direction.
        MediaError: A file cannot be read as a picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of photographs")
    found = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES):
        named = _NAME.fullmatch(path.stem)
        if named is None:
            raise DataError(f"{path}: a photograph is named <elevation>_<azimuth>, for example -30_45{path.suffix}")
        picture = _sized(read_image(path), side)
        elevation, azimuth = map(float, named.groups())
        camera = orbit(elevation, azimuth, radius, fovy_deg=fovy_deg, height=picture.height, width=picture.width)
        found[path.name] = View(camera, (np.asarray(picture) / 255).astype(np.float32))
    if not found:
        raise DataError(f"{folder} holds no photograph ({', '.join(SUFFIXES)})")
    return found


def _sized(picture: Image.Image, side: int | None) -> Image.Image:
    if side is None or side == max(picture.size):
        return picture
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)
