"""Catalogues of made texts and pictures, the tiny encoders, and hashes of what they leave on the disk."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sensorium.core.config import Component
from sensorium.core.registry import registered
from sensorium.data.dataset import Dataset
from sensorium.data.schema import Source
from sensorium.data.store import write_tables

# Decoding processes import the tiny encoders by name; the path travels to them.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tiny_encoder

GROUP = "sensorium.encoders"
SYLLABLES = np.array(["ba", "do", "ki", "lu", "me", "na", "po", "ru", "si", "to"])


@pytest.fixture(autouse=True)
def count() -> None:
    """Reset what the tiny encoders count."""
    tiny_encoder.TinyText.forwarded = tiny_encoder.TinyText.loads = 0


@pytest.fixture(autouse=True, scope="module")
def tiny() -> Iterator[None]:
    """Register the tiny encoders."""
    with (
        registered(GROUP, "tiny-text", tiny_encoder.TinyText),
        registered(GROUP, "tiny-image", tiny_encoder.TinyImage),
    ):
        yield


def words(n: int, seed: int = 0) -> list[str]:
    """Texts of 1 to 15 made words; a twelfth of them is longer than the tiny encoder reads."""
    draw = np.random.default_rng(seed)
    parts = draw.choice(SYLLABLES, size=(n, 15, 2))
    return [" ".join("".join(pair) for pair in row[: draw.integers(1, 16)]) for row in parts]


def write_catalogue(root: Path, **columns: list[Any]) -> Dataset:
    """Write a data set of item columns with one user."""
    root.mkdir(exist_ok=True)
    n = len(next(iter(columns.values())))
    ids = np.arange(n, dtype=np.int32)
    return write_tables(
        root,
        name=root.name,
        source=Source(reader="test"),
        interactions=pl.DataFrame({"user": np.zeros(n, dtype=np.int32), "item": ids}),
        items=pl.DataFrame({"item": ids, "item_id": [f"i{item}" for item in ids]}).with_columns(
            pl.Series(name, values) for name, values in columns.items()
        ),
        users=pl.DataFrame({"user": np.zeros(1, dtype=np.int32), "user_id": ["u"]}),
    )


@pytest.fixture
def catalogue(tmp_path: Path) -> Callable[..., Dataset]:
    def make(name: str = "shop", **columns: list[Any]) -> Dataset:
        return write_catalogue(tmp_path / name, **columns)

    return make


def tiny_text(**options: Any) -> Component:
    return Component(GROUP, "tiny-text", tiny_encoder.TinyText.Config(**options))


def tiny_image(**options: Any) -> Component:
    return Component(GROUP, "tiny-image", tiny_encoder.TinyImage.Config(**options))


def cache_of(dataset: Dataset, name: str = "text") -> Path:
    return dataset.root / Dataset.open(dataset.root).info.features[name].folder


def arrays(folder: Path) -> dict[str, str]:
    """SHA-256 of every array of a cache and of its table of what was set aside."""
    files = [path for path in folder.iterdir() if path.suffix in (".npy", ".parquet")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}
