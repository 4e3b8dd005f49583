"""Frames inside a page: small JPEG files as data."""

from __future__ import annotations

import base64

from markupsafe import Markup
from PIL import Image

from sensorium.media.images import encode_image
from sensorium.media.video import Pixels

QUALITY = 72


def embedded(pixels: Pixels, *, description: str) -> Markup:
    """Return a frame, uint8 [height, width, 3], as an inline picture.

    Args:
        pixels: The frame.
        description: What it is, for those who cannot see it; it is escaped.
    """
    data = base64.b64encode(encode_image(Image.fromarray(pixels), "JPEG", quality=QUALITY)).decode("ascii")
    height, width = pixels.shape[:2]
    return Markup('<img src="data:image/jpeg;base64,{}" alt="{}" width="{}" height="{}">').format(
        data, description, width, height
    )
