"""Experiments: a list of cells (model, data, seed), of which only the missing ones are run, and one committed row for
each.

    1  the first seeds of every deciding cell, every point of its grid
    2  its other seeds, for the point that is best on validation
    3  what does not decide, in the same order

A cell is a run like any other, below `runs/<topic>/`. It is missing while no row of its configuration and seed was made
on the data as they are now. Killed at any moment, the experiment goes on where it was: a run
that was interrupted is resumed, one that was complete without its row gives its row. A cell that fails is named at the
end and stops no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.core.config import dump
from sensorium.core.errors import DataError, RunError
from sensorium.core.files import read_json
from sensorium.core.progress import Progress
from sensorium.core.rundir import RunDirectory
from sensorium.data.catalogue import open_dataset
from sensorium.experiments.config import RunConfig
from sensorium.experiments.finished import origins
from sensorium.experiments.jobs import job_class
from sensorium.experiments.origin import Origin, tables_digest
from sensorium.experiments.plan import Point, Search, read_plan
from sensorium.experiments.rows import ROWS, Row, Rows, config_hash, find
from sensorium.experiments.run import RUNS, resume, run
from sensorium.experiments.workers import run_each
from sensorium.training.loop import TIMING

Tables = Mapping[str, str | None]  # by data set, as configurations name it


@dataclass(frozen=True)
class Cell:
    """One run of an experiment."""

    point: Point
    seed: int
    runs: Path
    rows: Path

    @property
    def config(self) -> RunConfig:
        """Its configuration."""
        return self.point.with_seed(self.seed)

    @property
    def path(self) -> Path:
        """Its run's folder."""
        job = job_class(dump(self.config), self.point.cell)
        return self.runs / self.point.topic / job(self.config).folder_name()

    @property
    def log(self) -> Path:
        """Where its process writes what it has to say."""
        return self.path.with_name(f"{self.path.name}.log")

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"{self.point.label}, seed {self.seed}"


@dataclass
class ExperimentResult:
    """What an experiment did.

    Attributes:
        topic: Of the experiment.
        rows: The file of its rows.
        there: Cells whose rows were there before.
        done: Cells that were run now.
        failed: Label -> why, for cells that failed or could not begin.
    """

    topic: str
    rows: Path
    there: int = 0
    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether no cell failed."""
        return not self.failed

    def summary(self) -> list[str]:
        """Return what there is to say, one sentence each."""
        lines = [
            f"{self.topic}: {len(self.done)} cells run, {self.there} were there, {len(self.failed)} failed; "
            f"rows in {self.rows}"
        ]
        return lines + [f"failed: {label}: {problem}" for label, problem in self.failed.items()]


def run_experiment(
    file: str | Path, *, rows: str | Path = ROWS, runs: str | Path = RUNS, processes: int = 2, threads: int = 1
) -> ExperimentResult:
    """Run the missing cells of an experiment. In a script of your own, call it under `if __name__ == "__main__":`,
    since the processes of the cells import that script.

    Args:
        file: The experiment file (`plan.ExperimentConfig`).
        rows: The folder of the files of rows.
        runs: The folder of runs; the cells' go to `<runs>/<topic>/`.
        processes: Cells that are run side by side.
        threads: Threads of each.

    Returns:
        What was done; look at `passed`.

    Raises:
        ConfigError: The file, or the configuration of any cell; nothing is run then.
        KeyboardInterrupt: With the command that goes on.
    """
    plan = read_plan(file)
    kept = Rows(plan.topic, rows)
    tables = _tables(point.config for search in plan.searches for point in search.points)
    going = _Going(kept, tables, Path(runs), processes, threads, ExperimentResult(plan.topic, kept.path))
    try:
        for deciding in (True, False):
            searches = [search for search in plan.searches if search.deciding is deciding]
            going.run_missing(going.first_cells(searches))
            going.run_missing(going.other_cells(searches))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; go on with: sensorium experiment {file}") from None
    return going.result


@dataclass(frozen=True)
class _Going:
    """An experiment that is being run."""

    kept: Rows
    tables: Tables
    runs: Path
    processes: int
    threads: int
    result: ExperimentResult

    def first_cells(self, searches: Iterable[Search]) -> list[Cell]:
        """Return every point on the seeds that search."""
        return [
            self._cell(point, seed) for search in searches for seed in search.search_seeds for point in search.points
        ]

    def other_cells(self, searches: Iterable[Search]) -> list[Cell]:
        """Return the chosen points on the other seeds; a search that cannot choose is noted as failed."""
        cells, kept = [], self.kept.read()
        for search in searches:
            chosen = best_point(search, kept, self.tables)
            if chosen is not None:
                cells += [self._cell(chosen, seed) for seed in search.more_seeds]
            elif search.more_seeds:
                problem = "its other seeds wait: no point is chosen before all of its grid has been run"
                self.result.failed[search.name] = problem
        return cells

    def _cell(self, point: Point, seed: int) -> Cell:
        return Cell(point, seed, self.runs, self.kept.path.parent)

    def run_missing(self, cells: list[Cell]) -> None:
        """Run the cells that have no row: one seed of all before the next."""
        there = self.kept.read()
        missing = [cell for cell in cells if find(there, cell.config, self.tables[cell.config.data.dataset]) is None]
        missing.sort(key=lambda cell: cell.seed)
        self.result.there += len(cells) - len(missing)
        with Progress(len(missing), "cells", unit="cells") as bar:
            for outcome in run_each(
                run_cell, missing, processes=self.processes, threads=self.threads, log_of=lambda cell: cell.log
            ):
                if outcome.problem is None:
                    self.result.done.append(outcome.piece.label)
                else:
                    self.result.failed[outcome.piece.label] = outcome.problem
                bar.advance(failed=len(self.result.failed))


def best_point(search: Search, kept: Sequence[Row], tables: Tables) -> Point | None:
    """Return the point whose mean on validation over the search's seeds is best, the earlier of equals; the test has no
    say.

    Returns:
        None while a row of the search is missing. A search of one point has chosen before it begins.
    """
    if len(search.points) == 1:
        return search.points[0]
    means = []
    for point in search.points:
        data = tables[point.config.data.dataset]
        found = [find(kept, point.with_seed(seed), data) for seed in search.search_seeds]
        values = [row["selection"]["value"] for row in found if row is not None]
        if len(values) < len(search.search_seeds):
            return None
        means.append(float(np.mean(values)))
    sign = 1.0 if search.points[0].config.parsed_selection().higher_is_better else -1.0
    return search.points[int(np.argmax(np.multiply(means, sign)))]


def _tables(configs: Iterable[RunConfig]) -> Tables:
    """Open each data set once, before several processes would make it at the same time; return the digest of its
    tables.

    One that cannot be opened has None: rows that were made of it elsewhere count, cells that need it fail and say why.
    """
    found: dict[str, str | None] = {}
    for config in configs:
        name = config.data.dataset
        if name in found:
            continue
        try:
            found[name] = tables_now(config)
        except DataError:
            found[name] = None
    return found


def tables_now(config: RunConfig) -> str:
    """Return the digest of the tables that a configuration names, as they are now; a wing has its own way to say it."""
    own = getattr(job_class(dump(config), "cell"), "tables_digest", None)
    return str(own(config)) if own is not None else tables_digest(open_dataset(config.data.dataset))


def run_cell(cell: Cell) -> None:
    """Run, resume or merely read one cell, and add its row.

    Raises:
        RunError: The cell's folder holds a run on other data.
    """
    config = cell.config
    if (cell.path / "config.yaml").exists():
        origin = Origin.find(cell.path)
        if origin is not None and origin.tables != tables_now(config):
            raise RunError(f"{cell.path} holds a run on other data than '{config.data.dataset}' is now: remove it")
        resume(cell.path)
    else:
        run(config, out=cell.path)
    Rows(cell.point.topic, cell.rows).append(row_of(cell.path, cell.point), config)


def row_of(path: Path, point: Point) -> Row:
    """Return what is kept of a complete run.

    Raises:
        RunError: It is not complete.
    """
    directory = RunDirectory.open(path)
    result = directory.result
    if result is None:
        raise RunError(f"{path} is not complete, so it has no row yet: continue it with 'sensorium resume {path}'")
    environment = read_json(path / "environment.json")
    timing = directory.records(TIMING)[-1]
    row: dict[str, Any] = {
        "cell": point.cell,
        "point": dict(point.settings),
        "model": result["model"],
        "dataset": result["data"]["name"],
        "seed": result["seed"],
        "config_hash": config_hash(point.config),
        "tables": result["data"]["tables"],
        "epochs": result["training"]["epochs"],
        "selection": {**result["selection"], "higher_is_better": point.config.parsed_selection().higher_is_better},
        "users": result["test"].get("students", result["test"]["n"]),
        "valid": _rounded(result["valid"]["metrics"]),
        "test": _rounded(result["test"]["metrics"]),
        "test_intervals": _rounded(result["test"]["intervals"]),
        "seconds": round(timing["train_seconds"] + timing["validation_seconds"] + timing["after_training_seconds"], 2),
        "memory_mb": round(timing["peak_memory_bytes"] / 2**20),
        "version": environment["packages"]["sensorium"],
        "machine": environment["machine"],
        "threads": environment["threads"],
        "finished": datetime.now(UTC).date().isoformat(),
        "config": directory.config,
    }
    if features := origins(result["data"].get("features", {})):
        row["features"] = features
    if "buckets" in result:
        row["buckets"] = _rounded(_buckets(result["buckets"], result["selection"]["name"]))
    if "with_repeats" in result["test"]:
        row["with_repeats"] = _rounded(result["test"]["with_repeats"])
    for extra in ("exposure", "protocol", "leaky", "readings", "by_length", "unseen"):  # and what runs of a wing say
        if extra in result:
            row[extra] = _rounded(result[extra])
    if "cold_items" in result:
        among = result["cold_items"]["among_cold"]
        row["cold"] = {
            "users": among["n"],
            "test": _rounded(among["metrics"]),
            "test_intervals": _rounded(among["intervals"]),
        }
    return row


def _buckets(buckets: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, dict[str, Any]]:
    """Return the users of each bucket of items, and the number that selected, on the targets in it."""
    return {name: {"users": bucket["n"], metric: bucket["metrics"].get(metric)} for name, bucket in buckets.items()}


def _rounded(numbers: Any) -> Any:
    """Round to six digits, which is more than any interval allows and keeps lines readable."""
    if isinstance(numbers, dict):
        return {key: _rounded(value) for key, value in numbers.items()}
    if isinstance(numbers, list):
        return [_rounded(value) for value in numbers]
    return round(numbers, 6) if isinstance(numbers, float) else numbers
