"""What every library's worker shares: it is told a task, prepares it untimed, and does it again each time it is asked.

    in    {"task": "bpr", "data": "shape.npz", "threads": 1, "epochs": 3, "steps": null, "cores": [1]}
    out   {"versions": {...}}                                   ready
    in    {}                                                    once more
    out   {"seconds": 1.2, "cpu_seconds": 1.19, "amount": 2400000, "numbers": {...}}

Only NumPy and the standard library: it runs in each peer's own environment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

BATCH = 4096
"""Rows of a batch, where a library has batches."""

SEQUENCE, SEQUENCES = 50, 128
"""Items of a sequence that are read, and sequences of a batch."""


class Task(NamedTuple):
    """Prepared work.

    Attributes:
        work: Does it once; returns the numbers that it computed, if any.
        amount: Interactions trained, or users evaluated, in one go.
    """

    work: Callable[[], Mapping[str, float]]
    amount: int


def serve(
    tasks: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Task]], packages: tuple[str, ...]
) -> None:
    """Answer until the input ends. `tasks` are called with the data and with what the task's line says."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    asked = json.loads(sys.stdin.readline())
    os.sched_setaffinity(0, asked["cores"])

    import numpy as np

    with np.load(asked["data"]) as stored:
        data = dict(stored)
    task = tasks[asked["task"]](data, asked)
    print(json.dumps({"versions": {name: version(name) for name in packages}}), file=answers, flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        numbers = task.work()
        taken = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        found = {name: float(value) for name, value in numbers.items()}
        print(json.dumps({**taken, "amount": task.amount, "numbers": found}), file=answers, flush=True)
