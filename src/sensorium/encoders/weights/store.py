"""Converted weights on disk: `$SENSORIUM_CACHE/weights/<SHA-256 of the source>/`, made once, atomically.

A folder holds what a model is loaded from (`model.safetensors`, `config.json`, a tokeniser's files) and `record.json`
with the hash of each. It is built beside its place under a temporary name and renamed, so that a killed conversion
leaves nothing that looks whole; two processes that convert at once end with one folder. Later runs compare the files
with the record before they read them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from sensorium.core.errors import DataError
from sensorium.core.files import read_json, sha256_file, write_json

RECORD = "record.json"
FORMAT = 1


def weights_home() -> Path:
    """Return the folder of converted weights: below `$SENSORIUM_CACHE`, or `~/.cache/sensorium`."""
    value = os.environ.get("SENSORIUM_CACHE")
    return (Path(value).expanduser() if value else Path.home() / ".cache" / "sensorium") / "weights"


def is_converted(source_sha256: str, version: int) -> bool:
    """Return whether a converted folder stands there, by its record alone: cheap, for lists."""
    record = weights_home() / source_sha256 / RECORD
    if not record.is_file():
        return False
    try:
        return _is_current(read_json(record), version)
    except DataError:
        return False


def _is_current(record: Any, version: int) -> bool:
    return isinstance(record, dict) and record.get("format") == FORMAT and record.get("converter") == version


def open_converted(source_sha256: str, version: int, name: str) -> Path:
    """Return a converted folder whose files are those that its record names.

    Raises:
        DataError: It is not there, or a file has changed; the message has the command that makes it anew.
    """
    folder = weights_home() / source_sha256
    again = f"`sensorium encoders prepare {name}` makes it anew"
    if not is_converted(source_sha256, version):
        raise DataError(f"the weights of {name} have not been converted: {again}")
    for file, expected in read_json(folder / RECORD)["files"].items():
        path = folder / file
        if not path.is_file() or sha256_file(path) != expected:
            raise DataError(f"{path} is missing, or has changed since it was converted: {again}")
    return folder


def convert_once(
    source_sha256: str,
    version: int,
    name: str,
    convert: Callable[[Path], None],
    facts: Mapping[str, Any],
) -> Path:
    """Return the converted folder; make it with `convert(folder)` unless a whole one stands there.

    Args:
        source_sha256: Of the source of the weights; the folder's name.
        version: Of the conversion: another version is made anew.
        name: Of the encoder, for messages.
        convert: Writes the files into an empty folder.
        facts: What the record says beside the hashes: package, version, source file.
    """
    home = weights_home()
    target = home / source_sha256
    try:
        return open_converted(source_sha256, version, name)
    except DataError:
        pass
    home.mkdir(parents=True, exist_ok=True)
    building = home / f".{source_sha256[:16]}.{os.getpid()}-{uuid4().hex[:8]}.tmp"
    building.mkdir()
    try:
        convert(building)
        files = {file.name: sha256_file(file) for file in sorted(building.iterdir())}
        record = {"format": FORMAT, "converter": version, "encoder": name, "source_sha256": source_sha256}
        write_json(building / RECORD, {**record, **facts, "files": files})
        for path in (*building.iterdir(), building):
            _sync(path)
        _swap_in(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return open_converted(source_sha256, version, name)


def _swap_in(building: Path, target: Path) -> None:
    """Rename the new folder into place; one that stands there is outdated, damaged, or another process's equal."""
    old = building.with_suffix(".old")
    try:
        if target.exists():
            target.rename(old)
        building.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was faster, with the same bytes
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
        _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
