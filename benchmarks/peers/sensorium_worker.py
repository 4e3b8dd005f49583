"""Our side: the models through the training loop as a run has it, without validation and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from worker import BATCH, Task, serve

from sensorium.data.batches import PairBatches, Step
from sensorium.data.view import TrainView
from sensorium.evaluation.ranking import evaluate
from sensorium.evaluation.selection import Selection
from sensorium.evaluation.tasks import RankingTask, task_from_rows
from sensorium.recommenders.base import Recommender
from sensorium.recommenders.collaborative.bpr import BPR
from sensorium.recommenders.collaborative.lightgcn import LightGCN
from sensorium.training.config import TrainingConfig
from sensorium.training.loop import train
from sensorium.training.protocols import BatchSource, TrainingData


def view_of(data: Mapping[str, Any]) -> TrainView:
    users, items = data["size"].tolist()
    return TrainView(users, items, data["train_user"], data["train_item"], None, 0, {}, {})


@dataclass(frozen=True)
class FirstBatches:
    """The first batches of each pass."""

    source: BatchSource
    count: int

    def __len__(self) -> int:
        return self.count

    def batch(self, step: Step) -> Any:
        return self.source.batch(step)


def training(model: Recommender, view: TrainView, asked: Mapping[str, Any], **keys: Any) -> Task:
    torch.set_num_threads(asked["threads"])
    epochs = asked["epochs"]
    config = TrainingConfig(
        epochs=epochs, batch_size=BATCH, validate_every=epochs, patience=0, device="cpu", checkpoint="none", **keys
    )
    batches: BatchSource = PairBatches(view, BATCH)
    if asked["steps"]:
        batches = FirstBatches(batches, asked["steps"])

    def work() -> Mapping[str, float]:
        data = TrainingData(batches, lambda model: {"none": 0.0})
        train(model, data, config, selection=Selection("none"), seed=0)
        return {}

    return Task(work, epochs * (asked["steps"] * BATCH if asked["steps"] else len(view.user)))


def bpr(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    view = view_of(data)
    return training(BPR(view, BPR.Config(reg=1e-4)), view, asked)


def bpr_compiled(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    view = view_of(data)
    return training(BPR(view, BPR.Config(reg=1e-4, engine="compiled")), view, asked)


def bpr_fused(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    view = view_of(data)
    config = BPR.Config(engine="fused", regulariser="squared", reg=0.01, threads=asked["threads"])
    return training(BPR(view, config), view, asked, optimizer={"name": "sgd", "lr": 0.05})


def lightgcn(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    view = view_of(data)
    return training(LightGCN(view, LightGCN.Config(layers=3, reg=1e-4)), view, asked)


class Vectors:
    """A scorer of the data's vectors."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._users, self._items = torch.from_numpy(data["user_vectors"]), torch.from_numpy(data["item_vectors"])

    def query_vectors(self, queries: torch.Tensor) -> torch.Tensor:
        return self._users[queries]

    def item_vectors(self) -> torch.Tensor:
        return self._items


def ranking_task_of(data: Mapping[str, Any]) -> RankingTask:
    users, items = data["size"].tolist()
    masked = data["train_user"], data["train_item"]
    return task_from_rows(items, (data["test_user"], data["test_item"]), masked, n_users=users)


def evaluation(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    torch.set_num_threads(asked["threads"])
    scorer, task = Vectors(data), ranking_task_of(data)
    return Task(lambda: evaluate(scorer, task, ks=[20], metrics=["recall", "ndcg"]).summary, len(task))


if __name__ == "__main__":
    serve(
        {
            "bpr": bpr,
            "bpr_compiled": bpr_compiled,
            "bpr_fused": bpr_fused,
            "lightgcn": lightgcn,
            "evaluation": evaluation,
        },
        ("sensorium", "torch", "numpy", "numba"),
    )
