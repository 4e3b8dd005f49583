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
            DataError: A file or a column is missing, or x_label holds something else than 0, 1 and 2.
        """
        file = path / self.log
        if not file.is_file():
            raise DataError(f"{path}: there is no {self.log} here")
        reading = TsvReader(TsvReader.Config(columns={"user_id": "userID", "item_id": "itemID"})).read(file)
        rows = reading.interactions.rename({"x_label": "split"}).collect()
        if not rows["split"].is_in([0, 1, 2]).all():
            raise DataError(f"{file}: x_label must be 0 (train), 1 (valid) or 2 (test) in every row")
        item_ids = pl.Series("item_id", [], dtype=pl.String)
        features: dict[str, GivenFeatures] = {}
        for name, (matrix, made_by) in self.matrices.items():
            target = path / matrix
            item_ids = pl.Series("item_id", [str(row) for row in range(len(read_npy(target, mmap=True)))])
            provenance = {"file": matrix, "encoder": made_by}
            features[name] = GivenFeatures(partial(read_npy, target), item_ids, provenance)
        return Reading(
            interactions=rows.lazy(),
            files=[file, *(path / matrix for matrix, _ in self.matrices.values())],
            name=path.name,
            items=pl.LazyFrame({"item_id": item_ids}) if len(item_ids) else None,
            rejected=reading.rejected,
            licence=self.licence,
            features=features,
        )


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
