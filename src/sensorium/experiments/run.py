"""A configuration becomes a run: `run` begins one, `resume` continues one that was killed, `load_run` opens what it
left.

    run(config)     check everything, make the folder, take its lock, do the job, write the report
    resume(path)    the same from the second step on, from wherever the run stands

What is done stands in the folder, never in the process: killed at any moment, a run goes on to the same numbers. Under
`torchrun` several processes do this together, each on its share of the rows; the first one alone writes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.core.config import Config, build, dump
from sensorium.core.processes import Processes, joined
from sensorium.core.rundir import RunDirectory
from sensorium.experiments.config import read_tree
from sensorium.experiments.jobs import Job, job_class
from sensorium.experiments.loading import LoadedRun, load_run

__all__ = ["LoadedRun", "Run", "load_run", "resume", "run"]

logger = logging.getLogger(__name__)

RUNS = Path("runs")  # where runs go by default, below the working folder


@dataclass(frozen=True)
class Run:
    """A complete run.

    Attributes:
        path: Its folder.
        result: What `result.json` holds.
        report: The page for people.
        was_complete: Whether there was nothing left to do.
    """

    path: Path
    result: dict[str, Any]
    report: Path
    was_complete: bool = False


def run(
    config: Config | Mapping[str, Any] | str | Path, *, overrides: Iterable[str] = (), out: str | Path | None = None
) -> Run:
    """Do what a configuration asks for, in a new folder.

    Args:
        config: A YAML file, a tree of plain values, or a finished configuration.
        overrides: "key.path=value", applied to it.
        out: The run's folder; by default `runs/<dataset>-<model>-<seed>-<digits of the configuration>`.

    Raises:
        ConfigError: A wrong key or value, or a configuration that does not fit the data.
        RunError: The folder already holds a run, or something else.
        TrainingError: Training could not go on.
    """
    tree, source = read_tree(config, overrides)
    cls = job_class(tree, source)
    checked = build(cls.Config, tree, source=source)
    job = cls(checked)
    path = RUNS / job.folder_name() if out is None else Path(out)
    with joined() as everyone:
        if everyone.first:
            RunDirectory.require_free(path)  # before data are read
        _prepare(job, None, everyone)
        if everyone.first:
            RunDirectory.create(path, dump(checked))
        everyone.wait()
        return _work(job, RunDirectory.open(path, writes=everyone.first), everyone)


def resume(path: str | Path) -> Run:
    """Continue a run that was interrupted, to the numbers that it would have had; of a complete run, return the result.

    Raises:
        RunError: The folder holds no run, another process works on it, or its data have changed.
        TrainingError: Training could not go on.
    """
    with joined() as everyone:
        return _resume(RunDirectory.open(path, writes=everyone.first), everyone)


def _resume(directory: RunDirectory, everyone: Processes) -> Run:
    source = str(directory.path / "config.yaml")
    cls = job_class(directory.config, source)
    job = cls(build(cls.Config, directory.config, source=source))
    if directory.result is not None and (directory.path / "report.html").exists():
        logger.info("%s is complete: nothing is left to do", directory.path)
        return _finished(directory, was_complete=True)
    return _work(job, directory, everyone, prepare=True)


def _prepare(job: Job, directory: RunDirectory | None, everyone: Processes) -> None:
    """Let the first process import data and fill caches, and the others find them."""
    if everyone.first:
        job.prepare(directory)
    everyone.wait()
    if not everyone.first:
        job.prepare(directory)


def _work(job: Job, directory: RunDirectory, everyone: Processes, *, prepare: bool = False) -> Run:
    """Do what is left under the run's lock: the job, and then the page."""
    with directory.lock():
        if directory.writes:
            for begun in directory.path.glob(".*.tmp"):  # what a killed process had begun to write
                begun.unlink()
        everyone.wait()
        was_complete = directory.result is not None
        if not was_complete:
            if prepare:
                _prepare(job, directory, everyone)
            job.work(directory)
        if directory.writes:
            job.write_report(directory.path)
        everyone.wait()
    return _finished(directory, was_complete=was_complete)


def _finished(directory: RunDirectory, *, was_complete: bool) -> Run:
    result = directory.result
    assert result is not None  # a job ends with it
    return Run(directory.path, result, directory.path / "report.html", was_complete)
