"""`data get`: a public data set from its publisher, checked, unpacked and imported.

    got = get_dataset("movielens-1m")                          # from GroupLens
    got = get_dataset("movielens-1m", source="~/ml-1m.zip")    # from a file that was fetched elsewhere

Files lie in `$SENSORIUM_HOME/downloads/<name>`, unpacked in its `unpacked`. A checksum that the publisher states must
hold; where none is known, that of the first download is written to `downloads/checksums.json`, and later files must
have it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from sensorium.core.config import build
from sensorium.core.errors import DataError
from sensorium.core.files import read_json, sha256_file, write_json
from sensorium.core.home import home
from sensorium.core.resources import readable_bytes
from sensorium.data.archives import Archive, RemoteFile, find_archive
from sensorium.data.catalogue import datasets_home
from sensorium.data.dataset import Dataset
from sensorium.data.downloading import WAIT, download
from sensorium.data.importing import ImportConfig, import_dataset
from sensorium.data.store import lock
from sensorium.data.unpacking import is_archive, replace_folder, unpack

logger = logging.getLogger(__name__)

MAX_BYTES = 8 * 1024**3  # of one file, and of all that is unpacked from it
RECORD = "checksums.json"


@dataclass(frozen=True)
class Got:
    """What was fetched.

    Attributes:
        dataset: The data set, or None where only files were asked for.
        folder: What the reader reads.
        notices: Sentences that people should read: checksums, terms.
    """

    dataset: Dataset | None
    folder: Path
    notices: list[str]


def downloads_home() -> Path:
    """Return the folder of fetched files."""
    return home() / "downloads"


def get_dataset(
    name: str,
    *,
    source: str | Path | None = None,
    out: str | Path | None = None,
    import_it: bool = True,
    overwrite: bool = False,
    max_bytes: int = MAX_BYTES,
    wait: float = WAIT,
) -> Got:
    """Fetch a public data set and import it.

    Args:
        name: Of `archives.ARCHIVES`, or of one of its families.
        source: A file, a folder with the files, or the address of a mirror's folder; None = the publisher.
        out: The data set's folder; None = its name in the data home.
        import_it: Whether it becomes a data set.
        overwrite: Replace a data set that is there.
        max_bytes: The most that one file may have, and all that is unpacked.
        wait: Seconds before a broken download is tried again.

    Raises:
        DataError: There is no such data set, it cannot be fetched, a checksum does not hold, or the files are not what
            the reader reads.
    """
    archive = find_archive(name)
    target = Path(out) if out is not None else datasets_home() / name
    if import_it and target.exists() and not overwrite:
        raise DataError(f"{target} is there already: use it, or replace it with --overwrite")
    folder = downloads_home() / name
    folder.mkdir(parents=True, exist_ok=True)
    with lock(downloads_home() / f".{name}.lock"):
        files, notices = _files(archive, source, folder, max_bytes, wait)
        read = _unpacked(files, folder, max_bytes)
    notices.append(f"terms: {archive.licence} ({archive.page})")
    dataset = None
    if import_it:
        config = build(ImportConfig, {**archive.config, "name": name}, source=f"data set {name}")
        dataset = import_dataset(read, target, config, overwrite=overwrite)
    return Got(dataset, read, notices)


# --- files ---


def _files(
    archive: Archive, source: str | Path | None, folder: Path, max_bytes: int, wait: float
) -> tuple[list[Path], list[str]]:
    mirror = str(source) if source is not None and "://" in str(source) else None
    if source is not None and mirror is None:
        files = _from_disk(archive, Path(source).expanduser())
    elif archive.by_hand:
        raise DataError(
            f"'{archive.name}' is not fetched by a program ({archive.by_hand}): get it from {archive.page}, then "
            f"sensorium data get {archive.name} --from PATH"
        )
    else:
        files = []
        for remote in archive.files:
            url = remote.url if mirror is None else f"{mirror.rstrip('/')}/{remote.name}"
            try:
                files.append(download(url, folder / remote.name, max_bytes=max_bytes, wait=wait))
            except DataError as error:
                raise DataError(
                    f"{error}; or get {remote.name} in another way ({archive.page}) and give it: "
                    f"sensorium data get {archive.name} --from PATH"
                ) from None
    known = {remote.name: remote for remote in archive.files}
    return files, [_check(archive.name, file, known.get(file.name), folder) for file in files]


def _from_disk(archive: Archive, path: Path) -> list[Path]:
    """Return the data set's files: those of a folder by their names, or the one that is given.

    Raises:
        DataError: One is missing.
    """
    if path.is_file():
        if len(archive.files) > 1:
            names = ", ".join(remote.name for remote in archive.files)
            raise DataError(f"'{archive.name}' has several files ({names}): give the folder that holds them")
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: there is no such file or folder")
    if not archive.files:
        return [file for file in sorted(path.iterdir()) if file.is_file()]
    missing = [remote.name for remote in archive.files if not (path / remote.name).is_file()]
    if missing:
        raise DataError(f"{path}: there is no {missing[0]} here")
    return [path / remote.name for remote in archive.files]


def _check(name: str, file: Path, remote: RemoteFile | None, folder: Path) -> str:
    """Hold a file against what is known of it, or write down what it is; return what was found, as a sentence.

    Raises:
        DataError: It is another file than it should be; what was fetched is removed.
    """
    size = readable_bytes(file.stat().st_size)
    if remote is not None and remote.checksum is not None:
        kind, _, expected = remote.checksum.partition(":")
        with file.open("rb") as handle:
            found = hashlib.file_digest(handle, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
        if found != expected:
            raise _not_what_it_was(file, folder, f"{kind} {found}, and {expected} is published")
        return f"{file.name}: {size}, {kind} as published"
    found = sha256_file(file)
    record = downloads_home() / RECORD
    with lock(downloads_home() / f".{RECORD}.lock"):
        seen = read_json(record) if record.is_file() else {}
        key = f"{name}/{file.name}"
        before = seen.get(key)
        if before is not None and before["sha256"] != found and not (remote is not None and remote.changes):
            raise _not_what_it_was(
                file, folder, f"sha256 {found}, and {before['sha256']} at the first download (remove '{key}' from "
                f"{record} if its publisher has replaced it)",
            )  # fmt: skip
        write_json(record, {**seen, key: {"sha256": found, "bytes": file.stat().st_size}})
    if before is None:
        return f"{file.name}: {size}; no checksum is published: sha256 {found} is recorded and must hold from now on"
    if before["sha256"] != found:
        return f"{file.name}: {size}; its publisher has replaced it: sha256 is now {found}, was {before['sha256']}"
    return f"{file.name}: {size}, sha256 as at the first download"


def _not_what_it_was(file: Path, folder: Path, what: str) -> DataError:
    if file.parent == folder:
        file.unlink()
    return DataError(f"{file}: is not the file that it should be: it has {what}")


def _unpacked(files: list[Path], folder: Path, max_bytes: int) -> Path:
    """Return a folder with what the archives hold and the other files, made anew."""
    place = folder / "unpacked"
    made = folder / f".unpacked.{uuid4().hex[:8]}.tmp"
    for left in folder.glob(".unpacked.*.tmp"):  # of a process that was killed: the lock says so
        shutil.rmtree(left, ignore_errors=True)
    made.mkdir()
    try:
        for file in files:
            if is_archive(file):
                unpack(file, made, max_bytes=max_bytes)
            else:
                try:
                    os.link(file, made / file.name)
                except OSError:  # another disk
                    shutil.copyfile(file, made / file.name)
        replace_folder(made, place)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return place
