"""Processes that decode: a file that hangs or kills its decoder costs itself, never the work around it.

    with Workers(2, seconds=60) as workers:
        frames = workers.call(read_frames, path, choose, source=path)

A call goes to an idle process and comes back with its result, or with a `MediaError`. A process that exceeds the time
limit, or dies, is replaced. Processes are spawned once and used again, since starting one takes longer than decoding a
short clip.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from sensorium.core.errors import ResourceError, SensoriumError
from sensorium.media.errors import MediaError

R = TypeVar("R")
P = ParamSpec("P")

SECONDS = 60.0
_START_SECONDS = 120.0  # a new process imports its modules; this bounds only a machine that cannot start one


class Workers:
    """A few decoding processes, for calls from any thread.

    Attributes:
        processes: How many there are at most; each is started when it is first needed.
        seconds: Time limit of a call.
    """

    def __init__(self, processes: int = 2, *, seconds: float = SECONDS) -> None:
        self.processes, self.seconds = processes, seconds
        self._seats: queue.LifoQueue[_Worker | None] = queue.LifoQueue()  # last in, first out: a warm one first
        for _ in range(processes):
            self._seats.put(None)
        self._alive: set[_Worker] = set()
        self._closed = False

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes at once, whatever they do; calls under way get their error."""
        self._closed = True
        for worker in list(self._alive):
            worker.process.kill()
        with contextlib.suppress(queue.Empty):
            while True:
                if (idle := self._seats.get_nowait()) is not None:
                    idle.end()
                    self._alive.discard(idle)
        for _ in range(self.processes):
            self._seats.put(None)  # whoever waits for a place is told that there is none

    def call(self, function: Callable[..., R], *arguments: Any, source: str | Path = "") -> R:
        """Do `function(*arguments)` in a process and return its result; wait while all are busy.

        Args:
            function: A function of a module, or another object that pickles.
            *arguments: Its arguments.
            source: The file that is read, for messages.

        Raises:
            MediaError: From the function; or with reason "timed_out" or "crashed".
            SensoriumError: From the function.
        """
        worker = self._seats.get()
        usable: _Worker | None = None
        try:
            if worker is None or not worker.process.is_alive():
                worker = self._start()
            result = worker.call(function, arguments, self.seconds, str(source))
            usable = worker
        except (MediaError, SensoriumError) as error:
            usable = worker if getattr(error, "reason", "") not in ("timed_out", "crashed") else None
            raise
        finally:
            if usable is None and worker is not None:
                worker.end()
                self._alive.discard(worker)
            self._seats.put(usable)
        found: R = result
        return found

    async def run(self, function: Callable[..., R], *arguments: Any, source: str | Path = "") -> R:
        """As `call`, while the event loop goes on."""
        return await asyncio.to_thread(self.call, function, *arguments, source=source)

    def _start(self) -> _Worker:
        if self._closed:
            raise ResourceError("the decoding processes have been closed")
        worker = _Worker()
        self._alive.add(worker)
        return worker


class _Worker:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._pipe, far = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(far,), daemon=True)
        self.process.start()
        far.close()
        if self._answer(_START_SECONDS) != ("ready",):
            self.end()
            raise ResourceError("a decoding process could not be started: is there memory left on this machine?")

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...], seconds: float, source: str) -> Any:
        self._pipe.send((function, arguments))
        answer = self._answer(seconds)
        if answer is None:
            raise MediaError("timed_out", f"reading it took more than {seconds:g} seconds", source)
        kind, *rest = answer
        if kind == "died":
            raise MediaError("crashed", f"its decoder died ({rest[0]})", source)
        if kind == "media":
            raise MediaError(*rest)
        if kind == "sentence":
            raise SensoriumError(rest[0])
        if kind == "bug":
            raise RuntimeError(f"in a decoding process:\n{rest[0]}")
        return rest[0]

    def _answer(self, seconds: float) -> tuple[Any, ...] | None:
        """Return the next message, ("died", how), or None after so many seconds."""
        ready = connection.wait([self._pipe, self.process.sentinel], timeout=seconds)
        if not ready:
            return None
        if self._pipe in ready:
            try:
                answer: tuple[Any, ...] = self._pipe.recv()
                return answer
            except (EOFError, ConnectionError):
                pass
        self.process.join(timeout=5)
        status = self.process.exitcode
        return "died", signal.Signals(-status).name if status is not None and status < 0 else f"status {status}"

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self._pipe.close()


def _serve(pipe: connection.Connection) -> None:
    """The life of a process: answer calls until the other side has gone."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a user's interruption is the parent's to handle
    pipe.send(("ready",))
    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, ConnectionError):
            return
        except Exception:  # noqa: BLE001 - the function cannot be imported here; it is raised again on the other side
            pipe.send(("bug", traceback.format_exc()))
        else:
            pipe.send(_attempt(function, arguments))


def _attempt(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Do a call; what it raises becomes a message, since exceptions of other packages need not travel."""
    try:
        return "result", function(*arguments)
    except MediaError as error:
        return "media", error.reason, error.detail, error.source
    except SensoriumError as error:
        return "sentence", str(error)
    except MemoryError:
        return "media", "too_large", "there is not enough memory to read it", ""
    except Exception:  # noqa: BLE001 - it is raised again on the other side, with this trace
        return "bug", traceback.format_exc()


def _follow_parent() -> None:
    """End this process as soon as its parent has ended, in the middle of a file too."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)
