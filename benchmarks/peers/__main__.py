"""Ours and the peers' libraries side by side: the same rows, the same width, the same threads, one run.

    python benchmarks/peers --install              each peer into an environment of its own, below the cache
    python benchmarks/peers                        everything; rows into docs/results/rows/speed.jsonl
    python benchmarks/peers --task bpr --shape 1M --threads 1 --repeats 3 --dry
    python benchmarks/peers --table                the tables of docs/results/speed.md from the rows

Each library works in a process of its own that is prepared once. Then they take turns, one at a time, and a ratio is
made of every turn: what else goes on in the machine meets all of them alike. One thread is pinned to one core, and
speeds are per CPU-second; two threads have two cores, and speeds are per second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from environments import PEERS, install
from shapes import SHAPES, write_shape
from tables import PAGE, ROWS, fill

from sensorium.core.files import json_line
from sensorium.core.rundir import machine_class

HERE = Path(__file__).resolve().parent

# By task: what is measured, as (library, its task, epochs in one turn on 1M and on .3M).
# None: not on this shape, where the plain way's matrices of all items by all items would take hours.
# A turn of LightGCN or FREEDOM is the first STEPS batches of an epoch: every step propagates the whole graph.
# One of SASRec is the first OWN_STEPS batches: RecBole makes a row of every prefix, and few of its batches take long.
STEPS = 20
OWN_STEPS = {("sensorium", "sasrec"): 8, ("rectools", "sasrec"): 8, ("recbole", "sasrec"): 2}
TASKS = {
    "bpr": [
        ("sensorium", "bpr", 1, 2),
        ("sensorium", "bpr_compiled", 1, 2),
        ("sensorium", "bpr_fused", 5, 10),
        ("cornac", "bpr", 5, 10),
        ("implicit", "bpr", 5, 10),
        ("recbole", "bpr", 1, 1),
    ],
    "lightgcn": [("sensorium", "lightgcn", 1, 1), ("recbole", "lightgcn", 1, 1)],
    "sasrec": [("sensorium", "sasrec", 1, None), ("rectools", "sasrec", 1, None), ("recbole", "sasrec", 1, None)],
    "evaluation": [
        ("sensorium", "evaluation", 1, 1),
        ("implicit", "evaluation", 1, 1),
        ("recbole", "evaluation", 1, 1),
    ],
    "freedom_graph": [("sensorium", "freedom_graph", 1, 1), ("plain", "freedom_graph", 1, 1)],
    "freedom_step": [("sensorium", "freedom_step", 1, 1), ("plain", "freedom_step", 1, 1)],
    "lattice_build": [("sensorium", "lattice_build", 1, None), ("plain", "lattice_build", 1, None)],
}

TOLERANCE = 1e-6  # of float32 sums in another order


class Worker:
    """One library's process for one task."""

    def __init__(self, library: str, task: str, data: Path, threads: int, epochs: int) -> None:
        self.name = library if task in TASKS else f"{library} {task.removeprefix('bpr_')}"
        interpreter = PEERS[library].interpreter if library in PEERS else sys.executable
        number = str(threads)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": number,
            "OPENBLAS_NUM_THREADS": number,
            "MKL_NUM_THREADS": number,
        }
        self._process = subprocess.Popen(
            [interpreter, HERE / f"{library}_worker.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            cwd=data.parent,  # some write logs where they stand
        )
        cores = sorted(os.sched_getaffinity(0))[-threads:]
        asked = {"task": task, "data": str(data), "threads": threads, "epochs": epochs, "cores": cores}
        asked["steps"] = OWN_STEPS.get((library, task), STEPS if task in ("lightgcn", "freedom_step") else None)
        self.versions = self.ask(asked)["versions"]

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} stopped with status {self._process.wait()}: is it installed (--install)?")
        return dict(json.loads(answer))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def workers(task: str, shape: str, data: Path, threads: int) -> Iterator[list[Worker]]:
    """Start the processes of one task; peers that are not installed are left out, and said."""
    started = []
    try:
        for library, own, *epochs in TASKS[task]:
            if library in PEERS and not PEERS[library].installed:
                print(f"  {library} is not installed and left out: python benchmarks/peers --install")
                continue
            started.append(Worker(library, own, data, threads, epochs[list(SHAPES).index(shape)]))
        yield started
    finally:
        for worker in started:
            worker.close()


def measure(task: str, shape: str, data: Path, threads: int, repeats: int) -> dict[str, Any]:
    """Let all take turns; return the row that is kept."""
    clock = "cpu_seconds" if threads == 1 else "seconds"
    with workers(task, shape, data, threads) as libraries:
        for library in libraries:
            library.ask({})  # compiles, fills caches
        rates: dict[str, list[float]] = {library.name: [] for library in libraries}
        numbers: dict[str, dict[str, float]] = {}
        for _ in range(repeats):
            for library in libraries:
                answer = library.ask({})
                rates[library.name].append(answer["amount"] / answer[clock])
                numbers[library.name] = answer["numbers"]
        versions = {name: number for library in libraries for name, number in library.versions.items()}
    check_numbers(numbers)
    return {
        "task": task,
        "shape": shape,
        "threads": threads,
        "clock": clock,
        "rates": {name: [round(rate) for rate in found] for name, found in rates.items()},
        "versions": versions,
        "machine": machine_class(),
        "load": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d"),
    }


def check_numbers(numbers: dict[str, dict[str, float]]) -> None:
    """Stop when two libraries that compute the same metric of the same vectors do not agree on it."""
    for name, found in numbers.items():
        for metric, value in found.items():
            own = numbers["sensorium"][metric]
            if abs(own - value) > TOLERANCE * max(1.0, abs(own)):
                raise SystemExit(f"{metric} is {own} by sensorium and {value} by {name}: they measure different things")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="make the peers' environments, and end")
    parser.add_argument("--table", action="store_true", help=f"fill {PAGE.name} from the rows, and end")
    parser.add_argument("--task", choices=list(TASKS), action="append")
    parser.add_argument("--shape", choices=list(SHAPES), action="append")
    parser.add_argument("--threads", type=int, choices=(1, 2), action="append")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print, and keep no row")
    chosen = parser.parse_args()
    if chosen.install:
        for peer in PEERS.values():
            install(peer)
        return
    if not chosen.table:
        with tempfile.TemporaryDirectory() as folder:
            for shape in chosen.shape or SHAPES:
                data = Path(folder) / f"{shape}.npz"
                write_shape(SHAPES[shape], data)
                place = list(SHAPES).index(shape)
                tasks = [task for task in chosen.task or TASKS if TASKS[task][0][2 + place] is not None]
                for task in tasks:
                    for threads in chosen.threads or (1, 2):
                        row = measure(task, shape, data, threads, chosen.repeats)
                        report(row)
                        if not chosen.dry:
                            with ROWS.open("a", encoding="utf-8") as file:
                                file.write(json_line(row) + "\n")
    if not chosen.dry:
        fill()


def report(row: dict[str, Any]) -> None:
    """Print one row's rates and ratios."""
    from tables import spread, summary

    print(
        f"{row['task']}, {row['shape']}, {row['threads']} thread(s), load {row['load']}, {row['machine']}", flush=True
    )
    for name, rates in row["rates"].items():
        ratios = "   ".join(f"{peer} {value}" for peer, value in summary(row, name).items())
        print(f"  {name:18}{spread(rates, digits=0):>32} /s   {ratios}", flush=True)


if __name__ == "__main__":
    main()
