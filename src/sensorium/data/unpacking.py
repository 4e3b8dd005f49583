"""Archives, unpacked below a folder and nowhere else, up to a size."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from sensorium.core.errors import DataError
from sensorium.core.resources import readable_bytes

TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
CHUNK = 1 << 20


def is_archive(path: Path) -> bool:
    """Return whether a file is one that `unpack` unpacks, by its name. A single `.gz` is read as it is."""
    return path.name.endswith((".zip", *TAR))


def unpack(archive: Path, folder: Path, *, max_bytes: int) -> None:
    """Unpack a zip or tar archive into a folder.

    Args:
        archive: The file.
        folder: An existing folder; members lie below it.
        max_bytes: The most that all members together may have.

    Raises:
        DataError: The archive is damaged or too large, or a member leads out of the folder or is no plain file.
    """
    left = max_bytes
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as opened:
                for member in opened.infolist():
                    target = _target(archive, folder, member.filename)
                    kind = stat.S_IFMT(member.external_attr >> 16)
                    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                        raise DataError(f"{archive}: '{member.filename}' is a link or a device: refused")
                    if not member.is_dir():
                        with opened.open(member) as source:
                            left -= _write(source, target, left, archive)
        else:
            with tarfile.open(archive) as tape:
                for entry in tape:
                    target = _target(archive, folder, entry.name)
                    if not (entry.isreg() or entry.isdir()):
                        raise DataError(f"{archive}: '{entry.name}' is a link or a device: refused")
                    content = tape.extractfile(entry)
                    if content is not None:
                        with content:
                            left -= _write(content, target, left, archive)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{archive}: cannot be unpacked, it may be damaged: {error}") from None


def _target(archive: Path, folder: Path, name: str) -> Path:
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or ":" in (pure.parts or ("",))[0] or "\0" in name:
        raise DataError(f"{archive}: '{name}' leads out of the folder: refused")
    return folder / pure


def _write(source: IO[bytes], target: Path, left: int, archive: Path) -> int:
    """Copy at most `left` bytes, whatever size the archive claims; return how many there were."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("wb") as handle:
        while chunk := source.read(CHUNK):
            written += len(chunk)
            if written > left:
                raise DataError(
                    f"{archive}: unpacked it is larger than allowed ({readable_bytes(left)} were left): --max-size"
                )
            handle.write(chunk)
    return written


def replace_folder(made: Path, folder: Path) -> None:
    """Put a finished folder in its place."""
    shutil.rmtree(folder, ignore_errors=True)
    made.replace(folder)
