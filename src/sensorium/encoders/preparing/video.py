"""Clips to float32 [T, 3, H, W]: T frames chosen by time, each prepared as a picture is.

Choices: "uniform", the frames shown at the midpoints of T equal parts of the time span, and "center", T neighbouring
frames around the middle one. A clip with fewer frames repeats them. A clip that was cut short is used up to the cut and
noted "partial". Frames are resized as they are decoded, so that a worker holds one large picture at a time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import Image

from sensorium.core.errors import DataError
from sensorium.encoders.preparing.image import ImagePreparer
from sensorium.encoders.protocol import Prepared
from sensorium.media.moments import Rule, read_moments

VERSION = 1  # changes when the same clip would give other numbers; part of every key


class FramePreparer:
    """Prepare one clip.

    Attributes:
        facts: What enters the key: the facts of its pictures, the number of frames, the choice.
        frames: T.
    """

    def __init__(self, image: ImagePreparer, frames: int = 8, choice: Rule = "uniform") -> None:
        """Say what becomes of a clip.

        Args:
            image: What becomes of each frame.
            frames: T, at least 1.
            choice: Which frames, see the module.
        """
        if frames < 1 or choice not in get_args(Rule):
            raise DataError(f"clips cannot be prepared as {frames} frames chosen by '{choice}'")
        self.image, self.frames, self.choice = image, frames, choice
        self.facts: dict[str, Any] = {
            "kind": "video",
            "version": VERSION,
            "frames": frames,
            "choice": choice,
            "image": image.facts,
        }

    def __call__(self, raw: str | bytes | Path) -> Prepared:
        """Decode and prepare a clip.

        Args:
            raw: Its file, or the bytes of it.

        Returns:
            `pixels`, float32 [T, 3, H, W]; note "partial" where the file ends before its last frame.

        Raises:
            MediaError: See `media.moments.read_moments`.
        """
        if isinstance(raw, bytes):
            with tempfile.NamedTemporaryFile(suffix=".video") as file:  # FFmpeg seeks better in a file
                file.write(raw)
                file.flush()
                return self(Path(file.name))
        clip = read_moments(raw, self.frames, self.choice, lambda pixels: self.image.fitted(Image.fromarray(pixels)))
        pixels = np.stack([self.image.normalised(picture) for picture in clip.pictures])
        notes = frozenset({"partial"}) if clip.partial else frozenset[str]()
        return Prepared({"pixels": pixels}, length=self.frames, pieces=self.frames, notes=notes)
