"""Which frames the metric judge looks at: by time stamp, at most 10 a second, at most 48.

FETV's clips run at 10 frames a second. In a container of a higher rate the same pictures stand several times, and would
read as stillness; a clip that is longer than 4.8 seconds is judged by its beginning, since thinner frames would read as
faster movement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sensorium.media.video import Frame, Pixels, iterate_frames

RATE = 10.0
MOST = 48
MARGIN = 0.04  # of each side: watermarks and what moves in and out


def look(path: str | Path, fps: float | None = None) -> Iterator[Frame]:
    """Yield the frames that are looked at, in their own size.

    Args:
        path: The file.
        fps: Rate to be believed instead of the file's time stamps.

    Raises:
        MediaError: The file cannot be used.
    """
    last, kept = -1, 0
    for frame in iterate_frames(path):
        seconds = frame.index / fps if fps else frame.seconds
        place = int(seconds * RATE + 1e-3)
        if place > last:
            yield frame
            last, kept = place, kept + 1
        if kept == MOST:
            return


@dataclass(frozen=True)
class Crop:
    """The part of a picture that shows something: bars of one colour are cut off."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, pixels: Pixels) -> Pixels:
        """Return that part of a picture."""
        return pixels[self.top : self.bottom, self.left : self.right]


def without_bars(grey: list[npt.NDArray[np.uint8]]) -> Crop:
    """Return what is left when rows and columns at the edges go that have one brightness in all frames.

    Nothing is cut where less than half of the height or width would be left: that is a dark picture, not a bar.

    Args:
        grey: Frames of one size, uint8 [height, width].
    """
    stack = np.stack(grey).astype(np.int16)
    low, high = stack.min(axis=0), stack.max(axis=0)
    rows = _inner(high.max(axis=1) - low.min(axis=1))
    columns = _inner(high.max(axis=0) - low.min(axis=0))
    height, width = low.shape
    if rows[1] - rows[0] < height / 2 or columns[1] - columns[0] < width / 2:
        return Crop(0, height, 0, width)
    return Crop(*rows, *columns)


def _inner(spread: npt.NDArray[np.int16]) -> tuple[int, int]:
    """Return where the lines begin and end that vary by more than noise of coding."""
    varied = np.flatnonzero(spread > 12)
    return (int(varied[0]), int(varied[-1]) + 1) if len(varied) else (0, 0)


def inner_part(height: int, width: int) -> tuple[slice, slice]:
    """Return rows and columns without the margin."""
    rows, columns = round(MARGIN * height), round(MARGIN * width)
    return slice(rows, height - rows), slice(columns, width - columns)
