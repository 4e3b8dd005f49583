"""A small data set on disk in which taste can be learned within seconds, and the configuration of a run on it."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sensorium.data.dataset import Dataset
from sensorium.data.features import add_features
from sensorium.data.schema import Source
from sensorium.data.splitting import usual_sizes
from sensorium.data.store import write_tables

GROUPS = 3


def write_world(
    folder: Path, *, users: int = 60, items: int = 50, rows: int = 12, time: bool = False, features: bool = True
) -> Dataset:
    """Write users and items of hidden groups; a user mostly has items of the own group. The column `split` divides the
    rows.
    """
    draw = np.random.default_rng(7)
    user_group, item_group = draw.integers(GROUPS, size=users), draw.integers(GROUPS, size=items)
    utility = 2.5 * (user_group[:, None] == item_group) + draw.normal(size=items) + draw.gumbel(size=(users, items))
    chosen = draw.permuted(np.argsort(-utility, axis=1)[:, :rows], axis=1)
    n_valid, n_test = (int(part) for part in usual_sizes(np.int64(rows)))  # type: ignore[arg-type]
    label = np.repeat([0, 1, 2], [rows - n_valid - n_test, n_valid, n_test])
    table = pl.DataFrame(
        {
            "user": np.repeat(np.arange(users, dtype=np.int32), rows),
            "item": chosen.ravel().astype(np.int32),
            **({"timestamp": draw.permutation(users * rows).astype(np.int64)} if time else {}),
            "split": np.tile(label, users).astype(np.int8),
        }
    )
    folder.mkdir(parents=True)
    dataset = write_tables(
        folder,
        name="world",
        source=Source(reader="test"),
        interactions=table,
        items=pl.DataFrame(
            {
                "item": np.arange(items, dtype=np.int32),
                "item_id": [f"i{number:03d}" for number in range(items)],
                "title": [f"Item {number}" for number in range(items)],
            }
        ),
        users=pl.DataFrame(
            {"user": np.arange(users, dtype=np.int32), "user_id": [f"u{number:03d}" for number in range(users)]}
        ),
    )
    if features:
        x = 3 * draw.normal(size=(GROUPS, 6))[item_group] + draw.normal(size=(items, 6))
        dataset = add_features(dataset, "text", x, np.arange(items) % 10 != 0)
    return dataset


def run_config(root: Path, **changes: Any) -> dict[str, Any]:
    """Return the tree of a short BPR run; `changes` replace whole top-level keys."""
    tree: dict[str, Any] = {
        "data": {"dataset": str(root)},
        "model": {"name": "bpr", "dim": 8, "reg": 0.001},
        "training": {
            "epochs": 6,
            "batch_size": 128,
            "optimizer": {"lr": 0.05},
            "validate_every": 2,
            "device": "cpu",
        },
        "evaluation": {"ks": [5, 10], "metrics": ["recall", "ndcg", "novelty"]},
        "selection": "recall@10",
        "seed": 3,
    }
    return tree | changes
