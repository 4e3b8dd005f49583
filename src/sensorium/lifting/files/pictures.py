"""Textures as pictures: float in [0, 1] on this side, PNG bytes on the other."""

from __future__ import annotations

import numpy as np
from PIL import Image

from sensorium.lifting.mesh import Floats
from sensorium.media.images import encode_image


def to_image(albedo: Floats) -> Image.Image:
    """Return a texture as an 8-bit picture, each value rounded."""
    return Image.fromarray(np.rint(albedo * 255).astype(np.uint8))


def to_png(albedo: Floats) -> bytes:
    """Return a texture as the bytes of a PNG file."""
    return encode_image(to_image(albedo), "PNG")


def from_image(image: Image.Image) -> Floats:
    """Return a picture as a texture, float32 [H, W, 3]; transparency is laid aside."""
    albedo: Floats = np.asarray(image.convert("RGB"), dtype=np.float32) / np.float32(255)
    return albedo
