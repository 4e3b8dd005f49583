"""The tiny world as a data set on disk, twice: with its own held-out rows, and with others in their place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from sensorium.core.seeds import numpy_generator
from sensorium.data.dataset import Dataset
from sensorium.data.features import add_features
from sensorium.data.schema import Source
from sensorium.data.splits import TEST, TRAIN, VALID, make_split
from sensorium.data.store import new_folder, write_tables
from sensorium.data.view import TrainView, train_view
from sensorium.testing.data import TinyData


def other_held_out_rows(data: TinyData, seed: int = 0) -> TinyData:
    """Return the world with every held-out item replaced by another known item that the user does not have."""
    view = data.view
    preference = numpy_generator(seed, "other held-out rows").random((view.n_users, view.n_items))
    preference[view.user, view.item] = preference[data.test_user, data.test_item] = np.inf
    preference[:, view.item_count == 0] = np.inf
    order = np.argsort(preference, axis=1)
    place = np.arange(len(data.test_user)) - np.searchsorted(data.test_user, data.test_user)  # 0, 1, ... for each user
    return replace(data, test_item=order[data.test_user, place].astype(np.int64))


def store(data: TinyData, folder: Path) -> Dataset:
    """Write the world as a data set with a split column; held-out rows are valid and test rows in turn."""
    view = data.view
    held_out = np.where(np.arange(len(data.test_user)) % 2 == 0, VALID, TEST)
    interactions = pl.DataFrame(
        {
            "user": np.concatenate([view.user, data.test_user]).astype(np.int32),
            "item": np.concatenate([view.item, data.test_item]).astype(np.int32),
            "split": np.concatenate([np.full(len(view.user), TRAIN), held_out]).astype(np.int8),
        }
    )
    with new_folder(folder) as temporary:
        write_tables(
            temporary,
            name="tiny",
            source=Source(reader="sensorium.testing"),
            interactions=interactions,
            items=_ids("item", view.n_items),
            users=_ids("user", view.n_users),
        )
    dataset = Dataset.open(folder)
    for name, features in view.features.items():
        dataset = add_features(dataset, name, features.x, features.present)
    return dataset


def stored_view(data: TinyData, folder: Path) -> TrainView:
    """Store the world and return the view of its train rows, as a run makes it."""
    dataset = store(data, folder)
    return train_view(dataset, make_split(dataset, "column", seed=0), seed=data.view.seed)


def _ids(kind: str, count: int) -> pl.DataFrame:
    return pl.DataFrame({kind: np.arange(count, dtype=np.int32), f"{kind}_id": [f"{kind}-{n}" for n in range(count)]})
