"""Small files to import, as the tests of reading and importing write them."""

from pathlib import Path
from typing import Any

from sensorium.core.config import build
from sensorium.data.dataset import Dataset
from sensorium.data.importing import ImportConfig, import_dataset


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """Write a text file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def config(**tree: Any) -> ImportConfig:
    """Build the config of an import."""
    return build(ImportConfig, tree, source="test")


def imported(log: Path, *, reader: Any = None, out: str = "out", **tree: Any) -> Dataset:
    """Import a file into a folder beside it. Options of the reader may be paths."""
    if isinstance(reader, dict):
        reader = {key: str(value) if isinstance(value, Path) else value for key, value in reader.items()}
    return import_dataset(log, log.parent / out, config(reader=reader, **tree))
