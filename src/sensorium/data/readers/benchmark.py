"""Three folders of the multimodal-recommendation literature: a log with a split column, and feature matrices beside it.

    amazon-baby/baby.inter        userID, itemID, x_label                  ids of the public benchmark
    lfm2k/lfm2k.inter             userID, itemID, rating, x_label;         all-MiniLM-L6-v2.npy, vggish.npy, whisper.npy
    tiktok/tiktok.inter           userID, itemID, x_label;                 image_feat.npy, audio_feat.npy

`x_label` is 0 train, 1 valid, 2 test and becomes the column `split`. Row r of a matrix belongs to the item with id r.
None of the three has times or an order.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

import polars as pl

from sensorium.core import config as core_config
from sensorium.core.errors import DataError
from sensorium.core.files import read_npy
from sensorium.data.readers.base import GivenFeatures, Reading
from sensorium.data.readers.delimited import TsvReader

LABELS = ("0", "1", "2")  # train, valid, test


class _BenchmarkReader:
    """A folder with one `.inter` file and `.npy` matrices."""

    Config = core_config.NoOptions
    log: ClassVar[str]
    licence: ClassVar[str]
    matrices: ClassVar[dict[str, tuple[str, str]]] = {}  # features -> (file, what made it)

    def __init__(self, config: core_config.NoOptions | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read a folder.

        Raises:
            DataError: A file or a column is missing, x_label holds something else than 0, 1 and 2, or a matrix does
                not have one row per item.
        """
        file = path / self.log
        if not file.is_file():
            raise DataError(f"{path}: there is no {self.log} here")
        log = TsvReader(TsvReader.Config(columns={"user_id": "userID", "item_id": "itemID"})).read(file)
        item_ids = self._item_ids(path, log.interactions)
        return Reading(
            interactions=with_split(log.interactions, file),
            files=[file, *(path / matrix for matrix, _ in self.matrices.values())],
            items=None if item_ids is None else pl.LazyFrame({"item_id": item_ids}),
            columns={**log.columns, "split": "x_label"},
            rejected=log.rejected,
            licence=self.licence,
            features={
                name: GivenFeatures(partial(read_npy, path / matrix), item_ids, {"file": matrix, "encoder": made_by})
                for name, (matrix, made_by) in self.matrices.items()
                if item_ids is not None
            },
        )

    def _item_ids(self, path: Path, rows: pl.LazyFrame) -> pl.Series | None:
        """Return the ids that the matrices' rows belong to, or None where the folder has no matrix."""
        lengths = {matrix: len(read_npy(path / matrix, mmap=True)) for matrix, _ in self.matrices.values()}
        if not lengths:
            return None
        largest = rows.select(pl.col("item_id").cast(pl.Int64, strict=False).max()).collect().item()
        for matrix, length in lengths.items():
            if length != max(lengths.values()) or largest is None or length <= largest:
                raise DataError(
                    f"{path / matrix} has {length:,} rows and the largest item id is {largest}: row r belongs to the "
                    f"item with id r, and all matrices have the same rows"
                )
        return pl.Series("item_id", range(max(lengths.values()))).cast(pl.String)


def with_split(rows: pl.LazyFrame, file: Path) -> pl.LazyFrame:
    """Return the rows with `split` int8 instead of x_label."""
    if "x_label" not in rows.collect_schema().names():
        raise DataError(f"{file}: there is no column x_label")
    wrong = ~pl.col("x_label").cast(pl.String).is_in(LABELS).fill_null(False)
    found = rows.filter(wrong).select("row", "x_label").head(1).collect()
    if found.height:
        raise DataError(
            f"{file} row {found['row'][0]}: x_label is {found['x_label'][0]}, and must be 0 (train), 1 (valid) or "
            "2 (test)"
        )
    return rows.with_columns(pl.col("x_label").cast(pl.Int8).alias("split")).drop("x_label")


class BabyReader(_BenchmarkReader):
    """Amazon Baby, ids alone; its x_label was drawn again by the usual rule."""

    summary: ClassVar[str] = "folder amazon-baby: baby.inter with x_label"
    log = "baby.inter"
    licence = "research use; no redistribution"


class Lfm2kReader(_BenchmarkReader):
    """Last.fm 2K with vectors of the artists' texts and music."""

    summary: ClassVar[str] = "folder lfm2k: lfm2k.inter with x_label, text and two audio matrices"
    log = "lfm2k.inter"
    licence = "research use; no redistribution"
    matrices: ClassVar[dict[str, tuple[str, str]]] = {
        "text": ("all-MiniLM-L6-v2.npy", "all-MiniLM-L6-v2"),
        "vggish": ("vggish.npy", "VGGish"),
        "whisper": ("whisper.npy", "Whisper"),
    }


class TiktokReader(_BenchmarkReader):
    """TikTok with vectors of the clips' pictures and sound."""

    summary: ClassVar[str] = "folder tiktok: tiktok.inter with x_label, image and audio matrices"
    log = "tiktok.inter"
    licence = "research use; no redistribution"
    matrices: ClassVar[dict[str, tuple[str, str]]] = {
        "image": ("image_feat.npy", "unknown"),
        "audio": ("audio_feat.npy", "unknown"),
    }
