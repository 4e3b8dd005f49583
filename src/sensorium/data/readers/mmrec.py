"""Folders of the MMRec benchmark: a log with a split column, and feature matrices whose row is the item's number.

    <set>.inter                       userID, itemID, [rating], [timestamp], x_label (0 train, 1 valid, 2 test)
    image_feat.npy, text_feat.npy, *_feat.npy          row r belongs to the item with id r
    i_id_mapping.csv, u_id_mapping.csv                 the original ids beside the numbers, tab-separated

`x_label` becomes the column `split`. Matrices of Python objects are refused.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

import polars as pl

from sensorium.core.errors import DataError
from sensorium.core.files import read_npy
from sensorium.data.columns import ROW
from sensorium.data.readers.base import GivenFeatures, Reading
from sensorium.data.readers.benchmark import with_split
from sensorium.data.readers.delimited import TsvReader
from sensorium.data.readers.official import OfficialConfig
from sensorium.data.readers.recbole import single_log

ENDING = "_feat.npy"


class MMRecReader:
    """A folder with one `.inter` file and `*_feat.npy` matrices."""

    summary: ClassVar[str] = "MMRec: <set>.inter with x_label, *_feat.npy"
    Config = OfficialConfig

    def __init__(self, config: OfficialConfig | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read the folder.

        Raises:
            DataError: A file or a column is missing, x_label holds something else than 0, 1 and 2, or a matrix has no
                row for an item.
        """
        log = single_log(path)
        reader = TsvReader.Config(columns={"user_id": "userID", "item_id": "itemID"}, strict=self.config.strict)
        read = TsvReader(reader).read(log)
        rows = with_split(read.interactions, log)
        matrices = sorted(log.parent.glob(f"*{ENDING}"))
        items, features = _features(rows, matrices)
        files = [log, *matrices]
        notices = list(read.notices)
        tables: dict[str, pl.LazyFrame | None] = {"item": items, "user": None}
        for kind, name in (("item", "i_id_mapping.csv"), ("user", "u_id_mapping.csv")):
            mapping = log.parent / name
            if mapping.is_file():
                named = _mapping(mapping, f"{kind}ID", f"{kind}_id")
                known = tables[kind]
                tables[kind] = (
                    named if known is None else known.join(named, on=f"{kind}_id", how="left", maintain_order="left")
                )
                files.append(mapping)
        if not matrices:
            notices.append(f"{log.parent}: there is no *{ENDING}: items have no features")
        return Reading(
            interactions=rows,
            files=files,
            items=tables["item"],
            users=tables["user"],
            columns={**read.columns, "split": "x_label"},
            rejected=read.rejected,
            licence=None,
            features=features,
            closed=not matrices,
            notices=notices,
        )


def _features(rows: pl.LazyFrame, matrices: list[Path]) -> tuple[pl.LazyFrame | None, dict[str, GivenFeatures]]:
    if not matrices:
        return None, {}
    lengths = {matrix: len(read_npy(matrix, mmap=True)) for matrix in matrices}
    largest = rows.select(pl.col("item_id").cast(pl.Int64, strict=False).max()).collect().item()
    longest = max(lengths.values())
    for matrix, length in lengths.items():
        if length != longest or largest is None or length <= largest:
            raise DataError(
                f"{matrix} has {length:,} rows and the largest item id is {largest}: row r belongs to the item with id "
                "r, and all matrices have the same rows"
            )
    ids = pl.Series("item_id", range(longest)).cast(pl.String)
    features = {
        matrix.name.removesuffix(ENDING): GivenFeatures(
            partial(read_npy, matrix), ids, {"file": matrix.name, "encoder": "unknown"}
        )
        for matrix in matrices
    }
    return pl.LazyFrame({"item_id": ids}), features


def _mapping(path: Path, number: str, key: str) -> pl.LazyFrame:
    frame = TsvReader().scan(path)
    names = [name for name in frame.collect_schema().names() if name != ROW]
    if number not in names:
        raise DataError(f"{path}: there is no column {number} (columns: {', '.join(names)})")
    others = [name for name in names if name != number]
    kept = {name: f"original_{name}" if name == key else name for name in others}
    return frame.select(pl.col(number).alias(key), *(pl.col(name).alias(new) for name, new in kept.items())).unique(
        key, keep="first", maintain_order=True
    )
