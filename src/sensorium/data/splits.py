"""A split: which rows of a data set are for training, which for validation, which for the test. Made once and kept.

`make_split` prepares the rows, lets a registered method label them (`splitting.py`), counts what was left out and
what a test cannot know, and writes the labels to `<data set>/splits/<name>-<key>.parquet`, with the configuration in
the file's metadata. The key is a digest of the data, the configuration and the seed: the same split is read, another
one is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from sensorium.core.config import Component, Config, build, component
from sensorium.core.errors import DataError
from sensorium.core.files import atomic_path, digest
from sensorium.data.dataset import Dataset
from sensorium.data.schema import INTERACTIONS, ITEMS, USERS
from sensorium.data.splitting import KNOWN, LEFT_OUT, TEST, TRAIN, VALID, Assignment, SplitRows, Splitter

__all__ = ["KNOWN", "TEST", "TRAIN", "VALID", "Repeats", "Rows", "Split", "make_split", "users_of_items"]

FORMAT_VERSION = 2
METADATA = b"sensorium.split"

Integers = npt.NDArray[np.int64]
Repeats = Literal["first", "all"]
"""Which rows of a (user, item) pair count that stands again: the first, as user–item models have it, or all of them."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a split, in the order of the file: row number, user, item, int64 [n] each."""

    row: Integers
    user: Integers
    item: Integers


@dataclass(frozen=True, eq=False)
class Split:
    """A data set's rows with their labels. No (user, item) pair stands twice, unless `repeats` is "all".

    Attributes:
        name: The registered name of the method.
        config: The method's name and keys, `min_rating`, and `repeats`.
        seed: Its seed.
        n_users: U of the data set.
        n_items: I of the data set.
        row: int64 [n], row numbers in the file of interactions, ascending; rows that were left out are not there. Rows
            of added noise (`data.noise`) come last and have -1.
        user: int64 [n].
        item: int64 [n].
        label: int8 [n], TRAIN, VALID, TEST, or KNOWN: what is known at test and neither learned from nor asked for.
        timestamp: int64 [n], milliseconds since the epoch, UTC; None without time.
        left_out: What was left out, counted by kind.
        uses_future: Whether a train row may be later than another user's valid or test row.
        cold_items: bool [I], the items that were chosen to be cold, or None.
        notices: Sentences for reports: what was left out, what cannot be known, what the numbers may not be taken for.
        injected: bool [n], rows of added noise, or None.
        in_turn: Whether each valid and test row is asked for on its own, after all that its user did before it.
        candidates: bool [I], the only items that compete, or None for all.
    """

    name: str
    config: dict[str, Any]
    seed: int
    n_users: int
    n_items: int
    row: Integers
    user: Integers
    item: Integers
    label: npt.NDArray[np.int8]
    timestamp: Integers | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    uses_future: bool = False
    cold_items: npt.NDArray[np.bool_] | None = None
    notices: list[str] = field(default_factory=list)
    injected: npt.NDArray[np.bool_] | None = None
    in_turn: bool = False
    candidates: npt.NDArray[np.bool_] | None = None

    @property
    def repeats(self) -> Repeats:
        """Which rows of a pair that stands again are here."""
        return "all" if self.config.get("repeats") == "all" else "first"

    def part(self, label: int) -> Rows:
        """Return the rows with one label, in the order of the file."""
        chosen = self.label == label
        return Rows(self.row[chosen], self.user[chosen], self.item[chosen])


def users_of_items(user: Integers, item: Integers, n_items: int) -> Integers:
    """Return how many users each item has, int64 [I], from rows in any order in which a pair may stand again.

    Args:
        user: int64 [E].
        item: int64 [E].
        n_items: I.
    """
    pairs = np.unique(user.astype(np.int64) * n_items + item)
    return np.bincount(pairs % n_items, minlength=n_items).astype(np.int64)


class _Choice(Config):
    """What `make_split` takes for a split that is not checked yet."""

    split: component("sensorium.splits")  # type: ignore[valid-type]


def make_split(
    dataset: Dataset,
    spec: Component | Mapping[str, Any] | str,
    *,
    seed: int,
    min_rating: float | None = None,
    repeats: Repeats = "first",
) -> Split:
    """Return a split of a data set, from its file where it has been made before.

    Args:
        dataset: The data set.
        spec: Which split: "leave_last_out", {"name": "cold_items", "ratio": 0.1}, or a checked component.
        seed: Of every random draw and of the order of equal times.
        min_rating: Rows below it are left out; None takes every row as a positive.
        repeats: Whether a (user, item) pair that stands again counts once, as the first in time (without time the first
            in the file), or every time.

    Raises:
        ConfigError: No such split, or a wrong key.
        DataError: The data lack what the split or `min_rating` needs, nothing is left to train on, or a split's file is
            damaged.
    """
    chosen: Component = build(_Choice, {"split": spec}, source="make_split").split
    config = {**chosen.tree(), "min_rating": min_rating, "repeats": repeats}
    tables = {name: dataset.info.checksums.get(name) for name in (INTERACTIONS, ITEMS, USERS)}  # features play no part
    key = digest(FORMAT_VERSION, tables, config, seed)[:16]
    path = dataset.root / "splits" / f"{chosen.name}-{key}.parquet"
    if path.exists():
        return _read(path, dataset)
    split = _make(dataset, chosen, config, seed)
    _write(path, split)
    return split


# --- making ---------------------------------------------------------------------------------------------------------


def _make(dataset: Dataset, chosen: Component, config: dict[str, Any], seed: int) -> Split:
    rows, left_out, repeated = _prepare(dataset, config["min_rating"], config["repeats"])
    splitter: Splitter = chosen.target(chosen.config)
    assigned = splitter.assign(rows, seed)
    left_out |= assigned.left_out
    label = assigned.label.copy()
    notices = [f"{repeated} rows repeat a pair of user and item and are kept"] if repeated else []
    notices += _count_unknown(rows, label, getattr(chosen.config, "unknown", "keep"), assigned, left_out)
    kept = label != LEFT_OUT
    label = label[kept]
    timestamp = None if rows.timestamp is None else rows.timestamp[kept]
    counted = ", ".join(f"{kind} {count}" for kind, count in left_out.items() if count) or "nothing was left out"
    if not (label == TRAIN).any():
        raise DataError(
            f"the split {chosen.name} of '{dataset.name}' leaves no row to train on ({counted}): choose another one"
        )
    for part, name in ((VALID, "valid"), (TEST, "test")):
        if not (label == part).any():
            notices.append(f"{chosen.name} gave no {name} row")
    uses_future, reason = _uses_future(splitter, label, timestamp)
    if uses_future:
        notices.append(
            f"{chosen.name} uses other users' future: {reason}; its numbers are no forecast of a live system's"
        )
    if any(left_out.values()):
        notices.append(f"left out: {counted}")
    item = rows.item[kept]
    return Split(
        name=chosen.name,
        config=config,
        seed=seed,
        n_users=dataset.n_users,
        n_items=dataset.n_items,
        row=rows.row[kept],
        user=rows.user[kept],
        item=item,
        label=label,
        timestamp=timestamp,
        left_out=left_out,
        uses_future=uses_future,
        cold_items=assigned.cold_items,
        notices=notices,
        in_turn=assigned.in_turn,
        candidates=_candidates(item, label, dataset.n_items) if assigned.truncated else None,
    )


def _candidates(item: Integers, label: npt.NDArray[np.int8], n_items: int) -> npt.NDArray[np.bool_]:
    """Return the items with a row of train, valid or test: bool [I]."""
    return np.bincount(item[label != KNOWN], minlength=n_items) > 0


def _prepare(dataset: Dataset, min_rating: float | None, repeats: Repeats) -> tuple[SplitRows, dict[str, int], int]:
    """Return the rows that can be divided, what was left out before, and how many kept rows repeat a pair."""
    table = dataset.interactions().with_row_index("row")
    known = table.collect_schema().names()
    clock = next((name for name in ("timestamp", "order") if name in known), "row")
    columns = [name for name in ("row", "user", "item", "timestamp", "order", "rating") if name in known]
    frame = table.select(columns).collect()
    pairs = frame.select(pl.col("user").cast(pl.Int64) * dataset.n_items + pl.col("item")).to_series().n_unique()
    repeated = len(frame) - pairs
    left_out = {"repeated_pairs": 0 if repeats == "all" else repeated}
    first = frame
    if left_out["repeated_pairs"]:
        first = frame.sort(clock, "row").unique(["user", "item"], keep="first").sort("row")
    if min_rating is not None:
        first = _rated(first, min_rating, dataset, left_out)

    def integers(name: str) -> Integers | None:
        return first[name].cast(pl.Int64).to_numpy() if name in known else None

    row, user, item = (first[name].cast(pl.Int64).to_numpy() for name in ("row", "user", "item"))
    rows = SplitRows(dataset, row, user, item, integers("timestamp"), integers("order"))
    kept_again = len(first) - first.select("user", "item").n_unique() if repeated and repeats == "all" else 0
    return rows, left_out, kept_again


def _rated(frame: pl.DataFrame, min_rating: float, dataset: Dataset, left_out: dict[str, int]) -> pl.DataFrame:
    """Return the rows that are rated at least `min_rating`, and count the others."""
    if "rating" not in frame.columns:
        raise DataError(f"min_rating {min_rating:g} was asked for and '{dataset.name}' has no ratings: leave it out")
    without = frame["rating"].is_null() | frame["rating"].is_nan()
    below = ~without & (frame["rating"] < min_rating)
    kept = frame.filter(~(without | below))
    if not len(kept):
        raise DataError(
            f"min_rating {min_rating:g} keeps 0 of {len(frame)} rows of '{dataset.name}' "
            f"(largest rating: {frame['rating'].filter(~without).max()!s})"
        )
    left_out |= {"rows_below_min_rating": int(below.sum()), "rows_without_rating": int(without.sum())}
    return kept


def _count_unknown(
    rows: SplitRows, label: npt.NDArray[np.int8], unknown: str, assigned: Assignment, left_out: dict[str, int]
) -> list[str]:
    """Count the valid and test rows whose user or item has no train row, and take them out of `label` if so asked.

    Returns:
        A sentence for each part that has such rows.
    """
    train = label == TRAIN
    new_user = np.bincount(rows.user[train], minlength=rows.dataset.n_users)[rows.user] == 0
    new_item = np.bincount(rows.item[train], minlength=rows.dataset.n_items)[rows.item] == 0
    notices = []
    for part, name in ((VALID, "valid"), (TEST, "test")):
        here = label == part
        by_user, by_item = here & new_user, here & new_item
        if not (by_user | by_item).any():
            continue
        notices.append(
            f"{name}: of {here.sum()} rows {by_user.sum()} are of {len(np.unique(rows.user[by_user]))} users and "
            f"{by_item.sum()} of {len(np.unique(rows.item[by_item]))} items without a train row, "
            f"{(by_user & by_item).sum()} of both"
            + ("; they were dropped" if unknown == "drop" else "; they are kept")
            + (", cold items are what this split is for" if assigned.cold_items is not None else "")
        )
        if unknown == "drop":
            left_out[f"{name}_rows_of_unknown_users"] = int(by_user.sum())
            left_out[f"{name}_rows_of_unknown_items_only"] = int((by_item & ~by_user).sum())
            label[by_user | by_item] = LEFT_OUT
    return notices


def _uses_future(splitter: Splitter, label: npt.NDArray[np.int8], timestamp: Integers | None) -> tuple[bool, str]:
    """Return whether a train row may be later than a valid or test row, and why, as a clause."""
    if splitter.uses_future is not None:
        return splitter.uses_future, "a train row may be later than another user's valid or test row"
    if timestamp is None:
        return True, "without times nobody can tell that train rows come first"
    held_out = (label == VALID) | (label == TEST)
    later = timestamp[label == TRAIN].max() > timestamp[held_out].min(initial=np.iinfo(np.int64).max)
    return bool(later), "some train rows are later than the first valid or test row"


# --- keeping --------------------------------------------------------------------------------------------------------


def _write(path: Path, split: Split) -> None:
    about = {
        "format_version": FORMAT_VERSION,
        "name": split.name,
        "config": split.config,
        "seed": split.seed,
        "left_out": split.left_out,
        "uses_future": split.uses_future,
        "cold_items": None if split.cold_items is None else np.flatnonzero(split.cold_items).tolist(),
        "notices": split.notices,
        "in_turn": split.in_turn,
        "truncated": split.candidates is not None,
    }
    table = pa.table({"row": split.row, "label": split.label})
    table = table.replace_schema_metadata({METADATA: json.dumps(about, ensure_ascii=False).encode()})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _read(path: Path, dataset: Dataset) -> Split:
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[METADATA])
        row, label = (table[name].to_numpy() for name in ("row", "label"))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is damaged ({reason}): delete it, and the same split will be made again") from None
    known = dataset.interactions().collect_schema().names()
    columns = [name for name in ("user", "item", "timestamp") if name in known]
    frame = dataset.interactions().select(columns).collect()[row]
    cold = None
    if about["cold_items"] is not None:
        cold = np.zeros(dataset.n_items, dtype=bool)
        cold[about["cold_items"]] = True
    item = frame["item"].cast(pl.Int64).to_numpy()
    return Split(
        name=about["name"],
        config=about["config"],
        seed=about["seed"],
        n_users=dataset.n_users,
        n_items=dataset.n_items,
        row=row,
        user=frame["user"].cast(pl.Int64).to_numpy(),
        item=item,
        label=label,
        timestamp=frame["timestamp"].cast(pl.Int64).to_numpy() if "timestamp" in columns else None,
        left_out=about["left_out"],
        uses_future=about["uses_future"],
        cold_items=cold,
        notices=about["notices"],
        in_turn=about["in_turn"],
        candidates=_candidates(item, label, dataset.n_items) if about["truncated"] else None,
    )
