"""Our side: the models through the training loop as a run has it, without validation and checkpoints."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from worker import BATCH, SEQUENCE, SEQUENCES, Task, serve

from sensorium.core.home import cache_home
from sensorium.core.seeds import torch_generator
from sensorium.data.batches import PairBatches, Step
from sensorium.data.dataset import Features
from sensorium.data.view import TrainView
from sensorium.evaluation.ranking import evaluate
from sensorium.evaluation.selection import Selection
from sensorium.evaluation.tasks import RankingTask, task_from_rows
from sensorium.nn.item_graphs import knn_graph
from sensorium.recommenders.base import Recommender
from sensorium.recommenders.collaborative.bpr import BPR
from sensorium.recommenders.collaborative.freedom import FREEDOM
from sensorium.recommenders.collaborative.lattice import LATTICE
from sensorium.recommenders.collaborative.lightgcn import LightGCN
from sensorium.recommenders.sequential.sasrec import SASRec
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


def sasrec(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    """SASRec with a softmax over all items, a batch of windows of 50 after the other, each user's last one."""
    torch.set_num_threads(asked["threads"])
    view = replace(view_of(data), in_order=np.lexsort((data["train_time"], data["train_user"])))
    config = SASRec.Config(dim=data["user_vectors"].shape[1], length=SEQUENCE, objective="full")
    model = SASRec(view, config)
    whole = model.make_batches(SEQUENCES, 1)
    batches = FirstBatches(whole, asked["steps"])
    keys = TrainingConfig(epochs=1, validate_every=1, patience=0, device="cpu", checkpoint="none")

    def work() -> Mapping[str, float]:
        data = TrainingData(batches, lambda model: {"none": 0.0})
        train(model, data, keys, selection=Selection("none"), seed=0)
        return {}

    return Task(work, len(view.user) * asked["steps"] // len(whole))


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


# --- models of item graphs ------------------------------------------------------------------------------------------


def view_with_content(data: Mapping[str, Any]) -> TrainView:
    present = np.ones(len(data["content"]), dtype=bool)
    return replace(view_of(data), features={"content": Features(data["content"], present)})


def freedom_graph(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    """FREEDOM's graph of alike items: the 10 nearest of every item."""
    torch.set_num_threads(asked["threads"])
    view, present = view_of(data), np.ones(len(data["content"]), dtype=bool)
    os.environ["SENSORIUM_HOME"] = tempfile.mkdtemp()

    def work() -> Mapping[str, float]:
        shutil.rmtree(cache_home(), ignore_errors=True)  # every turn searches
        graph = knn_graph(data["content"], present, 10, "binary", center=None, order=view.item_order)
        return {"edges": graph.nnz}

    return Task(work, view.n_items)


def freedom(data: Mapping[str, Any]) -> tuple[FREEDOM, TrainView, float]:
    """Return the model with an epoch's graph, its rows, and the loss of the first batch."""
    view = view_with_content(data)
    model = FREEDOM(view, FREEDOM.Config())
    model.begin_epoch(0, torch_generator(0, "begin_epoch", 0))
    batch = PairBatches(view, BATCH).batch(Step(seed=0, phase="main", epoch=0, index=0))
    with torch.no_grad():
        return model, view, float(sum(model.loss(batch).values()))


def freedom_step(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    model, view, loss = freedom(data)
    task = training(model, view, asked)

    def work() -> Mapping[str, float]:
        task.work()
        return {"first loss": loss}

    return Task(work, task.amount)


def lattice_build(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    """LATTICE's learned graph with the weights that it begins with: once an epoch."""
    torch.set_num_threads(asked["threads"])
    view = view_with_content(data)
    model = LATTICE(view, LATTICE.Config())

    def work() -> Mapping[str, float]:
        with torch.no_grad():
            graph = model._learn()
        return {"sum": float(graph.value.double().sum())}

    return Task(work, view.n_items)


if __name__ == "__main__":
    serve(
        {
            "freedom_graph": freedom_graph,
            "freedom_step": freedom_step,
            "lattice_build": lattice_build,
            "bpr": bpr,
            "bpr_compiled": bpr_compiled,
            "bpr_fused": bpr_fused,
            "lightgcn": lightgcn,
            "sasrec": sasrec,
            "evaluation": evaluation,
        },
        ("sensorium", "torch", "numpy", "numba"),
    )
