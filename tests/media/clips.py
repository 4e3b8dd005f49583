"""Small videos for the tests of several rooms."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from sensorium.media.video import Pixels


def grey(level: int, *, frames: int = 16, height: int = 32, width: int = 48) -> list[Pixels]:
    """Frames of one brightness."""
    return [np.full((height, width, 3), level, np.uint8) for _ in range(frames)]


def write_variable_rate(path: Path, seconds: Sequence[float], level: int = 100) -> Path:
    """A file whose frames have these time stamps."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for place, moment in enumerate(seconds):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), level + place, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(moment * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn(path: Path, degrees: int) -> None:
    """Write a rotation into the track header of an MP4 file: players turn it clockwise by so many degrees."""
    matrices = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
    a, b, c, d = (value * 0x10000 for value in matrices[degrees])
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd") + 4
    place = header + 4 + 20 + 8 + 8  # version and flags, times and ids, reserved, layer to volume
    values = (a, b, 0, c, d, 0, 0, 0, 0x40000000)
    for number, value in enumerate(values):
        content[place + 4 * number : place + 4 * number + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(content)
