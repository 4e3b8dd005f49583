"""The planted truth on disk, beside the data set: what an experiment may compare with, and no model may read.

    planted/items.parquet   item, the main kind of each factor, popularity, arrival (ms), cold
    planted/users.parquet   user, group, age_band, joined and left (ms)
    planted/item_<factor>.npy                            float32 [I, kinds]
    planted/taste_<factor>_first.npy, ..._last.npy       float32 [U, kinds]

    planted/broken.parquet  item, column, file, fault: the media files that were damaged on request

Which rows are noise stands in the column `planted` of the interactions themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core.files import read_npy, read_parquet, write_npy, write_parquet
from sensorium.data.demo.interactions import SPAN, START
from sensorium.data.demo.world import AGE_BANDS, FACTORS, FORMATION, GROUPS, RHYTHM, Floats, World

FOLDER = "planted"
BROKEN = "broken.parquet"
_KINDS = {factor.name: factor.kinds for factor in (*FACTORS, RHYTHM, FORMATION)}


@dataclass(frozen=True)
class PlantedTruth:
    """The hidden state of a generated data set, as it was written."""

    items: pl.DataFrame
    users: pl.DataFrame
    item: dict[str, Floats]  # factor -> shares, float32 [I, kinds]
    taste_first: dict[str, Floats]  # factor -> float32 [U, kinds]
    taste_last: dict[str, Floats]  # factor -> float32 [U, kinds]


def write_truth(root: Path, world: World) -> None:
    """Write the hidden state of a world below a data set's root."""
    folder = root / FOLDER
    items = pl.DataFrame({"item": np.arange(world.n_items, dtype=np.int32)}).with_columns(
        *(pl.Series(name, np.array(_KINDS[name])[shares.argmax(1)].tolist()) for name, shares in world.item.items()),
        pl.Series("popularity", world.popularity),
        pl.Series("arrival", _milliseconds(world.arrival)),
        pl.Series("cold", world.cold),
    )
    users = pl.DataFrame({"user": np.arange(world.n_users, dtype=np.int32)}).with_columns(
        pl.Series("group", names(GROUPS, world.group)),
        pl.Series("age_band", names(AGE_BANDS, world.age_band)),
        pl.Series("joined", _milliseconds(world.joined)),
        pl.Series("left", _milliseconds(world.left)),
    )
    write_parquet(folder / "items.parquet", items)
    write_parquet(folder / "users.parquet", users)
    for name, shares in world.item.items():
        write_npy(folder / f"item_{name}.npy", shares)
        write_npy(folder / f"taste_{name}_first.npy", world.taste_first[name])
        write_npy(folder / f"taste_{name}_last.npy", world.taste_last[name])


def read_truth(root: Path) -> PlantedTruth:
    """Read the hidden state that stands beside a generated data set.

    Raises:
        DataError: The data set was not generated, or a file of its truth is missing.
    """
    folder = root / FOLDER
    items = read_parquet(folder / "items.parquet")
    names = [name for name in _KINDS if name in items.columns]
    return PlantedTruth(
        items=items,
        users=read_parquet(folder / "users.parquet"),
        item={name: read_npy(folder / f"item_{name}.npy") for name in names},
        taste_first={name: read_npy(folder / f"taste_{name}_first.npy") for name in names},
        taste_last={name: read_npy(folder / f"taste_{name}_last.npy") for name in names},
    )


def names(kinds: tuple[str, ...], index: npt.NDArray[np.int64]) -> list[str | None]:
    """Return the name of each index, None for -1."""
    table = [*kinds, None]  # the last entry answers to -1
    return [table[number] for number in index.tolist()]


def _milliseconds(share: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return START + (share * SPAN).astype(np.int64)
