"""A shop small enough to count by hand: twelve items, one user who had nine of them, one who had all."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sensorium.data.dataset import Dataset
from sensorium.data.schema import Source
from sensorium.data.store import new_folder, write_tables
from sensorium.experiments.loading import LoadedRun, load_run
from sensorium.experiments.run import run

N_ITEMS = 12
MODELS = {"popularity": {}, "itemknn": {"k": 5}, "bpr": {"dim": 8}, "lightgcn": {"dim": 8, "layers": 1}}


def rows_of_users() -> dict[str, list[int]]:
    """User id -> items. Item 0 is in few hands, so that it can be recommended to nearly everybody."""
    draw = np.random.default_rng(4)
    weight = np.linspace(0.4, 1.6, N_ITEMS)
    users = {
        f"user{number:02d}": draw.choice(N_ITEMS, 6, replace=False, p=weight / weight.sum()).tolist()
        for number in range(30)
    }
    return {**users, "nine": [1, 2, 3, 4, 5, 6, 7, 8, 9], "all": list(range(N_ITEMS))}


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The data set."""
    users = rows_of_users()
    pairs = [(user, item) for user, items in enumerate(users.values()) for item in items]
    out = tmp_path_factory.mktemp("data") / "shop"
    with new_folder(out) as folder:
        write_tables(
            folder,
            name="shop",
            source=Source(reader="test"),
            interactions=pl.DataFrame(pairs, schema={"user": pl.Int32, "item": pl.Int32}, orient="row"),
            items=pl.DataFrame(
                {
                    "item": pl.Series(range(N_ITEMS), dtype=pl.Int32),
                    "item_id": [f"i{number:02d}" for number in range(N_ITEMS)],
                    "title": [f"Thing {number}" for number in range(N_ITEMS)],
                }
            ),
            users=pl.DataFrame({"user": pl.Series(range(len(users)), dtype=pl.Int32), "user_id": list(users)}),
        )
    return Dataset.open(out)


@pytest.fixture(scope="session")
def runs(shop: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run of every kind of model: vectors, a score of its own, a graph."""
    folder = tmp_path_factory.mktemp("runs")
    base = {
        "data": {"dataset": str(shop.root)},
        "training": {"epochs": 3, "batch_size": 64},
        "evaluation": {"ks": [3, 5], "metrics": ["recall"], "mask": "train+valid"},
        "selection": "recall@5",
    }
    return {
        name: run({**base, "model": {"name": name, **options}}, out=folder / name).path
        for name, options in MODELS.items()
    }


@pytest.fixture(scope="session")
def loaded(runs: dict[str, Path]) -> dict[str, LoadedRun]:
    """The same runs, opened once."""
    return {name: load_run(path) for name, path in runs.items()}


LOG_USERS, LOG_ITEMS, LONG_AGO = 30, 16, 15


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Sequences of 8 to 12 items, some of which stand again; item LONG_AGO is nowhere but at their beginning."""
    draw = np.random.default_rng(2)
    lists = [[LONG_AGO, *draw.integers(LONG_AGO, size=draw.integers(7, 12))] for _ in range(LOG_USERS)]
    lists[0][0] = 0  # whoever did not begin with it may be recommended it
    rows = [(user, int(item), place) for user, items in enumerate(lists) for place, item in enumerate(items)]
    out = tmp_path_factory.mktemp("data") / "log"
    with new_folder(out) as folder:
        write_tables(
            folder,
            name="log",
            source=Source(reader="test"),
            interactions=pl.DataFrame(
                rows, schema={"user": pl.Int32, "item": pl.Int32, "order": pl.Int64}, orient="row"
            ),
            items=pl.DataFrame(
                {"item": np.arange(LOG_ITEMS, dtype=np.int32), "item_id": [f"i{item:02d}" for item in range(LOG_ITEMS)]}
            ),
            users=pl.DataFrame(
                {"user": np.arange(LOG_USERS, dtype=np.int32), "user_id": [f"u{user:02d}" for user in range(LOG_USERS)]}
            ),
        )
    return Dataset.open(out)


@pytest.fixture(scope="session", params=["window", "full"])
def cut_run(log: Dataset, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose split leaves the last rows of each user only, fewer than its model reads; `history` either way."""
    config = {
        "data": {"dataset": str(log.root), "split": {"name": "leave_last_out", "max_len": 3}},
        "model": {"name": "sasrec", "dim": 8, "length": 10},
        "training": {"epochs": 1, "device": "cpu"},
        "evaluation": {
            "ks": [5, LOG_ITEMS],
            "metrics": ["hit_rate", "ndcg"],
            "history": request.param,
            "repeat_policy": "mask",
        },
        "selection": "hit_rate@5",
    }
    return run(config, out=tmp_path_factory.mktemp("runs") / request.param).path
