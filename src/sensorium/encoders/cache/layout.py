"""The arrays of a cache on disk: laid out in full before the first row, written through memory maps, grown at the end.

Arrays under open memory maps are never truncated or replaced, which would kill their readers with a bus error: they
grow at the end, and the header that says so is written last. The header has room for it: NumPy pads it for that.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError

STATES, POOLED, PRESENT, DIGEST = "states.npy", "pooled.npy", "present.npy", "digest.npy"
NOTES_FILE, MASK, SCALE, DONE = "notes.npy", "token_mask.npy", "scale.npy", "done.npy"

# Bits of notes.npy.
NOTES = {"truncated": 1, "partial": 2, "empty": 4, "rejected": 8}

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Shape:
    """What one row of each array holds.

    Attributes:
        layers: K.
        dim: D, the width of the widest layer.
        pooled: P.
        tokens: n_tok of `pooling: none`, where K is 1; None stores states that are pooled over tokens.
    """

    layers: int
    dim: int
    pooled: int
    tokens: int | None = None

    def of(self, rows: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return dtype and shape of every array that has one row per item."""
        inner = (self.layers, self.dim) if self.tokens is None else (self.tokens, self.dim)
        arrays: dict[str, tuple[str, tuple[int, ...]]] = {
            STATES: ("<f2", (rows, *inner)),
            POOLED: ("<f2", (rows, self.pooled)),
            PRESENT: ("|b1", (rows,)),
            DIGEST: ("|u1", (rows, 16)),
            NOTES_FILE: ("|u1", (rows,)),
        }
        if self.tokens is not None:
            arrays[MASK] = ("|b1", (rows, self.tokens))
        return arrays

    def bytes_of(self, rows: int) -> int:
        """Return what the arrays take on disk, in bytes."""
        return sum(np.dtype(kind).itemsize * int(np.prod(shape)) for kind, shape in self.of(rows).values())


def create(path: Path, kind: str, shape: tuple[int, ...]) -> None:
    """Lay out an array of zeros in a new file."""
    header = _header(kind, shape)
    size = len(header) + np.dtype(kind).itemsize * int(np.prod(shape))
    path.unlink(missing_ok=True)
    with path.open("wb") as handle:
        handle.truncate(size)  # holes: nothing is on the disk yet
        handle.seek(0)
        handle.write(header)
        handle.flush()
        os.fsync(handle.fileno())


def grow(path: Path, kind: str, shape: tuple[int, ...]) -> None:
    """Lengthen an array along its first axis with zeros; the header is written when the rows are there.

    Raises:
        DataError: The file holds another kind of array, or more rows.
    """
    header = _header(kind, shape)
    size = len(header) + np.dtype(kind).itemsize * int(np.prod(shape))
    have = np.load(path, mmap_mode="r", allow_pickle=False)
    if have.dtype != np.dtype(kind) or have.shape[1:] != shape[1:] or len(have) > shape[0]:
        raise DataError(f"{path} holds {have.dtype} {list(have.shape)} and cannot grow to {kind} {list(shape)}")
    if have.shape == shape:
        return
    del have
    with path.open("r+b") as handle:
        handle.truncate(size)
        os.fsync(handle.fileno())
        handle.write(header)
        handle.flush()
        os.fsync(handle.fileno())


def open_array(path: Path, kind: str, shape: tuple[int, ...], *, write: bool = False) -> Array:
    """Map an array and check that it is what it should be.

    Raises:
        DataError: It is missing, truncated, or of another shape.
    """
    try:
        array = np.load(path, mmap_mode="r+" if write else "r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} cannot be read as a NumPy array, it may be truncated: {error}") from None
    if array.dtype != np.dtype(kind) or array.shape != shape:
        raise DataError(f"{path} holds {array.dtype} {list(array.shape)}, not {np.dtype(kind)} {list(shape)}")
    opened: Array = array
    return opened


def flush(*arrays: Array) -> None:
    """Write the changed pages of memory maps to the disk (msync)."""
    for array in arrays:
        if isinstance(array, np.memmap):
            array.flush()


def _header(kind: str, shape: tuple[int, ...]) -> bytes:
    """Return the NPY header, format 1.0, C order. Its length is the same for any number of rows."""
    stream = io.BytesIO()
    description = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, description)
    return stream.getvalue()
