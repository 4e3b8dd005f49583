"""Training of tracers beside pyKT: rows of questions per second, equal sizes, one core, in one run.

    python benchmarks/tracing.py --install      pyKT into an environment of its own, below the cache
    python benchmarks/tracing.py                all models; rows into docs/results/rows/tracing-speed.jsonl
    python benchmarks/tracing.py --model ukt --repeats 3 --dry
    python benchmarks/tracing.py --profile ukt  where a step of ours spends its time

The unit is a row of a question that was trained, whatever else had to be computed: pyKT expands questions into one row
per concept and pads every chunk to 200. The two take turns, and a ratio is made of every turn, of CPU seconds, so that
what else the machine does meets both alike. Data: the training students of ASSISTments 2009 (`$SENSORIUM_DATA`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

PEERS = Path(__file__).parent / "peers"
sys.path.insert(0, str(PEERS))
from environments import Peer, install  # noqa: E402

from sensorium.core.files import json_line  # noqa: E402
from sensorium.core.rundir import machine_class  # noqa: E402

ROWS = Path(__file__).parent.parent / "docs" / "results" / "rows" / "tracing-speed.jsonl"
MODELS = ("simplekt", "ukt", "akt")
STEPS = 3  # batches of 64 chunks in one turn of pyKT, whose batches all have one size
OUR_STEPS = 9  # batches in one turn of ours, short and long ones in the shares of an epoch
PYKT = Peer("pykt", "python3.11", ("pykt-toolkit==0.0.38", "torch==2.13.0"))


class Worker:
    """A process that trains one model when it is asked."""

    def __init__(self, interpreter: str, script: str, model: str, data: Path) -> None:
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [interpreter, PEERS / script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **one},
        )
        core = sorted(os.sched_getaffinity(0))[-1]
        asked = {
            "task": model,
            "data": str(data),
            "threads": 1,
            "steps": STEPS,
            "our_steps": OUR_STEPS,
            "cores": [core],
        }
        self.versions = self.ask(asked)["versions"]

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"a worker stopped with status {self._process.wait()}: is pyKT installed (--install)?")
        return dict(json.loads(answer))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def write_training_rows(path: Path) -> None:
    """Write the training students of ASSISTments 2009, fold 0."""
    from sensorium.tracing.data.catalogue import open_tracing
    from sensorium.tracing.data.splits import SplitConfig, rows_of, split_students

    dataset = open_tracing("assist2009")
    answers = dataset.answers()
    train = split_students(dataset, answers, SplitConfig(fold=0), seed=0).train
    rows = rows_of(answers, train)
    links = dataset.table("question_concepts.parquet")
    np.savez(
        path,
        size=np.array([answers.n_questions, answers.n_concepts]),
        length=answers.lengths[train],
        question=answers.question[rows].astype(np.int64),
        response=answers.response[rows].astype(np.int64),
        link_question=links["question"].to_numpy().astype(np.int64),
        link_concept=links["concept"].to_numpy().astype(np.int64),
    )


def measure(model: str, data: Path, repeats: int) -> dict[str, Any]:
    """Let both train in turns; return the row of one model."""
    ours = Worker(sys.executable, "tracing_worker.py", model, data)
    theirs = Worker(str(PYKT.interpreter), "pykt_worker.py", model, data)
    turns = []
    for _ in range(repeats):
        pair = {"sensorium": ours.ask({}), "pykt": theirs.ask({})}
        turns.append({name: one["amount"] / one["cpu_seconds"] for name, one in pair.items()})
        print(f"  {model}: " + ", ".join(f"{name} {rate:,.0f} rows/s" for name, rate in turns[-1].items()), flush=True)
    row = {
        "model": model,
        "rows_per_cpu_second": {name: [turn[name] for turn in turns] for name in ("sensorium", "pykt")},
        "ratio": [turn["sensorium"] / turn["pykt"] for turn in turns],
        "median_ratio": statistics.median(turn["sensorium"] / turn["pykt"] for turn in turns),
        "fill": {name: one["numbers"]["fill"] for name, one in pair.items()},
        "versions": {**theirs.versions, "sensorium_torch": ours.versions["torch"]},
        "machine": machine_class(),
    }
    ours.close()
    theirs.close()
    return row


def profile(model: str, data: Path) -> None:
    """Print where ten steps of ours spend their time."""
    import torch
    from tracing_worker import MODELS as OURS
    from tracing_worker import answers_of, view_of

    from sensorium.data.batches import Step
    from sensorium.tracing.base import build_tracer
    from sensorium.tracing.data.windows import WindowBatches, training_windows

    torch.set_num_threads(1)
    with np.load(data) as stored:
        answers = answers_of(dict(stored))
    cls, keys = OURS[model]
    tracer = build_tracer(cls, view_of(answers), cls.Config(**keys)).train()
    batches = WindowBatches(answers, training_windows(answers.lengths, np.arange(answers.n_students), 200), size=64)
    optimizer = torch.optim.Adam(tracer.parameters(), lr=1e-3)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        for index in range(10):
            batch = batches.batch(Step(seed=0, phase="answers", epoch=0, index=index))
            optimizer.zero_grad()
            torch.stack(list(tracer.loss(batch).values())).sum().backward()
            optimizer.step()
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=45))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="write no rows")
    parser.add_argument("--profile", choices=MODELS)
    asked = parser.parse_args()
    if asked.install:
        install(PYKT)
        return
    if not asked.profile and not PYKT.installed:
        raise SystemExit("pyKT is not installed: python benchmarks/tracing.py --install")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "rows.npz"
        write_training_rows(data)
        if asked.profile:
            profile(asked.profile, data)
            return
        for model in asked.model or MODELS:
            row = measure(model, data, asked.repeats)
            print(f"{model}: {row['median_ratio']:.2f} times pyKT's rows per CPU second")
            if not asked.dry:
                with ROWS.open("a", encoding="utf-8") as rows:
                    rows.write(json_line(row) + "\n")


if __name__ == "__main__":
    main()
