"""Photos as colours and coverage, from any file or array."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.lifting.mesh import Floats
from sensorium.media.images import MAX_PIXELS, read_cutout
from sensorium.media.workers import Workers

SECONDS = 60.0  # a decoder may take

Array = npt.NDArray[np.uint8] | Floats


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture of an object.

    Attributes:
        rgb: float32 [H, W, 3] in [0, 1]; colours are not premultiplied.
        alpha: Coverage, float32 [H, W] in [0, 1]; None where the picture does not say.
        name: For messages.
        notes: What was noticed, one sentence each.
    """

    rgb: Floats
    alpha: Floats | None
    name: str
    notes: list[str] = field(default_factory=list)


def open_photo(source: str | Path | Array) -> Photo:
    """Open a photo.

    Args:
        source: A picture file, or an array [H, W, 3 or 4] as uint8, or as float32 in [0, 1].

    Raises:
        MediaError: The file cannot be read as a picture, within a minute, or has more than 100 megapixels.
        DataError: The array is no picture.
    """
    if isinstance(source, np.ndarray):
        return _of_array(source)
    with Workers(1, seconds=SECONDS) as workers:
        pixels, frames = workers.call(_decoded, str(source), source=source)
    notes = [f"the file holds {frames} frames: the first is used"] if frames > 1 else []
    photo = _of_array(pixels, str(source))
    if photo.alpha is not None and bool((photo.alpha == 1).all()):  # a channel that is there and says nothing
        return Photo(photo.rgb, None, photo.name, notes)
    return Photo(photo.rgb, photo.alpha, photo.name, notes)


def _decoded(path: str) -> tuple[npt.NDArray[np.uint8], int]:
    """The work of the decoding process: RGBA pixels [H, W, 4] and the number of frames."""
    picture, frames = read_cutout(path)
    return np.asarray(picture), frames


def _of_array(array: Array, name: str = "the picture") -> Photo:
    if array.ndim != 3 or array.shape[2] not in (3, 4) or not array.size:
        raise DataError(f"{name}: a photo is an array [H, W, 3 or 4], not {[*array.shape]}")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise DataError(f"{name} has more than {MAX_PIXELS // 1_000_000} megapixels")
    if array.dtype == np.uint8:
        values: Floats = (array / np.float32(255)).astype(np.float32)
    elif array.dtype == np.float32 and bool(np.isfinite(array).all()) and array.min() >= 0 and array.max() <= 1:
        values = np.asarray(array, dtype=np.float32)
    else:
        raise DataError(f"{name}: an array of a photo is uint8, or float32 within [0, 1], not {array.dtype}")
    return Photo(values[..., :3], values[..., 3] if array.shape[2] == 4 else None, name)
