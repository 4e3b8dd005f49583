"""A data set: a folder of Parquet tables that is read lazily and never changed by its readers.

data = Dataset.open("path/to/folder")
data.interactions().filter(pl.col("rating") >= 4)     # a lazy frame: nothing is loaded yet
x, present = data.features("image")                   # float32 [I, d], bool [I]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core.config import build
from sensorium.core.errors import DataError
from sensorium.core.files import digest, read_json, read_npy
from sensorium.core.registry import did_you_mean
from sensorium.data.schema import (
    DESCRIPTION,
    FORMAT_VERSION,
    GENERATIONS,
    INTERACTIONS,
    ITEMS,
    REJECTED,
    USERS,
    DatasetInfo,
    Generation,
)

_COUNTED = {INTERACTIONS: "interactions", ITEMS: "items", USERS: "users", REJECTED: "rejected"}


class Features(NamedTuple):
    """One feature set of the items.

    Attributes:
        x: float32 [I, d]; rows without content are zero and must not be read as content.
        present: bool [I], whether the item has content.
    """

    x: npt.NDArray[np.float32]
    present: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Dataset:
    """An open data set. Make one with `Dataset.open` or `sensorium.open_dataset`.

    Attributes:
        root: Its folder.
        info: What `dataset.json` holds.
        columns: Of a state before rows were appended (`earlier`): table -> the columns that it had; else None.
    """

    root: Path
    info: DatasetInfo
    columns: Mapping[str, Sequence[str]] | None = None

    @classmethod
    def open(cls, path: str | Path) -> Dataset:
        """Open a folder.

        Raises:
            DataError: It holds no data set, or one of a later format.
        """
        root = Path(path)
        if not (root / DESCRIPTION).is_file():
            raise DataError(f"{root} holds no data set: there is no {DESCRIPTION}")
        tree = read_json(root / DESCRIPTION)
        if tree.get("format_version", 0) > FORMAT_VERSION:
            raise DataError(
                f"{root} has format {tree['format_version']}, this release reads up to {FORMAT_VERSION}: "
                "update sensorium"
            )
        return cls(root, build(DatasetInfo, tree, source=str(root / DESCRIPTION)))

    def earlier(self) -> list[Dataset]:
        """Return what the data set was before rows were appended to it, the latest first.

        Rows, users and items are only ever added at the end: an earlier state is the first rows of each table. Runs and
        splits that were made on it find it again by its checksums.
        """
        files = sorted((self.root / GENERATIONS).glob("*.json"), reverse=True)
        found = [build(Generation, read_json(file), source=str(file)) for file in files]
        return [Dataset(self.root, past.info, past.columns) for past in found]

    # --- tables ---

    @property
    def name(self) -> str:
        """The data set's name."""
        return self.info.name

    @property
    def n_users(self) -> int:
        """U, the number of users."""
        return self.info.counts["users"]

    @property
    def n_items(self) -> int:
        """I, the number of items."""
        return self.info.counts["items"]

    @property
    def n_interactions(self) -> int:
        """The number of rows."""
        return self.info.counts["interactions"]

    def interactions(self) -> pl.LazyFrame:
        """Return every row: user int32, item int32, and rating, timestamp (ms, UTC), order where there are any."""
        return self._scan(INTERACTIONS)

    def items(self) -> pl.LazyFrame:
        """Return the items in id order: item int32, item_id text, and their content columns."""
        return self._scan(ITEMS)

    def users(self) -> pl.LazyFrame:
        """Return the users in id order: user int32, user_id text, and their attributes."""
        return self._scan(USERS)

    def rejected(self) -> pl.LazyFrame:
        """Return what the import set aside: file, row, column, reason, detail."""
        return self._scan(REJECTED)

    def _scan(self, name: str) -> pl.LazyFrame:
        path = self.root / name
        try:
            frame = pl.scan_parquet(path)
            frame.collect_schema()  # a truncated file shows here, where its name is known
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(
                f"{path} cannot be read as Parquet, it may be truncated: {str(error).splitlines()[0]}"
            ) from None
        if self.columns is None:
            return frame
        return frame.select(self.columns[name]).head(self.info.counts[_COUNTED[name]])

    # --- ids ---

    @cached_property
    def _user_ids(self) -> pl.Series:
        return self.users().select("user_id").collect()["user_id"]

    @cached_property
    def _item_ids(self) -> pl.Series:
        return self.items().select("item_id").collect()["item_id"]

    def user_ids(self) -> pl.Series:
        """Return the external user ids in id order: text [U]."""
        return self._user_ids

    def item_ids(self) -> pl.Series:
        """Return the external item ids in id order: text [I]."""
        return self._item_ids

    def users_of(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the users with these external ids: int64 [n], -1 where unknown."""
        return _positions(self._user_ids, ids)

    def items_of(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the items with these external ids: int64 [n], -1 where unknown."""
        return _positions(self._item_ids, ids)

    def titles(self) -> pl.Series:
        """Return a title for every item, text [I]: its own, or its external id where it has none."""
        columns = self.items().collect_schema().names()
        if "title" not in columns:
            return self._item_ids.rename("title")
        frame = self.items().select(pl.coalesce(pl.col("title"), pl.col("item_id")).alias("title")).collect()
        return frame["title"]

    def attributes(self) -> dict[str, tuple[npt.NDArray[np.int64], list[str]]]:
        """Return the sensitive columns of the users as classes: name -> (int64 [U], class names); -1 = unknown."""
        found: dict[str, tuple[npt.NDArray[np.int64], list[str]]] = {}
        if not self.info.sensitive:
            return found
        frame = self.users().select([pl.col(name).cast(pl.String) for name in self.info.sensitive]).collect()
        for name in self.info.sensitive:
            classes = sorted(frame[name].drop_nulls().unique().to_list())
            found[name] = (_positions(pl.Series(classes, dtype=pl.String), frame[name]), classes)
        return found

    # --- content ---

    @property
    def feature_names(self) -> list[str]:
        """The names of the feature sets."""
        return list(self.info.features)

    def features(self, name: str) -> Features:
        """Return one feature set, whether it was given or encoded.

        Raises:
            DataError: There is none of this name, or its files are damaged.
        """
        info = self.info.features.get(name)
        if info is None:
            have = ", ".join(self.feature_names) or "none"
            raise DataError(
                f"{self.name} has no features '{name}'{did_you_mean(name, self.feature_names)} (it has: {have}); "
                f"make some with: sensorium encode {self.name}"
            )
        folder = self.root / info.folder
        x, present = read_npy(folder / "pooled.npy"), read_npy(folder / "present.npy")
        if x.shape != (self.n_items, info.dim) or present.shape != (self.n_items,):
            raise DataError(
                f"{folder} holds {x.shape} values for {self.n_items} items of width {info.dim}: encode again"
            )
        values = x.astype(np.float32, copy=False)
        if info.scale != 1:
            values = values * np.float32(info.scale)
        return Features(values, present.astype(bool, copy=False))

    def media_path(self, relative: str) -> Path:
        """Return the file of a media column's entry.

        Raises:
            DataError: The path is absolute or leads out of the data set's folder.
        """
        pure = PurePosixPath(relative)
        path = self.root / pure
        if pure.is_absolute() or ".." in pure.parts or not path.resolve().is_relative_to(self.root.resolve()):
            raise DataError(f"media path '{relative}' leads out of {self.root}: paths are relative and stay below it")
        return path

    def fingerprint(self) -> str:
        """Return 32 hexadecimal digits that change when a table or a feature set does."""
        return digest(dict(self.info.checksums), {name: info.digest for name, info in self.info.features.items()})


def _positions(known: pl.Series, wanted: Sequence[str] | pl.Series) -> npt.NDArray[np.int64]:
    """Return the position of each wanted text among the known ones, -1 where it is not."""
    table = pl.DataFrame({"id": known, "position": np.arange(len(known), dtype=np.int64)})
    asked = pl.DataFrame({"id": pl.Series(wanted, dtype=pl.String)})
    joined = asked.join(table, on="id", how="left", maintain_order="left")
    return joined["position"].fill_null(-1).to_numpy().astype(np.int64)
