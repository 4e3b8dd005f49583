"""One writer or many readers: `encode` holds a cache for itself, open states hold it together with other readers.

Both are locks of the operating system on the file `lock`: they end with the process, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sensorium.core.errors import RunError


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold a cache for this process alone.

    Raises:
        RunError: Another process encodes into it, whose number the message holds; or readers have it open.
    """
    with (folder / "lock").open("a+") as handle:
        if not _try(handle, fcntl.LOCK_EX):
            raise RunError(_in_use(folder, handle))
        _sign(handle, f"{os.getpid()}\n")
        try:
            yield
        finally:
            _sign(handle, "")


def reading(folder: Path) -> IO[str]:
    """Hold a cache together with other readers until the returned file is closed.

    Raises:
        RunError: A process is changing it; the message holds its number.
    """
    handle = (folder / "lock").open("a+")
    if _try(handle, fcntl.LOCK_SH):
        return handle
    said = _in_use(folder, handle)
    handle.close()
    raise RunError(said)


@contextmanager
def making(folder: Path) -> Iterator[None]:
    """Hold a folder for a moment, waiting for others: shards that begin together make it once."""
    with (folder / "lock").open("a+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _try(handle: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _in_use(folder: Path, handle: IO[str]) -> str:
    if _try(handle, fcntl.LOCK_SH):
        return (
            f"{folder} is open for reading, by a training run or by other shards: encode again when they have ended, "
            "so that nothing changes under them"
        )
    handle.seek(0)
    holder = handle.read().strip()
    return f"{folder} is being encoded by process {holder or 'unknown'}: wait for it or stop it first"


def _sign(handle: IO[str], text: str) -> None:
    handle.seek(0)
    handle.truncate()
    handle.write(text)
    handle.flush()
