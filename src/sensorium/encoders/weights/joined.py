"""An archive that was cut into parts: read as one file, without a copy on disk."""

from __future__ import annotations

import io
import os
import zipfile
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from sensorium.core.errors import DataError


class JoinedFiles(io.RawIOBase):
    """Several files, end to end, as one that can be read and sought."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._handles = [path.open("rb") for path in parts]
        sizes = [os.fstat(handle.fileno()).st_size for handle in self._handles]
        self._starts = [0, *accumulate(sizes)]  # of each part, and the total
        self._place = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be sought."""
        return True

    def tell(self) -> int:
        """The place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place counted from the start, from here, or from the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._starts[-1]}[whence]
        if base + offset < 0:
            raise ValueError(f"a place before the start: {base + offset}")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: object) -> int:
        """Fill a buffer from here to the end of the part at most; 0 at the end of all."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        if self._place >= self._starts[-1] or not len(view):
            return 0
        part = bisect_right(self._starts, self._place) - 1
        handle = self._handles[part]
        handle.seek(self._place - self._starts[part])
        count = handle.readinto(view)
        self._place += count
        return count

    def close(self) -> None:
        """Close the parts."""
        if not self.closed:
            for handle in self._handles:
                handle.close()
        super().close()


def extract(parts: Sequence[Path], members: Mapping[str, str], target: Path, *, max_bytes: int = 1 << 30) -> None:
    """Take named members out of a zip archive in one or several parts.

    Args:
        parts: The archive, in order.
        members: Path in the archive -> name of the file to write; nothing else is taken.
        target: The folder.
        max_bytes: Largest member.

    Raises:
        DataError: It is no zip archive, a member is missing, too large, or fails its checksum.
    """
    try:
        with JoinedFiles(parts) as joined, zipfile.ZipFile(io.BufferedReader(joined, 1 << 20)) as archive:
            for member, name in members.items():
                if archive.getinfo(member).file_size > max_bytes:
                    raise DataError(f"{member} in {parts[0]} has more than {max_bytes} bytes")
                with archive.open(member) as source, (target / name).open("wb") as sink:
                    while block := source.read(1 << 20):
                        sink.write(block)
    except KeyError as error:
        raise DataError(f"the archive {parts[0]}: {error.args[0]}") from None
    except zipfile.BadZipFile as error:
        raise DataError(f"{parts[0]}: no zip archive, or damaged: {error}") from None
