"""Turntables: an object seen from all around, as an MP4 film or a GIF picture."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from sensorium.core.errors import ConfigError
from sensorium.core.files import write_bytes
from sensorium.core.progress import track
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.meshrender import render_mesh
from sensorium.lifting.rasterisers import WHITE
from sensorium.lifting.views import Asset, Frame, frame, ring, splat
from sensorium.media.video import write_video

FRAMES, RATE, SIZE = 120, 30, 512
GIF_FRAMES, GIF_SIZE = 60, 256
GIF_COLOURS = 255  # of 256: one stays free for the writer
SUFFIXES = (".mp4", ".gif")

Pixels = npt.NDArray[np.uint8]


def picture(asset: Asset, elevation: float, azimuth: float, *, size: int, around: Frame | None = None) -> Pixels:
    """Return a picture of an asset on white, uint8 [size, size, 3].

    Args:
        asset: A cloud or a textured mesh.
        elevation: Degrees; negative is above.
        azimuth: Degrees, from +z to +x.
        size: Pixels along both sides.
        around: Its frame, where that is known already.
    """
    camera = (around or frame(asset)).camera(elevation, azimuth, size=size)
    if isinstance(asset, GaussianCloud):
        rgb: Tensor = splat(asset, camera, background=WHITE)[0]
    else:
        rgb = render_mesh(asset, camera, background=WHITE).rgb
    pixels: Pixels = np.rint(rgb.detach().clamp(0, 1).cpu().numpy() * 255).astype(np.uint8)
    return pixels


def turn(asset: Asset, *, frames: int, size: int, elevation: float = 0.0) -> Iterator[Pixels]:
    """Yield pictures of one turn, azimuth growing from 0, each uint8 [size, size, 3]."""
    around = frame(asset)
    for azimuth in track(ring(frames), label="turntable"):
        yield picture(asset, elevation, azimuth, size=size, around=around)


def write_turntable(
    path: str | Path, asset: Asset, *, frames: int | None = None, size: int | None = None, elevation: float = 0.0
) -> None:
    """Write a turn of an asset as MP4 (120 frames at 30 a second, 512 pixels) or GIF (60 frames, 256 pixels).

    Args:
        path: The file; its suffix decides.
        asset: A cloud or a textured mesh.
        frames: Pictures of one turn; at most 60 in a GIF.
        size: Pixels along both sides; at most 256 in a GIF.
        elevation: Degrees; negative is above.

    Raises:
        ConfigError: Another suffix, or a number out of its range.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise ConfigError(f"{path}: a turntable is written as {' or '.join(SUFFIXES)}")
    gif = kind == ".gif"
    frames = (GIF_FRAMES if gif else FRAMES) if frames is None else frames
    size = (GIF_SIZE if gif else SIZE) if size is None else size
    if frames < 2 or size < 16 or (gif and (frames > GIF_FRAMES or size > GIF_SIZE)):
        most = f", and at most {GIF_FRAMES} frames of {GIF_SIZE} pixels in a GIF" if gif else ""
        raise ConfigError(f"{frames} frames of {size} pixels: a turntable has at least 2 frames of 16 pixels{most}")
    pictures = turn(asset, frames=frames, size=size, elevation=elevation)
    if gif:
        write_bytes(path, gif_bytes(list(pictures)))
    else:
        write_video(path, pictures, RATE)


def gif_bytes(pictures: Sequence[Pixels], *, seconds: float = 4.0) -> bytes:
    """Return pictures as an endless GIF with one palette for all of them, so that colours don't flicker.

    Args:
        pictures: uint8 [H, W, 3] each, of one size.
        seconds: Of one round.
    """
    # The palette is chosen on all pictures at once, as one tall picture of every third row.
    sample = Image.fromarray(np.concatenate([pixels[::3] for pixels in pictures]))
    palette = sample.quantize(GIF_COLOURS, method=Image.Quantize.MEDIANCUT)
    # Without dithering, a still place keeps its pixels from frame to frame.
    indexed = [Image.fromarray(pixels).quantize(palette=palette, dither=Image.Dither.NONE) for pixels in pictures]
    stream = io.BytesIO()
    indexed[0].save(
        stream,
        format="GIF",
        save_all=True,
        append_images=indexed[1:],
        palette=bytes(palette.getpalette() or []),  # given, it is written once; else with every picture
        duration=round(1000 * seconds / len(pictures) / 10) * 10,  # GIF counts in hundredths
        loop=0,
        optimize=False,
    )
    return stream.getvalue()
