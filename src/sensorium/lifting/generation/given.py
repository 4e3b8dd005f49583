"""Photos that are given as arrays, in Python: a run's configuration names them, the run's folder holds them.

    run({"kind": "lift", "photo": pixels})        # uint8 [H, W, 3 or 4], or floats within [0, 1]

In `config.yaml` the photo is called `array:<digits of its content>`; its pixels stand beside it in `photo.png`, which
a run that was killed goes on with. So that both begin with the same numbers, floats are rounded to the 256 steps of
that file before anything is done. An array whose every pixel is opaque has no transparency, as with files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from sensorium.core.errors import DataError, RunError
from sensorium.core.files import digest
from sensorium.core.rundir import RunDirectory
from sensorium.media.images import MAX_PIXELS, read_cutout, write_image

PREFIX = "array:"
STORED = "photo.png"

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ArrayPhoto:
    """A photo that was given as an array.

    Attributes:
        name: `array:` and 16 digits of its content.
        pixels: uint8 [H, W, 3], or [H, W, 4] where it has transparency; colours are not premultiplied.
    """

    name: str
    pixels: Pixels = field(compare=False, repr=False)


def array_photo(array: npt.NDArray[Any]) -> ArrayPhoto:
    """Return an array as a photo.

    Args:
        array: [H, W, 3 or 4]: red, green, blue, and coverage; uint8, or floats within [0, 1].

    Raises:
        DataError: It has another shape or type, more than 100 megapixels, or a value that is no colour; the message
            says which and where.
    """
    if array.ndim != 3 or array.shape[2] not in (3, 4) or not array.size:
        raise DataError(f"an array of a photo is [height, width, 3 or 4], not {[*array.shape]}{_hint(array)}")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise DataError(f"an array of a photo has at most {MAX_PIXELS // 1_000_000} megapixels, not {[*array.shape]}")
    if array.dtype == np.uint8:
        pixels = np.array(array)  # a copy: what the caller does with his own later is nothing to the run
    elif np.issubdtype(array.dtype, np.floating):
        wrong = ~((array >= 0) & (array <= 1))  # NaN is wrong too
        if wrong.any():
            row, column, channel = (int(place) for place in np.argwhere(wrong)[0])
            raise DataError(
                f"an array of a photo that holds {array.dtype} holds values within [0, 1]: at row {row}, column "
                f"{column}, channel {channel} it has {float(array[row, column, channel]):g}"
            )
        pixels = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    else:
        raise DataError(f"an array of a photo is uint8, or floats within [0, 1], not {array.dtype}")
    return _named(pixels)


def is_array(photo: str) -> bool:
    """Return whether a configuration's photo was given as an array."""
    return photo.startswith(PREFIX)


def store(run: RunDirectory, photo: ArrayPhoto) -> None:
    """Write an array's pixels into the folder of its run, unless they stand there."""
    if run.writes and not (run.path / STORED).exists():
        write_image(run.path / STORED, Image.fromarray(photo.pixels))


def stored(run: RunDirectory | None, name: str) -> ArrayPhoto:
    """Return the photo that a run was begun with.

    Args:
        run: The folder that is continued; None for a run that begins.
        name: As the configuration has it.

    Raises:
        RunError: The run was killed before it stored the array, or its photo.png is another one.
        DataError: There is no folder: a configuration of one run cannot begin another.
    """
    if run is None:
        raise DataError(
            f"photo: {name} was an array, which stands in the folder of the run that it was given to: give the array, "
            f"or that folder's {STORED}"
        )
    path = run.path / STORED
    if not path.exists():
        raise RunError(
            f"{run.path} was killed before it stored the array of its photo, and nothing else was done: begin it again "
            "in another folder"
        )
    found = _named(np.asarray(read_cutout(path)[0]))
    if found.name != name:
        raise RunError(f"{path} is not the photo that the run was begun with ({name}, not {found.name})")
    return found


def _named(pixels: Pixels) -> ArrayPhoto:
    if pixels.shape[2] == 4 and bool((pixels[..., 3] == 255).all()):
        pixels = pixels[..., :3]
    pixels = np.ascontiguousarray(pixels)
    return ArrayPhoto(PREFIX + digest(pixels)[:16], pixels)


def _hint(array: npt.NDArray[Any]) -> str:
    """What is probably meant by a shape."""
    if array.ndim == 3 and array.shape[0] in (3, 4):
        return ": move the channels to the end"
    if array.ndim == 2:
        return ": a picture in grey is stacked three times"
    return ": one photo at a time" if array.ndim == 4 else ""


class PhotoField:
    """The pydantic side of a photo: text stays, an array becomes an `ArrayPhoto`, which a file knows by its name."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _checked, serialization=core_schema.plain_serializer_function_ser_schema(_text)
        )


def _checked(value: Any) -> str | ArrayPhoto:
    if isinstance(value, str | ArrayPhoto):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.ndarray):
        try:
            return array_photo(value)
        except DataError as error:
            raise ValueError(str(error)) from None
    raise ValueError(f"a picture's file, or an array [height, width, 3 or 4], not {type(value).__name__}")


def _text(value: str | ArrayPhoto) -> str:
    return value.name if isinstance(value, ArrayPhoto) else value
