"""Pictures to float32 [3, H, W]: upright RGB, one of three geometries, divided by 255, mean and standard deviation.

    pad     fit the whole picture inside, centred on white
    squash  stretch it to the size, whatever its shape
    crop    make it a little larger than the size (its side / .875) and take the middle

Resizing is antialiased, and no side becomes less than one pixel. A picture is decoded by `media.images`: alpha on
white, the first frame of an animation, camera orientation, 16-bit grey by its own range.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from sensorium.core.errors import DataError
from sensorium.encoders.protocol import Prepared
from sensorium.media.images import read_image

VERSION = 1  # changes when the same picture would give other numbers; part of every key
Geometry = Literal["pad", "squash", "crop"]
Interpolation = Literal["bicubic", "bilinear", "lanczos", "box", "nearest"]

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}


class ImagePreparer:
    """Prepare one picture.

    Attributes:
        facts: What enters the key: size, geometry, mean, std, interpolation.
        size: Height and width in pixels.
    """

    def __init__(
        self,
        size: tuple[int, int] = (224, 224),
        geometry: Geometry = "pad",
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        interpolation: Interpolation = "bicubic",
        crop_share: float = 0.875,
    ) -> None:
        """Say what becomes of a picture.

        Args:
            size: Height and width of the result.
            geometry: See the module.
            mean: Of red, green, blue, in 0..1.
            std: Likewise, positive.
            interpolation: How it is resized.
            crop_share: Of "crop": which share of the resized shorter side is taken.

        Raises:
            DataError: A value that is impossible.
        """
        if min(size) < 1 or geometry not in get_args(Geometry) or interpolation not in _FILTERS:
            raise DataError(f"pictures cannot be prepared as {size}, {geometry}, {interpolation}")
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0 or not 0 < crop_share <= 1:
            raise DataError(f"pictures cannot be normalised with mean {mean}, std {std}, crop {crop_share}")
        self.size, self.geometry, self.interpolation = (int(size[0]), int(size[1])), geometry, interpolation
        self.crop_share = float(crop_share)
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        self.facts: dict[str, Any] = {
            "kind": "image",
            "version": VERSION,
            "size": list(self.size),
            "geometry": geometry,
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": interpolation,
            **({"crop_share": self.crop_share} if geometry == "crop" else {}),
        }

    def __call__(self, raw: str | bytes | Path) -> Prepared:
        """Decode and prepare a picture.

        Args:
            raw: Its file, or the bytes of it.

        Returns:
            `pixels`, float32 [3, H, W].

        Raises:
            MediaError: See `media.images.read_image`.
        """
        return Prepared({"pixels": self.normalised(self.fitted(read_image(raw)))}, length=1)

    def fitted(self, picture: Image.Image) -> npt.NDArray[np.uint8]:
        """Bring an RGB picture to the size: uint8 [H, W, 3]."""
        height, width = self.size
        kind = _FILTERS[self.interpolation]
        if self.geometry == "squash":
            return np.asarray(picture.resize((width, height), kind))
        across, down = width / picture.width, height / picture.height
        if self.geometry == "pad":
            scale = min(across, down)
            new = _at_least_one(picture, scale, limit=(width, height))
            canvas = Image.new("RGB", (width, height), "white")
            canvas.paste(picture.resize(new, kind), ((width - new[0]) // 2, (height - new[1]) // 2))
            return np.asarray(canvas)
        # The window is cut out of the original first: a strip of 1 x 4000 is never blown up to its full length.
        scale = max(across, down) / self.crop_share
        wide, high = width / scale, height / scale
        left, top = (picture.width - wide) / 2, (picture.height - high) / 2
        return np.asarray(picture.resize((width, height), kind, box=(left, top, left + wide, top + high)))

    def normalised(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (x / 255 - mean) / std with the channels in front: float32 [3, H, W] of uint8 [H, W, 3]."""
        scale = (1 / (255 * np.asarray(self.std))).astype(np.float32)
        shift = (np.asarray(self.mean) / np.asarray(self.std)).astype(np.float32)
        return np.ascontiguousarray((pixels.astype(np.float32) * scale - shift).transpose(2, 0, 1))


def _at_least_one(picture: Image.Image, scale: float, limit: tuple[int, int]) -> tuple[int, int]:
    """Return the scaled width and height, each from one pixel to the limit."""
    wide = min(max(1, round(picture.width * scale)), limit[0])
    high = min(max(1, round(picture.height * scale)), limit[1])
    return wide, high
