"""A program whose processes do a run together, as torchrun would have started them: one is killed, then both resume.

    python tests/experiments/together.py RUN CONFIG

One program that forks, since starting torch takes longer than all of its children.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from importlib import import_module

import torch

WORLD = 2


def together(work: Callable[[], object]) -> list[int]:
    """Do something in `WORLD` processes; when one ends badly, kill the others. Return their wait statuses by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(WORLD)}
    children = [start(rank, work) for rank in range(WORLD)]
    statuses: dict[int, int] = {}
    while len(statuses) < WORLD:
        child, status = os.wait()
        statuses[child] = status
        for other in children if status else []:
            if other not in statuses:
                os.kill(other, signal.SIGKILL)
    return [statuses[child] for child in children]


def start(rank: int, work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        os.environ["RANK"] = str(rank)
        status = 1
        with contextlib.suppress(BaseException):
            try:
                work()
                status = 0
            except Exception:
                traceback.print_exc()
                raise
        os._exit(status)
    return child


def main(path: str, config: str) -> None:
    from sensorium.core.files import write_text
    from sensorium.experiments import report
    from sensorium.experiments.run import resume, run
    from sensorium.training.loop import _Loop

    for name in ("lightning_fabric", "pyarrow.parquet", "torch._dynamo", "sensorium.experiments.recommending"):
        import_module(name)  # here, so that no child has to; nothing may be computed before they fork
    report.write_report = lambda path: write_text(path / "report.html", "a page")  # the real one draws for seconds
    torch.set_num_threads(1)

    def run_and_die() -> None:
        validate = _Loop.validate

        def second_process_dies(loop: _Loop) -> object:  # type: ignore[type-arg]
            if loop.counters.epoch == 4 and os.environ["RANK"] == "1":
                os.kill(os.getpid(), signal.SIGKILL)
            return validate(loop)

        _Loop.validate = second_process_dies  # type: ignore[assignment,method-assign]
        run(json.loads(config), out=path)

    killed = together(run_and_die)
    done = together(lambda: resume(path))
    sys.stdout.write(json.dumps([[os.WIFSIGNALED(status) for status in killed], done]))


if __name__ == "__main__":
    main(*sys.argv[1:])
