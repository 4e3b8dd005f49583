"""Reading little-endian binary layouts with a check before every step: a damaged file is a sentence, never a crash."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError


class Reader:
    """A file's bytes and a place in them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: npt.NDArray[np.uint8] = (
            np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
        )
        self.place = 0

    def bytes(self, count: int) -> bytes:
        """Take so many bytes."""
        return self.span(self.place, count, advance=True).tobytes()

    def span(self, start: int, count: int, *, advance: bool = False) -> npt.NDArray[np.uint8]:
        """Return bytes of any place, without a copy."""
        if count < 0 or start < 0 or start + count > len(self.content):
            raise DataError(
                f"{self.path} is cut short or damaged: {count} bytes are wanted at {start}, it has {len(self.content)}"
            )
        if advance:
            self.place = start + count
        return self.content[start : start + count]

    def numbers(self, layout: str) -> tuple[Any, ...]:
        """Take numbers by a `struct` layout, little-endian without padding."""
        return struct.unpack("<" + layout, self.bytes(struct.calcsize("<" + layout)))

    def number(self, layout: str) -> Any:
        """Take one number."""
        return self.numbers(layout)[0]

    def array(self, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Take an array, without a copy."""
        kind = np.dtype(dtype)
        return self.span(self.place, math.prod(shape) * kind.itemsize, advance=True).view(kind).reshape(shape)

    def text(self, count: int) -> str:
        """Take text of so many bytes; a final zero is dropped."""
        try:
            return self.bytes(count).rstrip(b"\x00").decode()
        except UnicodeDecodeError:
            raise DataError(f"{self.path} is damaged: a name at {self.place - count} is not text") from None
