"""Doing the units: as many side by side as the judge takes requests, each ending in records on the disk.

A worker takes the next unit, gets its frames, follows the protocol, and appends one line per record to `done.jsonl`.
Every answer is kept before it is used, so that a killed run repeats at most the requests that were on their way, one
for each worker. When the run has to stop (a refused key, an exhausted budget), workers send nothing more; what is on
its way comes in and is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from sensorium.core.errors import SensoriumError
from sensorium.core.files import json_line
from sensorium.judging.asking import Asker
from sensorium.judging.cells import VideoCell
from sensorium.judging.judges.base import Judge, Outcome, VideoJudge
from sensorium.judging.material import Material
from sensorium.judging.protocols import few_shot
from sensorium.judging.protocols.base import Asking, repeated
from sensorium.judging.protocols.chain_of_query import chain_of_query
from sensorium.judging.protocols.direct import direct
from sensorium.judging.protocols.words import protocol_version
from sensorium.judging.records import JudgeName, Record
from sensorium.judging.sampling import Sampling, Shown, take_pictures
from sensorium.judging.units import Unit
from sensorium.media.errors import MediaError
from sensorium.media.workers import Workers

GRACE = 30.0  # seconds that requests under way are given to come in when a run stops

Result = TypeVar("Result")


@dataclass(frozen=True)
class Way:
    """How a run judges.

    Attributes:
        sampling: How frames are taken, by a dimension's id.
        asking: Settings of requests.
        repeats: How often a protocol is followed, with distinct seeds.
    """

    sampling: Callable[[Unit], Sampling]
    asking: Asking
    repeats: int = 1

    def judge_name(self, judge: Judge | VideoJudge, unit: Unit) -> JudgeName:
        """Return who judges a unit: judge, transport, sampler and words, since scores that differ in one share no
        board."""
        if isinstance(judge, VideoJudge):
            return JudgeName(judge.id, judge.family, judge.protocol_version)
        version = protocol_version(unit.protocol, unit.dimension)
        if unit.protocol == "chain-of-query" and not self.asking.judge_sees_answers:
            version += "+answers-unseen"
        if self.repeats > 1:
            version += f"+mean-of-{self.repeats}"
        if not judge.caps.video_url:
            version += f"+{self.sampling(unit).name}"
        return JudgeName(judge.id, judge.family, version)


class Execution:
    """One go at a list of units."""

    def __init__(
        self,
        judge: Judge | VideoJudge,
        asker: Asker | None,
        way: Way,
        units: Sequence[Unit],
        workers: Workers,
        *,
        finished: Callable[[Unit, list[Record]], None],
        concurrency: int,
    ) -> None:
        """Prepare.

        Args:
            judge: Who judges.
            asker: For judges that answer requests.
            way: How.
            units: What is to be done, in this order.
            workers: The decoding processes.
            finished: Called with each unit's records, one at a time.
            concurrency: Units side by side.
        """
        self.judge, self.asker, self.way, self.units = judge, asker, way, units
        self._finished, self._concurrency, self._workers = finished, concurrency, workers
        if isinstance(judge, VideoJudge):
            measure = judge.measure
            self.material: Material[tuple[VideoCell, Sampling | None]] = Material(
                workers, self._uses(), lambda key: (measure, (key[0],), key[0])
            )
        else:
            whole = judge.caps.video_url
            self.material = Material(workers, self._uses(), lambda key: (take_pictures, (*key, whole), key[0]))

    def _keys(self, unit: Unit) -> list[tuple[VideoCell, Sampling | None]]:
        sampling = None if isinstance(self.judge, VideoJudge) else self.way.sampling(unit)
        return [(cell, sampling) for cell in unit.videos]

    def _uses(self) -> Iterator[tuple[VideoCell, Sampling | None]]:
        return (key for unit in self.units for key in self._keys(unit))

    async def run(self) -> None:
        """Do all units.

        Raises:
            SensoriumError: The run had to stop; all finished units and all answers are kept.
        """
        waiting = iter(self.units)
        tasks = [asyncio.create_task(self._worker(waiting)) for _ in range(self._concurrency)]
        try:
            done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            problem = next((task.exception() for task in done if task.exception()), None)
            if left and self.asker is not None and isinstance(problem, SensoriumError):
                self.asker.stop(problem)
                await asyncio.wait(left, timeout=GRACE)
            if problem is not None:
                raise problem
        finally:
            for task in tasks:
                task.cancel()
            self._workers.close()  # else the loop's end would wait for files that are being read
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _worker(self, waiting: Iterator[Unit]) -> None:
        for unit in waiting:
            outcomes = await self._outcomes(unit)
            self.material.done(self._keys(unit))
            name = self.way.judge_name(self.judge, unit)
            cells = zip(unit.targets, outcomes, strict=True)
            self._finished(unit, [record_of(unit, cell, found, name) for cell, found in cells])

    # --- one unit ---------------------------------------------------------------------------------------------------

    async def _outcomes(self, unit: Unit) -> list[Outcome]:
        """Return an outcome for each target; one whose file cannot be used gets an error, the others go on."""
        if isinstance(self.judge, VideoJudge):
            return [await self._measured(self.judge, unit)]
        sampling = self.way.sampling(unit)
        ready: dict[VideoCell, Shown] = {}
        failed: dict[VideoCell, Outcome] = {}
        for cell in unit.videos:
            try:
                ready[cell] = await self.material.get((cell, sampling))
            except MediaError as error:
                failed[cell] = Outcome(None, "error", f"the video cannot be used: {error.detail}")
        targets = [ready[cell] for cell in unit.targets if cell in ready]
        context = [ready[cell] for cell in unit.context if cell in ready]
        judged: list[Outcome] = []
        if targets:
            judged = await repeated(
                lambda asking: self._asked(unit, targets, context, asking), self.way.asking, self.way.repeats
            )
        by_cell = failed | {shown.cell: found for shown, found in zip(targets, judged, strict=True)}
        return [by_cell[cell] for cell in unit.targets]

    async def _measured(self, judge: VideoJudge, unit: Unit) -> Outcome:
        cell = unit.targets[0]
        try:
            measured = await self.material.get((cell, None))
        except MediaError as error:
            return Outcome(None, "error", f"the video cannot be used: {error.detail}")
        return await asyncio.to_thread(judge.judge, cell, unit.dimension, measured)

    async def _asked(
        self, unit: Unit, targets: Sequence[Shown], context: Sequence[Shown], asking: Asking
    ) -> list[Outcome]:
        asker, dimension = self.asker, unit.dimension
        assert asker is not None
        if unit.protocol == "few-shot-joint":
            return await few_shot.joint(asker, dimension, targets, asking)
        if unit.protocol == "few-shot-static":
            return [await few_shot.static(asker, dimension, targets[0], context, asking)]
        if unit.protocol == "chain-of-query":
            return [await chain_of_query(asker, dimension, targets[0], asking)]
        return [await direct(asker, dimension, targets[0], asking)]


def record_of(unit: Unit, cell: VideoCell, found: Outcome, name: JudgeName) -> Record:
    """Return the record of an outcome."""
    return Record(
        unit.dimension.id,
        cell.prompt_id,
        cell.sample,
        cell.model,
        found.score,
        found.status,
        found.reason,
        name,
        found.request_keys,
        found.frames,
        found.usage.tree(),
        found.attempts,
        dict(found.notes),
    )


def record_line(record: Record) -> str:
    """Return a record as its line in a file."""
    return json_line(asdict(record))


def wait_for(work: Coroutine[Any, Any, Result]) -> Result:
    """Run asynchronous work to its end, from a script or from inside a notebook's loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
