"""RecBole: BPR and LightGCN by its own trainer and loader, and its full-sort evaluation.

Its checkpoints hold a pickled configuration, which torch.load refuses since 2.6; none is loaded here, but its trainer
is made with one in mind, so that the old default is put back.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

torch.load = functools.partial(torch.load, weights_only=False)

from recbole.config import Config  # noqa: E402 - after the line above
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.utils import get_model, get_trainer, init_seed  # noqa: E402
from worker import BATCH, SEQUENCE, SEQUENCES, Task, serve  # noqa: E402

USERS_AT_ONCE = 512


def prepare(name: str, data: Mapping[str, Any], asked: Mapping[str, Any]) -> tuple[Any, ...]:
    """Write the rows as RecBole's files, and return what its quick start makes of them."""
    folder = Path(tempfile.mkdtemp(prefix="recbole-"))
    (folder / "graph").mkdir()
    for part in ("train", "valid", "test"):
        rows = "test" if part == "valid" else part
        pairs = np.stack([data[f"{rows}_user"], data[f"{rows}_item"]], axis=1)
        np.savetxt(
            folder / "graph" / f"graph.{part}.inter",
            pairs,
            fmt="%d",
            delimiter="\t",
            header="user_id:token\titem_id:token",
            comments="",
        )
    config = Config(
        model=name,
        dataset="graph",
        config_dict={
            "data_path": str(folder),
            "checkpoint_dir": str(folder),
            "benchmark_filename": ["train", "valid", "test"],
            "load_col": {"inter": ["user_id", "item_id"]},
            "embedding_size": data["user_vectors"].shape[1],
            "n_layers": 3,
            "reg_weight": 1e-4,
            "learning_rate": 1e-3,
            "train_batch_size": BATCH,
            "eval_batch_size": USERS_AT_ONCE * int(data["size"][1]),
            "metrics": ["Recall", "NDCG"],
            "topk": [20],
            "valid_metric": "Recall@20",
            "metric_decimal_place": 12,
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
            "seed": 0,
        },
    )
    torch.set_num_threads(asked["threads"])  # its configuration has no key for it
    init_seed(0, reproducibility=False)
    dataset = create_dataset(config)
    train, _, test = data_preparation(config, dataset)
    model = get_model(name)(config, train.dataset)
    return get_trainer(config["MODEL_TYPE"], name)(config, model), model, train, test


class FirstBatches:
    """The first batches of each pass of a loader."""

    shuffle = False

    def __init__(self, loader: Any, count: int) -> None:
        self._loader, self._count = loader, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return islice(self._loader, self._count)


def training(name: str, data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    trainer, _, train, _ = prepare(name, data, asked)
    steps = asked["steps"]
    source = FirstBatches(train, steps) if steps else train

    def work() -> Mapping[str, float]:
        for epoch in range(asked["epochs"]):
            trainer._train_epoch(source, epoch, show_progress=False)
        return {}

    return Task(work, asked["epochs"] * (steps * BATCH if steps else len(data["train_user"])))


def sasrec(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    """The first batches of its expansion of each prefix into a row: a row is an interaction."""
    folder = Path(tempfile.mkdtemp(prefix="recbole-"))
    (folder / "graph").mkdir()
    rows = np.stack([data["train_user"], data["train_item"], data["train_time"]], axis=1)
    header = "user_id:token\titem_id:token\ttimestamp:float"
    np.savetxt(folder / "graph" / "graph.inter", rows, fmt="%d", delimiter="\t", header=header, comments="")
    config = Config(
        model="SASRec",
        dataset="graph",
        config_dict={
            "data_path": str(folder),
            "checkpoint_dir": str(folder),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "hidden_size": data["user_vectors"].shape[1],
            "inner_size": 4 * data["user_vectors"].shape[1],
            "n_layers": 2,
            "n_heads": 2,
            "hidden_dropout_prob": 0.1,
            "attn_dropout_prob": 0.1,
            "MAX_ITEM_LIST_LENGTH": SEQUENCE,
            "loss_type": "CE",
            "train_neg_sample_args": None,
            "train_batch_size": SEQUENCES,
            "learning_rate": 1e-3,
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
            "seed": 0,
        },
    )
    torch.set_num_threads(asked["threads"])
    init_seed(0, reproducibility=False)
    dataset = create_dataset(config)
    train, _, _ = data_preparation(config, dataset)
    model = get_model("SASRec")(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "SASRec")(config, model)
    source = FirstBatches(train, asked["steps"])

    def work() -> Mapping[str, float]:
        trainer._train_epoch(source, 0, show_progress=False)
        return {}

    return Task(work, asked["steps"] * SEQUENCES)


def evaluation(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    trainer, model, train, test = prepare("BPR", data, asked)
    with torch.no_grad():
        for field, table, vectors in (
            ("user_id", model.user_embedding, data["user_vectors"]),
            ("item_id", model.item_embedding, data["item_vectors"]),
        ):
            ids = train.dataset.token2id(field, [str(token) for token in range(len(vectors))])
            table.weight[torch.from_numpy(np.asarray(ids))] = torch.from_numpy(vectors)
    return Task(
        lambda: trainer.evaluate(test, load_best_model=False, show_progress=False), len(np.unique(data["test_user"]))
    )


if __name__ == "__main__":
    serve(
        {
            "bpr": functools.partial(training, "BPR"),
            "lightgcn": functools.partial(training, "LightGCN"),
            "sasrec": sasrec,
            "evaluation": evaluation,
        },
        ("recbole",),
    )
