"""Whether a clip shows what its text says: cosines of an encoder that maps texts and pictures into one space.

Without such an encoder nothing here is measured, and the judge says `unsupported`. It never gives a constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sensorium.judging.metric.signals import Sign
from sensorium.media.video import Pixels

ALIGNMENT: dict[str, Sign] = {"cosine_mean": 1, "cosine_min": 1}
LOOKS = 8  # frames that are compared with the text, evenly spread


class PromptEncoder(Protocol):
    """What the alignment signals need of an encoder; CLIP and its kind have it.

    Attributes:
        id: Its name and weights; it becomes part of the judge's id.
    """

    id: str

    def texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 [texts, dim]."""
        ...

    def pictures(self, frames: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        """Return float32 [frames, dim] of uint8 [height, width, 3] frames."""
        ...


def measure_alignment(encoder: PromptEncoder, prompt: str, frames: Sequence[Pixels]) -> dict[str, float]:
    """Return the mean and the lowest cosine between a text and some frames."""
    text = np.asarray(encoder.texts([prompt]), dtype=np.float64)[0]
    pictures = np.asarray(encoder.pictures(frames), dtype=np.float64)
    cosines = pictures @ text / (np.linalg.norm(pictures, axis=1) * np.linalg.norm(text) + 1e-12)
    return {"cosine_mean": float(cosines.mean()), "cosine_min": float(cosines.min())}
