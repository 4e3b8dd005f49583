"""RecTools' SASRecModel: trained on sequences, its lists for histories after every few epochs. Runs in its environment.

    python rectools_lists.py DATA.npz FOLDER CONFIG.json

DATA holds `train`, `valid` and `test`: items of all users one after the other, with `*_offsets`; and the users that are
asked. FOLDER gets `lists-EPOCH.npz` with int32 [n, K], -1 where there is no item.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer, seed_everything
from rectools.dataset import Dataset
from rectools.models import SASRecModel


def rows(items: np.ndarray, offsets: np.ndarray) -> Dataset:
    """One row per item, its place as its time."""
    user = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    place = np.arange(len(items)) - offsets[user]
    return Dataset.construct(
        pd.DataFrame({"user_id": user, "item_id": items, "weight": 1.0, "datetime": pd.to_datetime(place, unit="s")})
    )


def lists(model: SASRecModel, history: Dataset, users: np.ndarray, k: int) -> np.ndarray:
    """The items that a model recommends after histories, those of the history left out."""
    found = model.recommend(users, history, k=k, filter_viewed=True, on_unsupported_targets="ignore")
    table = np.full((len(users), k), -1, dtype=np.int32)
    table[np.searchsorted(users, found["user_id"]), found["rank"] - 1] = found["item_id"]
    return table


def main(data: Path, folder: Path, asked: dict[str, float]) -> None:
    """Train and write lists."""
    torch.set_num_threads(1)
    seed_everything(int(asked["seed"]), verbose=False)
    with np.load(data) as stored:
        given = dict(stored)
    train, valid, test = (rows(given[name], given[f"{name}_offsets"]) for name in ("train", "valid", "test"))
    model = SASRecModel(
        n_blocks=2,
        n_heads=2,
        n_factors=64,
        dropout_rate=asked["dropout"],
        session_max_len=int(asked["length"]),
        lr=asked["lr"],
        batch_size=128,
        get_trainer_func=lambda: Trainer(
            accelerator="cpu", max_epochs=1, min_epochs=1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        ),
    )  # fmt: skip
    begun = time.process_time()
    for epoch in range(int(asked["every"]), int(asked["epochs"]) + 1, int(asked["every"])):
        model.fit_partial(train, min_epochs=int(asked["every"]), max_epochs=int(asked["every"]))
        np.savez(
            folder / f"lists-{epoch}.npz",
            valid=lists(model, valid, given["valid_users"], int(asked["k"])),
            test=lists(model, test, given["test_users"], int(asked["k"])),
        )
        print(json.dumps({"epoch": epoch, "cpu_seconds": time.process_time() - begun}), flush=True)
    print(json.dumps({"versions": {name: version(name) for name in ("rectools", "torch")}}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text()))
