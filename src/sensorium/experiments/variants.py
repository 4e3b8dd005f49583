"""A data set beside another one: the same users, items and content, other items in its rows, a split's labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.data.dataset import Dataset
from sensorium.data.schema import Source
from sensorium.data.splits import Split
from sensorium.data.store import write_info, write_tables


def write_variant(dataset: Dataset, split: Split, item: npt.NDArray[np.int64], folder: Path) -> Dataset:
    """Write a data set with the rows of a split, each with another item; split it by `column`.

    Rows keep their user, time and rating. Features and media are links to those of the original.

    Args:
        dataset: The original.
        split: Its split; rows that it left out are not in the variant.
        item: The items of the split's rows, int64 [n].
        folder: Where it is written; must not exist.
    """
    folder.mkdir()
    known = dataset.interactions().collect_schema().names()
    rows = dataset.interactions().select([name for name in ("user", "rating", "timestamp", "order") if name in known])
    interactions = rows.collect()[split.row].with_columns(
        pl.Series("item", item, dtype=pl.Int32), pl.Series("split", split.label, dtype=pl.Int8)
    )
    made = write_tables(
        folder,
        name=dataset.info.name,
        source=Source(reader="variant"),
        interactions=interactions.select("user", "item", pl.exclude("user", "item")),
        items=dataset.items().collect(),
        users=dataset.users().collect(),
        sensitive=dataset.info.sensitive,
    )
    for entry in dataset.root.resolve().iterdir():
        if entry.is_dir() and entry.name != "splits" and not entry.name.startswith("."):
            (folder / entry.name).symlink_to(entry)
    info = made.info.model_copy(update={"features": dataset.info.features})
    write_info(folder, info)
    return Dataset(folder, info)
