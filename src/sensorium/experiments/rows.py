"""Rows: what is kept of each finished cell of an experiment, in a file that is committed.

`docs/results/rows/<topic>.jsonl` has one line per configuration and seed. A row is appended under a lock on the file,
after a look whether it is there, so that no process, however many there are and whenever they are killed, leaves two of
one cell or half of one.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sensorium.core.config import Component, Config, dump
from sensorium.core.errors import DataError
from sensorium.core.files import digest, json_line

ROWS = Path("docs") / "results" / "rows"

Row = dict[str, Any]


class Rows:
    """The rows of one topic.

    Args:
        topic: Names the file.
        folder: Where the files of rows are.
    """

    def __init__(self, topic: str, folder: str | Path = ROWS) -> None:
        self.path = Path(folder) / f"{topic}.jsonl"

    def read(self) -> list[Row]:
        """Return the complete rows; a last line without its newline, which a killed process left, is none.

        Raises:
            DataError: A line is not JSON.
        """
        if not self.path.exists():
            return []
        return self._parse(self.path.read_text(encoding="utf-8"))

    def append(self, row: Row, config: Config) -> bool:
        """Add a row, unless one of this configuration and seed on the same data is there.

        Returns:
            Whether it was added.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked() as descriptor:
            content = _read_all(descriptor)
            complete = content.rfind(b"\n") + 1
            if find(self._parse(content[:complete].decode()), config, row["tables"]) is not None:
                return False
            os.ftruncate(descriptor, complete)
            os.lseek(descriptor, complete, os.SEEK_SET)
            _write_all(descriptor, (json_line(row) + "\n").encode())
            os.fsync(descriptor)
        return True

    @contextmanager
    def _locked(self) -> Iterator[int]:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits; the lock ends with the descriptor
            yield descriptor
        finally:
            os.close(descriptor)

    def _parse(self, text: str) -> list[Row]:
        rows = []
        for number, line in enumerate(text.split("\n")[:-1], start=1):
            try:
                rows.append(dict(json.loads(line)))
            except json.JSONDecodeError as error:
                raise DataError(f"{self.path} line {number} is not JSON: {error}") from None
        return rows


def config_hash(config: Config) -> str:
    """Return 12 hexadecimal digits of a configuration without its seed."""
    return digest({key: value for key, value in dump(config).items() if key != "seed"})[:12]


def find(rows: Sequence[Row], config: Config, tables: str | None) -> Row | None:
    """Return the row of this configuration and seed, if there is one.

    Args:
        rows: The rows.
        config: The configuration.
        tables: Digest of the data's tables as they are now: a row of other data is none. None where they are not here.
    """
    own, defaults = flatten(dump(config)), set(default_keys(config))
    return next(
        (row for row in rows if tables in (None, row["tables"]) and _same(flatten(row["config"]), own, defaults)),
        None,
    )


def _same(kept: Mapping[str, Any], own: Mapping[str, Any], defaults: set[str]) -> bool:
    """Whether a kept configuration is this one.

    A key that the kept one lacks came with a later release: it was what its default is now. A key that this release no
    longer has says nothing. So a new option does not make hours of results invalid, and a changed default does. A part
    that one of them has and the other leaves out (`noise: null`) is no missing key: they differ.
    """
    parts = {head for key in kept for head in _heads(key)}

    def alike(key: str, value: Any) -> bool:
        if key in kept:
            return bool(kept[key] == value)
        if key in parts or any(head in kept and not kept[head] for head in _heads(key)):
            return False
        return key in defaults

    return all(alike(key, value) for key, value in own.items())


def _heads(key: str) -> list[str]:
    """Return the parts that a key stands in: a.b.c is in a and a.b."""
    words = key.split(".")
    return [".".join(words[:count]) for count in range(1, len(words))]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a tree as full key paths; an empty mapping is a value."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def default_keys(config: Config, default: object = None, prefix: str = "") -> Iterator[str]:
    """Yield the full paths of the keys that are at their defaults.

    Args:
        config: A config.
        default: The config that its parent has by default, if that is another one than its class's own.
        prefix: The path of this config in its file.
    """
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        usual = field.get_default(call_default_factory=True) if not field.is_required() else None
        if isinstance(default, type(config)):
            usual = getattr(default, name)
        if isinstance(value, Component):
            yield from default_keys(value.config, None, f"{prefix}{name}.")
        elif isinstance(value, Config):
            yield from default_keys(value, usual, f"{prefix}{name}.")
        elif value == usual:
            yield prefix + name


def _read_all(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    parts = []
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
