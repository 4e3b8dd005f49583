"""A few processes side by side, one piece of work each: what one of them does to itself, it does to itself alone.

Every piece gets a new process (spawn), so that its peak memory is its own, nothing leaks from one to the next (case
TR-7), and a process that is killed is one failed piece. When the parent goes, however it goes, its children follow.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

from sensorium.core.errors import SensoriumError

W = TypeVar("W")

FAILED = 2  # exit status of a piece that ended with a sentence

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")


@dataclass(frozen=True)
class Outcome(Generic[W]):
    """A piece of work that ended; `problem` is None, or one sentence."""

    piece: W
    problem: str | None


@dataclass
class _Running(Generic[W]):
    piece: W
    process: BaseProcess
    said: connection.Connection
    log: Path


def run_each(
    work: Callable[[W], None], pieces: Sequence[W], *, processes: int, threads: int, log_of: Callable[[W], Path]
) -> Iterator[Outcome[W]]:
    """Do `work(piece)` for every piece, some at a time, and yield each as it ends.

    Args:
        work: A function of a module; it and the pieces travel to new processes. A `SensoriumError` ends the piece with
            its sentence.
        pieces: What is to be done, in this order.
        processes: How many at a time.
        threads: Threads of each.
        log_of: Where a piece's output goes; the file is removed when the piece succeeds.
    """
    waiting, running = list(reversed(pieces)), dict[int, _Running[W]]()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                started = _start(work, waiting.pop(), threads, log_of)
                running[started.process.sentinel] = started
            for sentinel in connection.wait(list(running)):
                assert isinstance(sentinel, int)  # what was waited for
                yield _finish(running.pop(sentinel))
    finally:
        for left in running.values():
            left.process.terminate()
        for left in running.values():
            left.process.join()


def _start(work: Callable[[W], None], piece: W, threads: int, log_of: Callable[[W], Path]) -> _Running[W]:
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    log = log_of(piece)
    log.parent.mkdir(parents=True, exist_ok=True)
    process = context.Process(target=_child, args=(work, piece, sender, log))
    with _environment({name: str(threads) for name in _THREADS}):
        process.start()
    sender.close()
    return _Running(piece, process, receiver, log)


def _finish(ended: _Running[W]) -> Outcome[W]:
    ended.process.join()
    status = ended.process.exitcode
    said = str(ended.said.recv()) if status == FAILED and ended.said.poll() else ""
    ended.said.close()
    if status == 0:
        ended.log.unlink(missing_ok=True)
        return Outcome(ended.piece, None)
    if said:
        return Outcome(ended.piece, said)
    if status is not None and status < 0:
        return Outcome(ended.piece, f"its process was ended by {signal.Signals(-status).name}: run it again to go on")
    return Outcome(ended.piece, f"its process failed: see {ended.log}")


def _child(work: Callable[[W], None], piece: W, said: connection.Connection, log: Path) -> None:
    """The life of a new process."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a user's interruption is the parent's to handle
    with log.open("w") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    try:
        work(piece)
    except SensoriumError as error:
        said.send(str(error))
        sys.exit(FAILED)


def _follow_parent() -> None:
    """End this process as soon as its parent has ended: its work would otherwise go on unseen, and hold its lock."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started inside."""
    before: dict[str, Any] = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
