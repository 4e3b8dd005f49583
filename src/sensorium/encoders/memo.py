"""Digests of media files, remembered by size and time of change, so that an unchanged catalogue is not read again.

The memo is a convenience, never the truth: `--rehash` ignores it, and a file that changes while it is being encoded
is noticed by its time of change.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sensorium.core.files import read_json, write_text

Stamp = tuple[int, int]  # bytes, time of change in ns

VERSION = 1


class Memo:
    """The memo of one data set. With `use=False` every file is read again, and what is found is remembered."""

    def __init__(self, path: Path, *, use: bool = True) -> None:
        self.path = path
        self._known: dict[str, tuple[int, int, str]] = {}
        self._changed = False
        if use and path.is_file():
            tree = read_json(path)
            if tree.get("version") == VERSION:
                self._known = {name: tuple(entry) for name, entry in tree["files"].items()}

    def digest(self, relative: str, path: Path) -> tuple[npt.NDArray[np.uint8], Stamp]:
        """Return BLAKE2b-128 of a file, uint8 [16], and the stamp that it was taken at.

        Raises:
            OSError: The file cannot be read.
        """
        stamp = stamp_of(path)
        known = self._known.get(relative)
        if known is None or known[:2] != stamp:
            known = (*stamp, file_digest(path))
            self._known[relative] = known
            self._changed = True
        return np.frombuffer(bytes.fromhex(known[2]), dtype=np.uint8), stamp

    def save(self) -> None:
        """Write what is new, atomically."""
        if self._changed:
            tree = {"version": VERSION, "files": self._known}
            write_text(self.path, json.dumps(tree, separators=(",", ":"), ensure_ascii=False) + "\n")
            self._changed = False


def stamp_of(path: Path) -> Stamp:
    """Return size and time of change of a file."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def file_digest(path: Path) -> str:
    """Return BLAKE2b-128 of a file's bytes, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
