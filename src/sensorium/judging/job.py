"""The job of kind `judge`: from videos to records, a leaderboard and a page; killed at any moment, it goes on.

videos.jsonl      which videos the run began with
dimensions.json   what was judged, in full
answers/          every answer under its key: cache, transcript, and what a resumed run does not ask again
done.jsonl        records of finished units, while the run is under way
records.jsonl     all records
leaderboard.csv   means, intervals, bounds and ranks
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

from sensorium.core.config import Component, Config, apply_overrides, build, dump, load_yaml, to_yaml
from sensorium.core.errors import DataError, RunError
from sensorium.core.files import json_line, read_json, write_json, write_text
from sensorium.core.progress import Progress
from sensorium.core.rundir import RunDirectory
from sensorium.judging.accounting import Ledger
from sensorium.judging.asking import Asker
from sensorium.judging.cache import AnswerStore
from sensorium.judging.config import JudgeConfig
from sensorium.judging.dimensions import Dimension, dimensions
from sensorium.judging.judges.base import Judge, Usage, VideoJudge
from sensorium.judging.manifest import Found, describe_gaps, find_videos
from sensorium.judging.plan import Planned, asked_dimensions, plan
from sensorium.judging.progress import Milestones
from sensorium.judging.prompts import Prompt, listed_prompts, read_prompts, suite
from sensorium.judging.protocols.base import Asking
from sensorium.judging.records import RECORDS, Record, read_records, write_records
from sensorium.judging.running import Execution, Way, record_line, wait_for
from sensorium.judging.sampling import Sampling
from sensorium.judging.units import Unit, make_units
from sensorium.media.workers import Workers

logger = logging.getLogger(__name__)

VIDEOS, DIMENSIONS, ANSWERS, DONE, LEADERBOARD = (
    "videos.jsonl",
    "dimensions.json",
    "answers",
    "done.jsonl",
    "leaderboard.csv",
)
PACKAGES = ("av", "pillow", "opencv-python-headless", "openai", "tenacity")


class JudgeJob:
    """A judging run."""

    Config: ClassVar[type[Config]] = JudgeConfig

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        self.found: Found | None = None
        self.units: list[Unit] = []

    def folder_name(self) -> str:
        """Return `<name>-<judge>-<digits of the configuration>`."""
        chosen: Component = self.config.judge
        return f"{self.config.name}-{chosen.name}-{self.config.key()}"

    # --- before anything is spent -----------------------------------------------------------------------------------

    def prepare(self, run: RunDirectory | None) -> None:
        """Find the videos, and refuse what cannot be judged.

        Raises:
            DataError: No video matches a prompt; or, if `videos.strict`, some do not, or cells have no video.
            RunError: The videos are not those that the run began with.
        """
        wanted = dimensions(self.config.dimensions)
        videos = self.config.videos
        self.found = find_videos(wanted, self._prompts(), manifest=videos.manifest, root=videos.root)
        gaps = describe_gaps(self.found)
        if gaps and videos.strict:
            raise DataError(f"videos.strict: {'; '.join(gaps)}")
        for gap in gaps if run is None else ():
            logger.info("%s", gap)
        self.judge = self._make_judge()
        measuring = isinstance(self.judge, VideoJudge)
        self.units = make_units(self.found, wanted, measuring=measuring, protocol=self.config.protocol)
        if run is not None and (run.path / VIDEOS).exists():
            began = (run.path / VIDEOS).read_text(encoding="utf-8")
            if began != self._videos():
                raise RunError(
                    f"the videos are not those that {run.path} began with (see {VIDEOS} there): start a new run, or "
                    "put the files back"
                )

    def _prompts(self) -> list[Prompt] | None:
        """Return the prompts that are judged; None stands for the manifest's own."""
        wanted = self.config.prompts
        if isinstance(wanted, list):
            return listed_prompts(wanted)
        if wanted == "manifest":
            return None
        return list(suite()) if wanted == "suite" else read_prompts(wanted)

    def _make_judge(self) -> Judge | VideoJudge:
        chosen: Component = self.config.judge
        made: Judge | VideoJudge = chosen.target(chosen.config)
        return made

    def _videos(self) -> str:
        """Return the videos of the run as the lines of its file."""
        assert self.found is not None
        lines = []
        for video in self.found.videos:
            cell = video.cell
            size = cell.path.stat().st_size if cell.path.is_file() else None
            tree = {**vars(cell), "path": cell.path.as_posix(), "bytes": size, "dimensions": list(video.dimensions)}
            lines.append(json_line(tree) + "\n")
        return "".join(lines)

    def planned(self) -> list[Planned]:
        """Return what the run will take, dimension by dimension; call `prepare` first. A judge that measures takes no
        calls."""
        if isinstance(self.judge, VideoJudge):
            counts = [(d.id, sum(unit.dimension.id == d.id for unit in self.units)) for d in self.dimensions]
            return [Planned(name, count, 0, 0, 0, 0, 0.0, 0) for name, count in counts]
        with self._workers() as workers:
            return plan(self.units, self.judge, self._sampling, workers, self.config.repeats)

    @property
    def dimensions(self) -> list[Dimension]:
        """The dimensions that have anything to judge."""
        return asked_dimensions(self.units)

    def _sampling(self, unit: Unit) -> Sampling:
        return self.config.frames.sampling(unit.dimension)

    def _workers(self) -> Workers:
        return Workers(self.config.frames.processes, seconds=self.config.frames.seconds)

    # --- the work ---------------------------------------------------------------------------------------------------

    def work(self, run: RunDirectory) -> None:
        """Judge what is left, then write records, leaderboard and result.

        Raises:
            RunError: The run had to stop; `sensorium resume` goes on.
        """
        if not run.writes:
            return  # requests are made by one process, however many were started
        self._write_beginning(run)
        done = self._done(run)
        left = [unit for unit in self.units if not all(key in done for key in unit.keys)]
        store = AnswerStore(run.path / ANSWERS)
        asker = None
        if not isinstance(self.judge, VideoJudge):
            asker = Asker(self.judge, store, Ledger(store.usage(), self.config.max_cost), re_asks=self.config.re_asks)
        if left:
            self._judge(run, left, done, asker)
        records = list(done.values())
        write_records(run.path / RECORDS, records)
        self._write_result(run, records, store)
        (run.path / DONE).unlink(missing_ok=True)

    def _write_beginning(self, run: RunDirectory) -> None:
        """Write what the run begins with, and what computes it now."""
        write_text(run.path / VIDEOS, self._videos())
        write_json(run.path / DIMENSIONS, [dump(dimension) for dimension in self.dimensions])
        environment = run.path / "environment.json"
        tree = read_json(environment)
        tree["packages"] |= {name: _version(name) for name in PACKAGES}
        write_json(environment, tree | {"device": "cpu", "decoding_processes": self.config.frames.processes})

    def _done(self, run: RunDirectory) -> dict[Any, Record]:
        """Return the records that count, by cell, and cut the log to them.

        A unit counts when all its cells are there. Judgements that failed are made again: what failed may have passed.
        """
        path = run.path / DONE
        if not path.exists():
            return {}
        found = {record.key: record for record in read_records(path) if record.status != "error"}
        whole = {key for unit in self.units if all(key in found for key in unit.keys) for key in unit.keys}
        kept = {key: record for key, record in found.items() if key in whole}
        write_text(path, "".join(record_line(record) + "\n" for record in kept.values()))
        return kept

    def _judge(self, run: RunDirectory, left: list[Unit], done: dict[Any, Record], asker: Asker | None) -> None:
        milestones = Milestones(run, self.units, done, AnswerStore(run.path / ANSWERS))
        began, total = time.monotonic(), sum(len(unit.targets) for unit in left)
        with (
            (run.path / DONE).open("a", encoding="utf-8") as log,
            Progress(total, "judge", unit="cells") as bar,
            self._workers() as workers,
        ):

            def finished(unit: Unit, records: list[Record]) -> None:
                log.write("".join(record_line(record) + "\n" for record in records))
                log.flush()
                done.update({record.key: record for record in records})
                milestones.reached()
                nulls = sum(record.score is None for record in done.values())
                spent = asker.ledger.spent.cost if asker else 0.0
                bar.advance(len(records), null=nulls, cost=f"{spent:.4g}")

            asking = Asking(
                self.config.seed, self.config.temperature, self.config.max_tokens, self.config.judge_sees_answers
            )
            way = Way(self._sampling, asking, self.config.repeats)
            concurrency = self.config.frames.processes if asker is None else asker.judge.concurrency
            execution = Execution(self.judge, asker, way, left, workers, finished=finished, concurrency=concurrency)
            try:
                wait_for(self._to_the_end(execution))
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"interrupted: go on with 'sensorium resume {run.path}'") from None
        sent = asker.sent if asker else 0
        run.append("timing.jsonl", {"seconds": time.monotonic() - began, "requests": sent, "cells": total})

    async def _to_the_end(self, execution: Execution) -> None:
        try:
            await execution.run()
        finally:
            if not isinstance(self.judge, VideoJudge):
                await self.judge.close()

    def _write_result(self, run: RunDirectory, records: list[Record], store: AnswerStore) -> None:
        from sensorium.judging.leaderboard import summarise, write_leaderboard

        board = self.config.board
        summary = summarise(
            records,
            self.dimensions,
            missing=board.missing,
            allow_missing=board.allow_missing,
            mid_ranks=board.mid_ranks,
            draws=board.draws,
            seed=self.config.seed,
        )
        write_leaderboard(run.path / LEADERBOARD, summary)
        gaps = [] if self.found is None else describe_gaps(self.found)
        usage = usage_of(records, store)
        run.write_result({"kind": "judge", **summary, "usage": usage.tree(), "gaps": gaps, "judge": self.judge.id})

    def write_report(self, path: Path) -> None:
        """Write `report.html` of a complete run."""
        from sensorium.judging.report import write_report

        write_report(path)


def usage_of(records: Iterable[Record], store: AnswerStore) -> Usage:
    """Return what the answers behind some records took, each answer once however many records rest on it."""
    found = Usage()
    for key in sorted({key for record in records for key in record.request_keys}):
        if (response := store.read(key)) is not None:
            found += response.usage
    return found


def planned(config: str | Path | Mapping[str, Any], overrides: Iterable[str] = ()) -> list[Planned]:
    """Return what a configuration's run would take, dimension by dimension; nothing is asked, nothing is written.

    Raises:
        ConfigError: A wrong key.
        DataError: No video matches a prompt.
    """
    tree = load_yaml(config) if isinstance(config, str | Path) else config
    job = JudgeJob(build(JudgeConfig, apply_overrides(tree, overrides), source=str(config)))
    job.prepare(None)
    return job.planned()


def raise_budget(path: str | Path, max_cost: float) -> None:
    """Set `max_cost` of a run that stopped at it, before it is resumed.

    Raises:
        RunError: The folder holds no judging run.
    """
    run = _judging_run(path)
    with run.lock():
        write_text(run.path / "config.yaml", to_yaml(run.config | {"max_cost": max_cost}))


def forget_errors(path: str | Path) -> int:
    """Let a complete run make its failed judgements again when it is resumed, and return how many they are.

    Raises:
        RunError: The folder holds no judging run.
        DataError: It is not complete.
    """
    run = _judging_run(path)
    with run.lock():
        found = read_records(run.path / RECORDS)
        kept = [record for record in found if record.status != "error"]
        if len(kept) < len(found):
            write_text(run.path / DONE, "".join(record_line(record) + "\n" for record in kept))
            (run.path / "result.json").unlink(missing_ok=True)
    return len(found) - len(kept)


def _judging_run(path: str | Path) -> RunDirectory:
    run = RunDirectory.open(path)
    if run.kind != "judge":
        raise RunError(f"{path} is a run of kind '{run.kind}', not one of judging")
    return run


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
