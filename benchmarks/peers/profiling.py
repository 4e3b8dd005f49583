"""Where the time of each hot path goes, and how far it is from what this machine can do.

    OMP_NUM_THREADS=1 python benchmarks/peers/profiling.py      rows into docs/results/rows/speed-profile.jsonl

Each part is timed by itself, in CPU time of one thread, the median of several times. Beside them stand the machine's
own limits, measured in the same minute: the bandwidth of a triad (a = b + s c over arrays larger than the cache), and
the rate of a product of two matrices. Bytes are what a part must at least read and write once, where nothing stays in
the cache; floating-point operations are those of its products.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from sensorium_worker import Vectors, ranking_task_of, view_of
from shapes import SHAPES, WIDTH, write_shape
from tables import PROFILE_ROWS, fill

from sensorium.core.files import json_line
from sensorium.core.rundir import machine_class
from sensorium.core.seeds import catalogue_order
from sensorium.data.batches import PairBatches, Step
from sensorium.data.view import TrainView
from sensorium.evaluation.ranking import rank
from sensorium.evaluation.results import measure
from sensorium.evaluation.scoring import Catalogue
from sensorium.evaluation.topk import Chooser
from sensorium.nn.propagation import bipartite_adjacency, lightgcn
from sensorium.recommenders.base import Recommender
from sensorium.recommenders.collaborative.bpr import BPR
from sensorium.recommenders.collaborative.bpr_fused import DrawnPairs, descend
from sensorium.recommenders.collaborative.lightgcn import LightGCN
from sensorium.training.device import repeatable

BATCH, REPEATS, FLOAT = 4096, 15, 4


@dataclass(frozen=True)
class Part:
    """One part of a path: seconds, bytes that must move, floating-point operations of its products."""

    name: str
    seconds: float
    moved: float = 0.0
    operations: float = 0.0


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    work()
    taken = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return median(taken)


def limits() -> dict[str, float]:
    """Return bytes per second of a triad and operations per second of a matrix product."""
    a, b, c = (torch.ones(1 << 24) for _ in range(3))  # 64 MiB each
    triad = seconds(lambda: torch.add(b, c, alpha=2.0, out=a))
    left, right, out = torch.randn(1024, 1024), torch.randn(1024, 1024), torch.empty(1024, 1024)
    product = seconds(lambda: torch.mm(left, right, out=out))
    return {"bytes_per_second": 3 * FLOAT * len(a) / triad, "operations_per_second": 2 * 1024**3 / product}


def training_step(model: Recommender, view: TrainView) -> list[Part]:
    """Return the parts of a step: the batch, the loss, its gradient, Adam."""
    batches = PairBatches(view, BATCH)
    places = iter(range(10**9))
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, fused=True)
    batch = batches.batch(Step(0, "main", 0, 0))
    numbers = sum(parameter.numel() for parameter in parameters)

    def loss() -> torch.Tensor:
        return torch.stack(list(model.loss(batch).values())).sum()

    def loss_and_gradient() -> None:
        for parameter in parameters:
            parameter.grad = None
        loss().backward()

    forward, both = seconds(loss), seconds(loss_and_gradient)
    rows = 3 * BATCH * WIDTH * FLOAT
    return [
        Part("batch and negatives", seconds(lambda: batches.batch(Step(0, "main", 0, next(places) % len(batches))))),
        Part("loss", forward, rows),
        Part("its gradient", both - forward, 2 * rows + numbers * FLOAT),
        Part("Adam over all rows", seconds(optimizer.step), 7 * numbers * FLOAT),
    ]


def bpr(data: dict[str, Any], engine: str) -> list[Part]:
    view = view_of(data)
    return training_step(BPR(view, BPR.Config(reg=1e-4, engine=engine)), view)


def fused(data: dict[str, Any]) -> list[Part]:
    view = view_of(data)
    pairs, (users, items) = DrawnPairs(view), (torch.randn(n, WIDTH) * 0.1 for n in data["size"].tolist())
    places = iter(range(10**9))

    def next_batch() -> Any:
        return pairs.batch(Step(0, "main", 0, next(places) % (len(pairs) - 1)))

    batch = next_batch()
    return [
        Part(f"order and negatives of {len(batch):,} rows", seconds(next_batch)),
        Part(
            f"{len(batch):,} steps",
            seconds(lambda: descend(users, items, batch, rate=0.05, reg=0.01)),
            6 * len(batch) * WIDTH * FLOAT,
            16 * len(batch) * WIDTH,
        ),
    ]


def light(data: dict[str, Any]) -> list[Part]:
    view = view_of(data)
    graph = bipartite_adjacency(view.user, view.item, None, view.n_users, view.n_items)
    nodes = torch.randn(view.n_users + view.n_items, WIDTH)
    moved = 3 * 2 * len(view.user) * (WIDTH + 2) * FLOAT
    parts = training_step(LightGCN(view, LightGCN.Config(layers=3, reg=1e-4)), view)
    one_way = Part(
        "of these, 3 layers of propagation, one way",
        seconds(lambda: lightgcn(graph, nodes, 3)),
        moved,
        2 * 3 * 2 * len(view.user) * WIDTH,
    )
    return [*parts, one_way]


def evaluation(data: dict[str, Any]) -> list[Part]:
    task, scorer = ranking_task_of(data), Vectors(data)
    order = catalogue_order(task.n_items, 0)
    catalogue = Catalogue(scorer, task.n_items)
    chooser = Chooser(torch.from_numpy(order), 20, catalogue.tile_rows)

    def products() -> None:
        for _ in catalogue.tiles(task.query, chooser.scores):
            pass

    ranked = rank(scorer, task, k=20, tie_order=order)
    pairs = len(task) * task.n_items
    scores, whole = seconds(products, 5), seconds(lambda: rank(scorer, task, k=20, tie_order=order), 5)
    return [
        Part("scores", scores, operations=2 * pairs * WIDTH),
        Part("masks and the choice of the best 20", whole - scores, pairs * FLOAT),
        Part("metrics", seconds(lambda: measure(task, ranked.items, ks=[20], metrics=["recall", "ndcg"]), 5)),
        Part("the whole without metrics", whole),
    ]


PATHS: dict[str, Callable[[dict[str, Any]], list[Part]]] = {
    "BPR, torch": lambda data: bpr(data, "torch"),
    "BPR, compiled": lambda data: bpr(data, "compiled"),
    "BPR, fused": fused,
    "LightGCN": light,
    "evaluation": evaluation,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="print, and keep no row")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder, repeatable(torch.device("cpu")):
        for shape, counts in SHAPES.items():
            path = Path(folder) / f"{shape}.npz"
            write_shape(counts, path)
            with np.load(path) as stored:
                data = dict(stored)
            for name, parts_of in PATHS.items():
                row = {"path": name, "shape": shape, "limits": limits(), "machine": machine_class()}
                row["load"] = round(os.getloadavg()[0], 1)
                row["parts"] = [vars(part) for part in parts_of(data)]
                rows.append(row)
                print(json_line(row), flush=True)
    if not chosen.dry:
        PROFILE_ROWS.write_text("".join(json_line(row) + "\n" for row in rows), encoding="utf-8")
        fill()


if __name__ == "__main__":
    main()
