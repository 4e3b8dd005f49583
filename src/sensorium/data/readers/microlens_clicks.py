"""The click task of MicroLens-1M (MicroLens_1M_x1), which is not the ranking benchmark.

    train.parquet, valid.parquet, test.parquet   user_id, item_seq (list), item_id, likes_level, views_level, label
    item_info.parquet                            item_id, item_tags int64 [5], item_emb_d128 float32 [128]
    item_feature.parquet, item_emb.parquet       item_id and what is known of it; row 0 is padding everywhere
    item_seq.parquet                             user_id, item_seq

The label, 0 or 1, becomes `rating` (missing in a test file without labels); the file becomes `split`. Rows have no
time.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from sensorium.core.errors import DataError
from sensorium.data.readers.base import GivenFeatures, Reading
from sensorium.data.readers.official import OfficialConfig, need_folder
from sensorium.data.readers.parquet import ParquetReader

PARTS = ("train", "valid", "test")
PADDING = "0"


class MicroLensClicksReader:
    """A folder MicroLens_1M_x1."""

    summary: ClassVar[str] = "folder MicroLens_1M_x1: shown items with clicks, tags and vectors"
    Config = OfficialConfig

    def __init__(self, config: OfficialConfig | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read the folder.

        Raises:
            DataError: train.parquet is missing, a file is damaged, or a column is not there.
        """
        files = [path / f"{part}.parquet" for part in PARTS if (need_folder(path) / f"{part}.parquet").is_file()]
        if path / "train.parquet" not in files:
            raise DataError(f"{path}: there is no train.parquet here")
        frames, start = [], 0
        for file in files:
            frame = _scan(file, ("user_id", "item_id"))
            names = frame.collect_schema().names()
            frames.append(
                frame.select(
                    pl.col("user_id").cast(pl.String),
                    pl.col("item_id").cast(pl.String),
                    (pl.int_range(pl.len(), dtype=pl.Int64) + 1 + start).alias("row"),
                    (pl.col("label") if "label" in names else pl.lit(None)).cast(pl.Float32).alias("rating"),
                    pl.lit(PARTS.index(file.stem), dtype=pl.Int8).alias("split"),
                    *(pl.col(name) for name in ("likes_level", "views_level", "item_seq") if name in names),
                )
            )
            start += frame.select(pl.len()).collect().item()
        items, features, sides = self._items(path)
        return Reading(
            interactions=pl.concat(frames, how="diagonal_relaxed"),
            files=[*files, *sides],
            items=items,
            features=features,
            columns={"user_id": "user_id", "item_id": "item_id", "rating": "label"},
            licence="MicroLens: research use, no redistribution (westlake-repl)",
            notices=[
                "a click task: shown items with a label, not the ranking benchmark; rows with rating 0 are no "
                "positives (min_rating 1 leaves them out)",
                "likes_level and views_level have no time: they are for display, never to train on",
            ],
        )

    @staticmethod
    def _items(path: Path) -> tuple[pl.LazyFrame | None, dict[str, GivenFeatures], list[Path]]:
        tags, vectors = None, None
        files = []
        for name in ("item_info", "item_feature", "item_emb"):
            file = path / f"{name}.parquet"
            if not file.is_file():
                continue
            files.append(file)
            frame = _scan(file, ("item_id",)).with_columns(pl.col("item_id").cast(pl.String))
            frame = frame.filter(pl.col("item_id") != PADDING)
            names = frame.collect_schema().names()
            if tags is None and "item_tags" in names:
                tags = frame.select("item_id", tags=pl.col("item_tags").cast(pl.List(pl.Int64)))
            if vectors is None and "item_emb_d128" in names:
                vectors = (frame.select("item_id", "item_emb_d128").collect(), file.name)
        if vectors is None:
            return tags, {}, files
        table, file_name = vectors
        matrix = np.stack(table["item_emb_d128"].to_list()).astype(np.float32)
        given = GivenFeatures(lambda: matrix, table["item_id"], {"file": file_name, "encoder": "unknown"})
        return tags if tags is not None else table.select("item_id").lazy(), {"emb": given}, files


def _scan(file: Path, columns: tuple[str, ...]) -> pl.LazyFrame:
    try:
        frame = pl.scan_parquet(file)
        names = frame.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ParquetReader.explain(file, error) from None
    for column in columns:
        if column not in names:
            raise DataError(f"{file}: there is no column '{column}' (columns: {', '.join(names)})")
    return frame
