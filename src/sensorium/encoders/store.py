"""Encoded features on disk: a folder that is whole or not there, and its entry in `dataset.json`.

    features/<modality>-<encoder>-<key>/
        pooled.npy         float32 [I, P], row = item id; zeros where there is no content
        present.npy        bool [I]
        manifest.json      card, config, key and its parts, fields, counts, versions, checksums
        rejected.parquet   item, item_id, path, reason, detail
        fitted/            what the encoder learned, to encode new items later

The folder is written under another name and renamed when all of it is on the disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core import registry
from sensorium.core.config import build, dump
from sensorium.core.errors import DataError
from sensorium.core.files import digest, read_json, read_npy, sha256_file, write_json, write_npy, write_parquet
from sensorium.data.dataset import Dataset
from sensorium.data.schema import FeatureInfo
from sensorium.data.store import update_info
from sensorium.encoders.base import Encoder, Vectors

FORMAT_VERSION = 1
GROUP = "sensorium.encoders"
REJECTED = {"item": pl.Int32, "item_id": pl.String, "path": pl.String, "reason": pl.String, "detail": pl.String}


@dataclass(frozen=True)
class Encoded:
    """The outcome of encoding a catalogue."""

    x: Vectors  # [I, P]
    present: npt.NDArray[np.bool_]  # [I]
    rejected: list[dict[str, Any]]  # rows of REJECTED
    counts: dict[str, int]


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill; it takes its place, and that of an older one, only when nothing went wrong."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            path.rename(temporary / ".replaced")
        temporary.rename(path)
        shutil.rmtree(path / ".replaced", ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_current(folder: Path, key: str) -> bool:
    """Return whether a folder holds the whole result for a key. Sizes are compared, contents are not read."""
    if not (folder / "manifest.json").is_file():
        return False
    manifest = read_json(folder / "manifest.json")
    sizes = {name: (folder / name).stat().st_size for name in manifest["files"] if (folder / name).is_file()}
    return bool(manifest["key"] == key and sizes == {name: file["bytes"] for name, file in manifest["files"].items()})


def write(folder: Path, encoder: Encoder[Any, Any], encoded: Encoded, manifest: dict[str, Any]) -> None:
    """Write the folder of one encoding."""
    with whole_folder(folder) as place:
        write_npy(place / "pooled.npy", encoded.x)
        write_npy(place / "present.npy", encoded.present)
        write_parquet(place / "rejected.parquet", pl.DataFrame(encoded.rejected, schema=REJECTED))
        (place / "fitted").mkdir()
        encoder.save(place / "fitted")
        files = {
            path.relative_to(place).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
            for path in sorted(place.rglob("*"))
            if path.is_file()
        }
        whole = {
            "format_version": FORMAT_VERSION,
            **manifest,
            "items": len(encoded.x),
            "dim": encoded.x.shape[1],
            "dtype": str(encoded.x.dtype),
            "counts": encoded.counts,
            "versions": {name: version(name) for name in ("sensorium", "numpy", "scipy", "scikit-learn", "pillow")},
            "files": files,
        }
        write_json(place / "manifest.json", whole)


def register(dataset: Dataset, name: str, folder: Path) -> Dataset:
    """Enter a feature folder under a short name in `dataset.json`, and return the data set as it now is."""
    manifest = read_json(folder / "manifest.json")
    parts = (
        "encoder",
        "config",
        "fields",
        "key",
        "fitted_on",
        "layers",
        "pooling",
        "weights_hash",
        "untrained",
        "counts",
    )
    info = FeatureInfo(
        folder=folder.relative_to(dataset.root).as_posix(),
        dim=manifest["dim"],
        dtype=manifest["dtype"],
        items=manifest["items"],
        present=manifest["counts"]["present"],
        provenance={part: manifest[part] for part in (*parts, "counts") if part in manifest},
        digest=digest(read_npy(folder / "pooled.npy"), read_npy(folder / "present.npy")),
        scale=manifest.get("pooled_scale", 1.0),
    )
    current = Dataset.open(dataset.root)
    if current.info.features.get(name) == info:
        return current  # up to date: nothing is written
    # Texts and pictures may be encoded at the same time: the change is made on what then stands on the disk.
    return update_info(dataset.root, lambda now: now.model_copy(update={"features": {**now.features, name: info}}))


def open_encoder(folder: str | Path) -> Encoder[Any, Any]:
    """Return the encoder that made a feature folder, as it was fitted: it gives new items vectors that fit the old.

    Raises:
        DataError: The folder holds no encoding, or that of a newer version.
        UnknownNameError: The encoder is not installed here.
    """
    folder = Path(folder)
    manifest = read_json(folder / "manifest.json")
    if "fitted_on" not in manifest:
        raise DataError(f"{folder} was made by an encoder with weights, which is opened by its own class")
    if manifest["format_version"] > FORMAT_VERSION:
        raise DataError(
            f"{folder} was written by a newer version ({manifest['versions']['sensorium']}): update sensorium"
        )
    target = registry.get(GROUP, manifest["encoder"])
    encoder: Encoder[Any, Any] = target(build(target.Config, manifest["config"], source=str(folder / "manifest.json")))
    encoder.load(folder / "fitted")
    return encoder


def describe_config(encoder: Encoder[Any, Any], config: Any) -> dict[str, Any]:
    """Return what the key and the manifest say of an encoder."""
    return {"encoder": encoder.card.name, "card": dump(encoder.card), "config": dump(config)}
