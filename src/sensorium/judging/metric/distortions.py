"""Clips spoiled in known ways: whatever a score means, a spoiled copy deserves a lower one than its original.

Static ones leave the order of frames alone, dynamic ones leave every frame as clean as it was. Frames are uint8
[height, width, 3] of the file's own size. The same seed and clip give the same copy.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from PIL import Image

from sensorium.core.seeds import numpy_generator
from sensorium.media.video import Pixels

Frames = Sequence[Pixels]
Draw = np.random.Generator


def blur(frames: Frames, draw: Draw) -> list[Pixels]:
    """Gaussian blur of 1.5 pixels."""
    return [np.asarray(cv2.GaussianBlur(frame, (0, 0), 1.5)) for frame in frames]


def noise(frames: Frames, draw: Draw) -> list[Pixels]:
    """Gaussian noise of 15 of 255, anew in each frame."""
    return [_bytes(frame + draw.normal(scale=15.0, size=frame.shape)) for frame in frames]


def jpeg(frames: Frames, draw: Draw) -> list[Pixels]:
    """JPEG of quality 8."""
    return [_through_jpeg(frame) for frame in frames]


def exposure(frames: Frames, draw: Draw) -> list[Pixels]:
    """Over-exposure by 1.9."""
    return [_bytes(frame * 1.9) for frame in frames]


def shuffle(frames: Frames, draw: Draw) -> list[Pixels]:
    """Frames in another order."""
    return [frames[place] for place in draw.permutation(len(frames))]


def flicker(frames: Frames, draw: Draw) -> list[Pixels]:
    """Each frame brighter or darker by up to a fifth."""
    return [_bytes(frame * gain) for frame, gain in zip(frames, draw.uniform(0.8, 1.2, len(frames)), strict=True)]


def jitter(frames: Frames, draw: Draw) -> list[Pixels]:
    """Each frame moved by up to 6 pixels in both directions."""
    moves = draw.integers(-6, 7, size=(len(frames), 2))
    return [_moved(frame, int(down), int(across)) for frame, (down, across) in zip(frames, moves, strict=True)]


def swap(frames: Frames, draw: Draw) -> list[Pixels]:
    """Every two neighbours in each other's place."""
    order = [place ^ 1 if place ^ 1 < len(frames) else place for place in range(len(frames))]
    return [frames[place] for place in order]


STATIC: Mapping[str, Callable[[Frames, Draw], list[Pixels]]] = {
    "blur": blur,
    "noise": noise,
    "jpeg": jpeg,
    "exposure": exposure,
}
DYNAMIC: Mapping[str, Callable[[Frames, Draw], list[Pixels]]] = {
    "shuffle": shuffle,
    "flicker": flicker,
    "jitter": jitter,
    "swap": swap,
}


def distort(kind: str, frames: Frames, *, seed: int, clip: str) -> list[Pixels]:
    """Return a spoiled copy of a clip.

    Args:
        kind: A name of `STATIC` or `DYNAMIC`.
        frames: The clip.
        seed: Of the draws.
        clip: The clip's name: each has draws of its own.
    """
    return {**STATIC, **DYNAMIC}[kind](frames, numpy_generator(seed, "distortion", kind, clip))


def _bytes(values: object) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)  # type: ignore[call-overload,no-any-return]


def _through_jpeg(frame: Pixels) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, format="JPEG", quality=8)
    return np.asarray(Image.open(stream).convert("RGB"))


def _moved(frame: Pixels, down: int, across: int) -> Pixels:
    """Return a frame moved by whole pixels, its edge repeated where nothing is known."""
    height, width = frame.shape[:2]
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - across, 0, width - 1)
    return np.asarray(frame[rows[:, None], columns[None, :]])
