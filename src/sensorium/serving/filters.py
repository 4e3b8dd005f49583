"""Which items may be answered: what a user has seen, what the caller wants only, what it wants never."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core.errors import DataError
from sensorium.data.dataset import Dataset
from sensorium.data.splits import KNOWN, TRAIN, VALID, Split

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

# A list of external ids, or the path of a file with one a line.
Ids = Sequence[str] | str | Path


@dataclass(frozen=True)
class Candidates:
    """The items that compete.

    Attributes:
        items: bool [I], or None for the whole catalogue.
        notices: What the caller should know, one sentence each: ids that are not in the catalogue.
    """

    items: Booleans | None
    notices: tuple[str, ...]


def candidates(dataset: Dataset, only: Ids | None = None, exclude: Ids | None = None) -> Candidates:
    """Return which items compete when only some are wanted and some are not.

    Raises:
        DataError: A file cannot be read, or `only` names no item of the catalogue.
    """
    if only is None and exclude is None:
        return Candidates(None, ())
    allowed = np.full(dataset.n_items, only is None)
    notices: list[str] = []
    for name, ids, value in (("only", only, True), ("exclude", exclude, False)):
        if ids is None:
            continue
        if isinstance(ids, str | Path):
            texts, source = read_ids(Path(ids)), str(ids)
        else:
            texts, source = list(ids), f"'{name}'"
        found = dataset.items_of(texts)
        unknown = [text for text, item in zip(texts, found, strict=True) if item < 0]
        if unknown:
            notices.append(
                f"{len(unknown)} of {len(texts)} ids in {source} are not in the catalogue: {name_some(unknown)}"
            )
        if value and len(unknown) == len(texts):
            raise DataError(
                f"none of the {len(texts)} ids in {source} is in the catalogue: nothing could be recommended"
            )
        allowed[found[found >= 0]] = value
    return Candidates(allowed, tuple(notices))


def read_ids(path: Path) -> list[str]:
    """Read external ids, one a line; empty lines don't count and an id that stands twice counts once.

    Raises:
        DataError: The file cannot be read, is not UTF-8, or holds no id.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8, one id a line") from None
    ids = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not ids:
        raise DataError(f"{path} holds no id: write one external id a line")
    return ids


@dataclass(frozen=True)
class SeenItems:
    """The items that are hidden from each user.

    Attributes:
        offsets: int64 [U+1] into items.
        items: int64, each user's items one after another.
    """

    offsets: Integers
    items: Integers

    @classmethod
    def of_rows(cls, n_users: int, user: Integers, item: Integers) -> SeenItems:
        """Sort (user, item) rows by user."""
        order = np.argsort(user, kind="stable")
        offsets = np.searchsorted(user[order], np.arange(n_users + 1))
        return cls(offsets.astype(np.int64), item[order].astype(np.int64))

    def of(self, users: Integers) -> tuple[Integers, Integers]:
        """Return, for users int64 [n], the place of the user (0..n-1) and the item of every hidden pair."""
        starts, counts = self.offsets[users], self.offsets[users + 1] - self.offsets[users]
        rows = np.repeat(np.arange(len(users)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self.items[np.repeat(starts, counts) + within]


def everything_seen(dataset: Dataset, users: Integers | None = None) -> SeenItems:
    """Return all that users have interacted with: every row of the data set, whatever its rating and its part.

    Args:
        dataset: The data set.
        users: Read only the rows of these; None reads all.
    """
    rows = dataset.interactions().select("user", "item")
    if users is not None:
        rows = rows.filter(pl.col("user").is_in(pl.Series(users, dtype=pl.Int32).implode()))
    table = rows.collect()
    return SeenItems.of_rows(
        dataset.n_users, table["user"].to_numpy().astype(np.int64), table["item"].to_numpy().astype(np.int64)
    )


def masked_at_test(split: Split, mask: str) -> SeenItems:
    """Return what the evaluation of the test part masks.

    Args:
        split: The split.
        mask: train: the train rows; train+valid: the validation rows too; window: these, for a history; full: and with
            them what came before the split's longest history.
    """
    labels = {"train": [TRAIN], "train+valid": [TRAIN, VALID], "window": [TRAIN, VALID], "full": [TRAIN, VALID, KNOWN]}
    rows = np.isin(split.label, labels[mask])
    return SeenItems.of_rows(split.n_users, split.user[rows], split.item[rows])


def name_some(texts: Sequence[str], count: int = 5) -> str:
    """Return the first few texts, and how many more there are."""
    return ", ".join(texts[:count]) + (f" and {len(texts) - count} more" if len(texts) > count else "")
