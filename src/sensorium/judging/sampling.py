"""Which frames a judge is shown: exact rules over time stamps, and the pictures that they give.

`HalfSecond` is the released rule made safe: with n frames at f per second, skip = max(1, int(f / 2)); the frames 1,
1 + skip, ... while below n - 1, and then the last one. (Released, a skip of 0 for f < 2 never ends.)

`Grid` is for change over time: 8 frames a second, side by side in strips of 8. A last strip that is not full is
filled up with grey, and its header says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from sensorium.core.files import sha256_file
from sensorium.judging.cells import VideoCell
from sensorium.judging.judges.base import Clip, Picture, pixels_digest
from sensorium.media.images import encode_image
from sensorium.media.video import Choice, Frames, Pixels, probe, read_frames, resized

SamplerName = Literal["half-second", "grid"]

GRID_RATE, STRIP = 8.0, 8
GREY = 128


@dataclass(frozen=True)
class Sampling:
    """How pictures are taken from a video; it is part of a judge's id.

    Attributes:
        sampler: The rule.
        max_pictures: Most frames (or strips) of one video; more are thinned evenly, first and last kept.
        long_side: Pixels of a frame's longer side; larger frames are made smaller.
        quality: Of the JPEG encoding.
    """

    sampler: SamplerName = "half-second"
    max_pictures: int = 32
    long_side: int = 768
    quality: int = 90

    @property
    def choice(self) -> Choice:
        """The rule, as `read_frames` asks it."""
        return HalfSecond(self.max_pictures) if self.sampler == "half-second" else Grid(self.max_pictures * STRIP)

    @property
    def name(self) -> str:
        """How judges' ids and notes name it."""
        return f"{self.sampler}-{self.max_pictures}-{self.long_side}px"


@dataclass(frozen=True)
class HalfSecond:
    """About two frames a second, the last one among them."""

    max_frames: int = 32

    def __call__(self, seconds: npt.NDArray[np.float64], fps: float) -> list[int]:
        """Return the indices of the chosen frames."""
        return thin(half_second_indices(len(seconds), fps), self.max_frames)


@dataclass(frozen=True)
class Grid:
    """Eight frames a second, by time stamp."""

    max_frames: int = 256

    def __call__(self, seconds: npt.NDArray[np.float64], fps: float) -> list[int]:
        """Return the indices of the chosen frames: those that are on show at 0, 1/8, 2/8, ... seconds."""
        return thin(indices_at_rate(seconds, GRID_RATE), self.max_frames)


def half_second_indices(frames: int, fps: float) -> list[int]:
    """Return 1, 1 + skip, ... below the last frame, and the last frame; ascending, each once."""
    last = frames - 1
    skip = max(1, int(fps / 2))
    return [*range(1, last, skip), last]


def indices_at_rate(seconds: npt.NDArray[np.float64], rate: float) -> list[int]:
    """Return the frames that are on show at 0, 1/rate, 2/rate, ... seconds, each once."""
    moments = np.arange(int(seconds[-1] * rate + 1e-6) + 1) / rate
    shown = np.searchsorted(seconds, moments + 1e-6, side="right") - 1
    return [int(index) for index in np.unique(shown)]


def thin(indices: Sequence[int], most: int) -> list[int]:
    """Return at most so many of the indices, evenly spread, first and last kept (of one, the first)."""
    if len(indices) <= most:
        return list(indices)
    places = np.unique(np.rint(np.linspace(0, len(indices) - 1, most)).astype(int))
    return [indices[place] for place in places]


@dataclass(frozen=True)
class Shown:
    """What a judge may be shown of one video.

    Attributes:
        cell: The video.
        pictures: Its frames, or its strips, in order.
        indices: The frames that they show.
        clip: The whole file, for judges that take one; None for the others.
        notes: What a record must say: `cut_short`, `thinned`, `padded`.
    """

    cell: VideoCell
    pictures: tuple[Picture, ...]
    indices: tuple[int, ...]
    clip: Clip | None = None
    notes: tuple[tuple[str, str], ...] = ()

    def thinned(self, most: int) -> Shown:
        """Return this with at most so many pictures."""
        if len(self.pictures) <= most or self.clip is not None:
            return self
        kept = thin(range(len(self.pictures)), most)
        each = 1 if len(self.indices) == len(self.pictures) else STRIP  # frames of one picture
        frames = [frame for place in kept for frame in self.indices[place * each : (place + 1) * each]]
        note = ("thinned", f"{len(kept)} of {len(self.pictures)} pictures, the judge takes no more")
        return Shown(self.cell, tuple(self.pictures[place] for place in kept), tuple(frames), None, (*self.notes, note))


def take_pictures(cell: VideoCell, sampling: Sampling, whole_file: bool = False) -> Shown:
    """Read what a judge is shown of a video.

    Args:
        cell: The video.
        sampling: How frames are taken.
        whole_file: Whether the judge takes the file itself, beside the frames.

    Raises:
        MediaError: The file cannot be used.
    """
    frames = read_frames(cell.path, sampling.choice, long_side=sampling.long_side, fps=cell.fps)
    notes = {}
    if frames.cut_short:
        notes["cut_short"] = f"the file ends early: {frames.info.frames} frames could be read"
    pixels: Sequence[Pixels] = frames.pixels
    if sampling.sampler == "grid":
        pixels = strips(frames)
        if missing := -len(frames.pixels) % STRIP:
            notes["padded"] = f"the last strip ends with {missing} grey places"
    pictures = tuple(encode(picture, sampling.quality) for picture in pixels)
    clip = Clip(cell.path, sha256_file(cell.path)) if whole_file else None
    return Shown(cell, pictures, frames.indices, clip, tuple(notes.items()))


def strips(frames: Frames) -> list[Pixels]:
    """Return frames side by side in strips of eight, the last one filled up with grey."""
    empty = np.full_like(frames.pixels[0], GREY)
    padded = [*frames.pixels, *[empty] * (-len(frames.pixels) % STRIP)]
    return [np.concatenate(padded[start : start + STRIP], axis=1) for start in range(0, len(padded), STRIP)]


def encode(pixels: Pixels, quality: int) -> Picture:
    """Return a frame, uint8 [height, width, 3], as a part of a message."""
    height, width = pixels.shape[:2]
    jpeg = encode_image(Image.fromarray(pixels), "JPEG", quality=quality)
    return Picture(jpeg, pixels_digest(width, height, pixels.tobytes()), f"jpeg-{quality}", width, height)


@dataclass(frozen=True)
class Foretold:
    """What a video will be shown as, by its headers alone."""

    pictures: int
    width: int
    height: int


def foretell(cell: VideoCell, sampling: Sampling) -> Foretold:
    """Return how many pictures a video will give, and their size, without decoding it.

    Raises:
        MediaError: The file cannot be used.
    """
    info = probe(Path(cell.path))
    chosen = len(sampling.choice(info.seconds, cell.fps or info.fps))
    width, height = resized(info.width, info.height, sampling.long_side)
    if sampling.sampler == "grid":
        return Foretold(-(-chosen // STRIP), width * STRIP, height)
    return Foretold(chosen, width, height)
