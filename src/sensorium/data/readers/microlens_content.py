"""The media files and the extracted features of a MicroLens folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core.errors import DataError
from sensorium.core.files import read_npy
from sensorium.data.readers.base import GivenFeatures

FOLDERS = {  # column -> the folder's endings, and which file ending is preferred where an item has several
    "image": (("covers", "cover"), (".jpg", ".jpeg", ".png", ".webp")),
    "audio": (("audio", "audios"), (".wav", ".flac", ".m4a", ".aac", ".mp3", ".ogg")),
    "video": (("videos", "video"), (".mp4", ".mkv", ".webm", ".avi", ".mov")),
}


def find_media(path: Path, subset: str) -> tuple[Path | None, pl.LazyFrame | None, list[str]]:
    """Return the media root, item_id with image, audio, video (paths below it) and `frames`, and sentences."""
    notices: list[str] = []
    tables: list[pl.DataFrame] = []
    for column, (endings, preferred) in FOLDERS.items():
        folder = _folder(path, subset, endings)
        if folder is None:
            archives = [path / f"MicroLens-{subset}_{ending}.zip" for ending in endings]
            notices += [
                f"{file.name} is not unpacked: the items have no {column}" for file in archives if file.is_file()
            ]
            continue
        table, doubled = _files(folder, preferred, column)
        if doubled:
            notices.append(f"{folder.name}: {doubled:,} items have several files; {', '.join(preferred)} go first")
        tables.append(table)
    frames = next((found for found in sorted(path.glob(f"MicroLens-{subset}_frames*")) if found.is_dir()), None)
    if frames is not None:
        stems = pl.Series("item_id", [file.stem.rpartition("-")[0] for file in frames.glob("*.jpg")], dtype=pl.String)
        tables.append(stems.to_frame().group_by("item_id").len("frames").sort("item_id"))
        notices.append(f"{frames.name}: frames are counted; encoders take theirs from the videos")
    if not tables:
        return None, None, notices
    ids = pl.concat([table.select("item_id") for table in tables]).unique(maintain_order=True)
    for table in tables:
        ids = ids.join(table, on="item_id", how="left", maintain_order="left")
    has_media = any(column in ids.columns for column in FOLDERS)
    return path if has_media else None, ids.lazy(), notices


def _folder(path: Path, subset: str, endings: tuple[str, ...]) -> Path | None:
    for ending in endings:
        for folder in (path / f"MicroLens-{subset}_{ending}", path / ending):
            if folder.is_dir():
                return folder
    return None


def _files(folder: Path, preferred: tuple[str, ...], column: str) -> tuple[pl.DataFrame, int]:
    """Return item_id (the file's stem) and the path, one file an item, and how many items had several."""
    ranked = sorted(
        (file.stem, preferred.index(file.suffix.lower()), f"{folder.name}/{file.name}")
        for file in folder.iterdir()
        if file.suffix.lower() in preferred
    )
    frame = pl.DataFrame(ranked, schema={"item_id": pl.String, "rank": pl.Int64, column: pl.String}, orient="row")
    first = frame.unique("item_id", keep="first", maintain_order=True).drop("rank")
    return first, frame.select(pl.col("item_id").filter(pl.col("item_id").is_duplicated()).n_unique()).item()


def given_features(path: Path) -> tuple[dict[str, GivenFeatures], list[Path]]:
    """Return the matrices of `extracted_modality_features`, and their files; the .npy where there is also a .json.

    Raises:
        DataError: A .json holds something else than a vector of one width for each item.
    """
    found: dict[str, GivenFeatures] = {}
    files: list[Path] = []
    for file in sorted((path / "extracted_modality_features").glob("*_features_*")):
        before, _, encoder = file.stem.rpartition("_features_")
        name = before.rpartition("_")[2]
        if file.suffix not in (".npy", ".json") or (file.suffix == ".json" and file.with_suffix(".npy").is_file()):
            continue
        load: Callable[[], npt.NDArray[Any]]
        if file.suffix == ".npy":
            length = len(read_npy(file, mmap=True))
            ids = pl.Series("item_id", range(1, length + 1)).cast(pl.String)
            load = _reading(file)
        else:
            ids, matrix = _from_json(file)
            load = _holding(matrix)
        found[name] = GivenFeatures(load, ids, {"file": file.name, "encoder": encoder})
        files.append(file)
    return found, files


def _reading(file: Path) -> Callable[[], npt.NDArray[Any]]:
    return lambda: read_npy(file)


def _holding(matrix: npt.NDArray[Any]) -> Callable[[], npt.NDArray[Any]]:
    return lambda: matrix


def _from_json(file: Path) -> tuple[pl.Series, npt.NDArray[np.float32]]:
    try:
        tree = json.loads(file.read_bytes())
        matrix = np.array(list(tree.values()), dtype=np.float32)
        if matrix.ndim != 2:
            raise ValueError("the vectors have different widths")
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: is no JSON of item -> vector: {error}") from None
    return pl.Series("item_id", list(tree), dtype=pl.String), matrix
