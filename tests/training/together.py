"""A program that several processes run together: it trains small models and ranks with given weights.

    torchrun --nproc-per-node 2 tests/training/together.py FOLDER
    python tests/training/together.py FOLDER

The first process writes FOLDER/<model>.json: the losses of every epoch and the numbers of the test.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core import registry
from sensorium.core.processes import joined, processes
from sensorium.core.rundir import RunDirectory
from sensorium.core.seeds import catalogue_order
from sensorium.data.batches import Batch, PairBatches
from sensorium.evaluation.ranking import evaluate, rank
from sensorium.evaluation.selection import Selection
from sensorium.evaluation.tasks import RankingTask, task_from_rows
from sensorium.nn.losses import infonce
from sensorium.recommenders.base import Recommender
from sensorium.recommenders.collaborative.bpr import BPR
from sensorium.testing import tiny_view
from sensorium.training.config import TrainingConfig
from sensorium.training.loop import train
from sensorium.training.protocols import TrainingData

BATCH = 41  # odd, and the last batch of a pass has another, odd number of rows
SUM_OF_NORMS = 0.5
NAMES = ("bpr", "lightgcn", "vbpr", "selfcf", "bm3", "freedom", "lattice", "mgcn", "smore", "dragon", "lgmrec")


class Contrastive(BPR):
    """BPR with a softmax over the rows of the batch."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        rows = self.user_embedding[batch.user], self.item_embedding[batch.pos]
        return {**super().loss(batch), "contrast": infonce(*rows, temperature=0.2)}


def models() -> Iterator[tuple[str, Recommender]]:
    view = tiny_view()
    yield "contrastive", Contrastive(view, BPR.Config(dim=8, reg=0.01))
    for name in NAMES:
        target = registry.get("sensorium.recommenders", name)
        small = {"dim": 8, "reg": SUM_OF_NORMS} if "reg" in target.Config.model_fields else {"dim": 8}
        if name == "smore":
            small["dropout"] = 0.0  # its dropout goes over rows of users and items at once: not drawn for whole batches
        yield name, target(view, target.Config(**small))


def task() -> RankingTask:
    """Every user is asked; an odd number of queries, so that shards differ in size."""
    view = tiny_view()
    return task_from_rows(
        view.n_items,
        ((view.user + 1) % view.n_users, view.item),
        (view.user[::3], view.item[::3]),
        n_users=view.n_users,
    )


def losses(run: RunDirectory) -> list[dict[str, float]]:
    return [record["loss"]["main"] for record in run.records("metrics.jsonl")]


def work(folder: Path) -> None:
    everyone, asked = processes(), task()
    for name, model in models():
        path = folder / name
        if everyone.first:
            RunDirectory.create(path, {"kind": "toy"})
        everyone.wait()
        run = RunDirectory.open(path, writes=everyone.first)
        batches = PairBatches(tiny_view(), BATCH)

        def validate(model: nn.Module) -> dict[str, float]:
            return evaluate(model, asked, ks=[5], metrics=["recall"]).summary  # type: ignore[arg-type]

        config = TrainingConfig(epochs=3, device="cpu", clip_norm=1.0, optimizer={"lr": 0.01})  # type: ignore[arg-type]
        train(model, TrainingData(batches, validate), config, selection=Selection("recall@5"), seed=0, run=run)
        with torch.no_grad():
            given = dict(model.named_parameters())
            for place, parameter in enumerate(given.values()):
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(place)))
        model.eval()
        found = evaluate(model, asked, ks=[1, 5], metrics=["recall", "ndcg", "coverage"]).summary
        lists = rank(model, asked, k=5, tie_order=catalogue_order(asked.n_items, 0))
        outcome: dict[str, Any] = {"losses": losses(run), "metrics": found, "lists": lists.items.tolist()}
        if everyone.first:
            (folder / f"{name}.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined():
        work(Path(sys.argv[1]))
