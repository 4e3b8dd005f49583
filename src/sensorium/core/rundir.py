"""A run is a directory. Every job of every room writes the same files, so that the same commands work on all of them.

    config.yaml       resolved and complete: what was asked for
    environment.json  format version, versions of what computed it, machine class
    metrics.jsonl     one line per validation or epoch: what must repeat exactly
    timing.jsonl      wall time and memory: what need not
    result.json       the outcome; its presence says that the run is complete
    report.html       for people
    lock              held by the process that works here

A process may be killed at any moment. Whole files are replaced atomically; of a log, a last line without its newline
never counts.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sensorium.core.config import load_yaml, to_yaml
from sensorium.core.errors import RunError
from sensorium.core.files import json_line, read_json, write_json, write_text
from sensorium.core.resources import readable_bytes

FORMAT_VERSION = 1
_RECORDED_PACKAGES = ("torch", "numpy", "scipy", "polars", "lightning-fabric", "scikit-learn")


class RunDirectory:
    """The directory of one job. Make it with `create` or `open`.

    Attributes:
        path: The folder.
        writes: False for one of several processes that work on the job together and is not the first of them
            (`core.processes`): it reads what is there, and all that would write does nothing.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self.writes = writes

    @classmethod
    def create(cls, path: str | Path, config: Mapping[str, Any]) -> RunDirectory:
        """Start a run in a new or empty folder.

        Args:
            path: The folder; its parents are made.
            config: The complete configuration. Its key `kind` says which room's job this is.

        Raises:
            RunError: The folder already holds a run, or anything else.
        """
        path = Path(path)
        cls.require_free(path)
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path)
        run.write_environment()
        write_text(path / "config.yaml", to_yaml(config))  # last: with it, the folder is a run
        return run

    @staticmethod
    def require_free(path: Path) -> None:
        """Check that a run can start in a folder.

        Raises:
            RunError: The folder already holds a run, or anything else.
        """
        _clear_beginning(path)
        if (path / "config.yaml").exists():
            raise RunError(
                f"{path} already holds a run: continue it with 'sensorium resume {path}', or choose another folder"
            )
        if path.exists() and any(path.iterdir()):
            raise RunError(f"{path} is not empty and holds no run: choose another folder")

    @classmethod
    def open(cls, path: str | Path, *, writes: bool = True) -> RunDirectory:
        """Open a run that exists.

        Raises:
            RunError: The folder holds no run, or one that a later release wrote.
        """
        run = cls(Path(path), writes=writes)
        if not (run.path / "config.yaml").is_file():
            raise RunError(f"{path} holds no run: there is no config.yaml")
        written = read_json(run.path / "environment.json")
        if written["format_version"] > FORMAT_VERSION:
            raise RunError(
                f"{path} has format {written['format_version']}, written by sensorium "
                f"{written['packages']['sensorium']}; this release reads up to {FORMAT_VERSION}: update sensorium"
            )
        return run

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, as a tree of plain values."""
        return load_yaml(self.path / "config.yaml")

    @property
    def kind(self) -> str:
        """Whose job this is: "recommend", "encode", ..."""
        return str(self.config["kind"])

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process. The lock ends with the process, however it ends.

        Raises:
            RunError: Another process works here; the message holds its number.
        """
        if not self.writes:  # the first process holds it
            yield
            return
        with (self.path / "lock").open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                handle.seek(0)
                holder = handle.read().strip() or "unknown"
                raise RunError(f"{self.path} is in use by process {holder}: wait for it or stop it first") from None
            handle.seek(0)
            handle.truncate()
            handle.write(f"{os.getpid()}\n")
            handle.flush()
            yield

    # --- logs -------------------------------------------------------------------------------------------------------

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Add one line to a log and flush it to the disk."""
        if not self.writes:
            return
        with (self.path / name).open("a", encoding="utf-8") as handle:
            handle.write(json_line(record) + "\n")
            handle.flush()
            os.fsync(handle.fileno())

    def records(self, name: str) -> list[dict[str, Any]]:
        """Return the complete lines of a log; a log that was never written has none.

        Raises:
            RunError: A line is not JSON.
        """
        return [self._parse(name, number, line) for number, line in enumerate(self._lines(name), start=1)]

    def keep_records(self, name: str, count: int) -> None:
        """Cut a log to its first `count` lines: what came after the checkpoint is done again.

        Raises:
            RunError: The log has fewer lines.
        """
        if not self.writes:
            return
        lines = self._lines(name)
        if len(lines) < count:
            raise RunError(
                f"{self.path / name} has {len(lines)} lines, the checkpoint was made after {count}: the log was cut"
            )
        if lines[count:] or self._has_partial_line(name):
            write_text(self.path / name, "".join(line + "\n" for line in lines[:count]))

    def _text(self, name: str) -> str:
        path = self.path / name
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def _lines(self, name: str) -> list[str]:
        return self._text(name).split("\n")[:-1]

    def _has_partial_line(self, name: str) -> bool:
        text = self._text(name)
        return bool(text) and not text.endswith("\n")

    def _parse(self, name: str, number: int, line: str) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise RunError(f"{self.path / name} line {number} is not JSON: {error}") from None
        return dict(record)

    # --- whole files ------------------------------------------------------------------------------------------------

    @property
    def result(self) -> dict[str, Any] | None:
        """The outcome, or None while the run is not complete."""
        path = self.path / "result.json"
        return dict(read_json(path)) if path.exists() else None

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write the outcome: with it the run is complete."""
        if self.writes:
            write_json(self.path / "result.json", {"format_version": FORMAT_VERSION, **result})

    def write_environment(self) -> None:
        """Write the versions and the class of machine that compute this run."""
        write_json(self.path / "environment.json", environment())


def _clear_beginning(path: Path) -> None:
    """Remove what a process left that was killed before its folder became a run: it holds nothing of worth."""
    left = list(path.iterdir()) if path.is_dir() else []
    if all(entry.name == "environment.json" or entry.name.endswith(".tmp") for entry in left):
        for entry in left:
            entry.unlink()


def environment() -> dict[str, Any]:
    """Return what a number may depend on beside the config: versions and the class of machine. No names, no
    addresses."""
    packages = {"sensorium": _version("sensorium"), **{name: _version(name) for name in _RECORDED_PACKAGES}}
    return {
        "format_version": FORMAT_VERSION,
        "packages": packages,
        "python": platform.python_version(),
        "machine": machine_class(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }


def machine_class() -> str:
    """Return the class of this machine in a few words: system, architecture, cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.system()} {platform.machine()}, {cores} cores, {readable_bytes(memory)}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
