"""A program that works on runs in processes that may be killed: the tests talk to it, its children die.

One program for many processes, since starting torch takes longer than all of them.
"""

import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import import_module

import torch


def kill_at_sync(number: int) -> None:
    """Kill this process when it flushes a file for the `number`th time: between any two things that it writes."""
    flush: Callable[[int], None] = os.fsync
    seen = 0

    def fsync(descriptor: int) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)

    os.fsync = fsync


def serve() -> None:
    """Answer lines ["run" | "resume", path, config, sync]: do it in a process that is killed at that flush (0 = never).

    Prints the process's number at once, and its exit status at its end.
    """
    from sensorium.core.files import write_text
    from sensorium.experiments import report
    from sensorium.experiments.run import resume, run

    for name in ("lightning_fabric", "pyarrow.parquet", "torch._dynamo", "sensorium.experiments.recommending"):
        import_module(name)  # here, so that no child has to; nothing may be computed before they fork
    report.write_report = lambda path: write_text(path / "report.html", "a page")  # the real one draws for seconds

    torch.set_num_threads(1)
    for line in sys.stdin:
        action, path, config, sync = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                try:
                    if sync:
                        kill_at_sync(sync)
                    if action == "run":
                        run(config, out=path)
                    else:
                        resume(path)
                    status = 0
                except Exception:
                    traceback.print_exc()
                    raise
            os._exit(status)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, ended = os.waitpid(child, 0)
        sys.stdout.write(f"{ended}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
