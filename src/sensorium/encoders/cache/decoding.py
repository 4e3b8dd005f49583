"""Decoding beside the model: a few processes prepare items in order, a bounded number of them ahead.

Items travel in small groups. A group that kills its process, or takes too long, is tried again item by item: an item
that does so alone too is refused, the others are not touched by it. Nothing here changes the order or the outcome:
one process, four, or none give the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from sensorium.encoders.protocol import Prepared, Preparer
from sensorium.media.errors import MediaError
from sensorium.media.workers import Workers

SECONDS = 60.0
AHEAD_BYTES = 256 * 1024**2  # prepared items that wait for the model
REASONS = {"timed_out": "timeout", "crashed": "worker_died"}  # as rejected.parquet says them

Raw = str | Path


@dataclass(frozen=True)
class Refusal:
    """Content that cannot be used, and why."""

    reason: str
    detail: str


Outcome = Prepared | Refusal


class Decoder:
    """Processes that hold one preparer. Use as a context manager.

    Args:
        preparer: Raw content to arrays.
        workers: Processes; 0 decodes in this one, without a time limit.
        group: Items of one call.
        ahead: Items that may be decoded before they are asked for, as far as `AHEAD_BYTES` allow.
        seconds: Time limit of one call.
    """

    def __init__(self, preparer: Preparer, *, workers: int, group: int, ahead: int, seconds: float = SECONDS) -> None:
        self.preparer, self.group, self.ahead = preparer, max(1, group), ahead
        self._name = uuid4().hex
        self._workers = Workers(workers, seconds=seconds) if workers else None
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode") if workers else None
        self._bytes, self._counted = 0, 0

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._workers is not None and self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._workers.close()
            self._threads.shutdown(wait=True)

    def outcomes(self, raws: Iterable[Raw | Refusal]) -> Iterator[Outcome]:
        """Prepare items and return them in order; what is refused already passes through."""
        groups = _grouped(raws, self.group)
        if self._threads is None:
            for group in groups:
                yield from self._group(group)
            return
        waiting: deque[tuple[int, Future[list[Outcome]]]] = deque()
        held = 0
        try:
            while True:
                while held < max(self._allowed(), self.group):
                    following = next(groups, None)
                    if following is None:
                        break
                    waiting.append((len(following), self._threads.submit(self._group, following)))
                    held += len(following)
                if not waiting:
                    return
                size, future = waiting.popleft()
                found = future.result()
                held -= size
                self._weigh(found)
                yield from found
        finally:
            for _, future in waiting:
                future.cancel()

    def again(self, raw: Raw) -> Outcome:
        """Prepare one item once more, now."""
        return self._group([raw])[0]

    def _allowed(self) -> int:
        """How many items may be under way: few until their size is known."""
        if self._counted == 0:
            return 2 * self.group * (self._workers.processes if self._workers else 1)
        return min(self.ahead, int(AHEAD_BYTES / max(self._bytes / self._counted, 1)))

    def _weigh(self, found: Sequence[Outcome]) -> None:
        for outcome in found:
            if isinstance(outcome, Prepared):
                self._bytes += size_of(outcome)
                self._counted += 1

    def _group(self, group: Sequence[Raw | Refusal]) -> list[Outcome]:
        raws = [entry for entry in group if not isinstance(entry, Refusal)]
        found = iter(self._attempt(raws) if raws else [])
        return [entry if isinstance(entry, Refusal) else next(found) for entry in group]

    def _attempt(self, raws: Sequence[Raw]) -> list[Outcome]:
        try:
            return self._call(raws)
        except MediaError as error:
            if len(raws) > 1:
                return [self._alone(raw, killed=error.reason == "crashed") for raw in raws]
            return [self._alone(raws[0], killed=True) if error.reason == "crashed" else _refusal(error)]

    def _alone(self, raw: Raw, *, killed: bool) -> Outcome:
        """Try one item; if it was killed in company, being killed once more is enough."""
        try:
            return self._call([raw])[0]
        except MediaError as error:
            if error.reason == "crashed" and not killed:
                return self._alone(raw, killed=True)
            return _refusal(error)

    def _call(self, raws: Sequence[Raw]) -> list[Outcome]:
        if self._workers is None:
            return _prepare(self.preparer, raws)
        source = raws[0] if isinstance(raws[0], Path) else ""
        found = self._workers.call(prepare_known, self._name, raws, source=source)
        if found is None:  # this process is new: it gets the preparer along with the work
            found = self._workers.call(prepare_first, self._name, self.preparer, raws, source=source)
        return found


def size_of(prepared: Prepared) -> int:
    """Return the bytes of an item's arrays."""
    return sum(array.nbytes for array in prepared.arrays.values())


# --- in the decoding processes ---------------------------------------------------------------------------------------

_preparers: dict[str, Preparer] = {}


def prepare_known(name: str, raws: Sequence[Raw]) -> list[Outcome] | None:
    """Prepare items by the preparer that this process was given under a name; None where it has none yet."""
    preparer = _preparers.get(name)
    return None if preparer is None else _prepare(preparer, raws)


def prepare_first(name: str, preparer: Preparer, raws: Sequence[Raw]) -> list[Outcome]:
    """Keep a preparer and prepare items by it."""
    _preparers[name] = preparer
    return _prepare(preparer, raws)


def _prepare(preparer: Preparer, raws: Sequence[Raw]) -> list[Outcome]:
    found: list[Outcome] = []
    for raw in raws:
        try:
            found.append(preparer(raw))
        except MediaError as error:
            found.append(_refusal(error))
        except MemoryError:
            found.append(Refusal("too_large", "there is not enough memory to read it"))
    return found


def _refusal(error: MediaError) -> Refusal:
    return Refusal(REASONS.get(error.reason, error.reason), error.detail)


def _grouped(raws: Iterable[Raw | Refusal], size: int) -> Iterator[list[Raw | Refusal]]:
    group: list[Raw | Refusal] = []
    for raw in raws:
        group.append(raw)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
