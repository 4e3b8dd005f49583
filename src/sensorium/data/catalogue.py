"""Data sets by name: a path, a name below the data home, or a name that is imported or generated on first use."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sensorium.core.config import build
from sensorium.core.errors import DataError
from sensorium.core.home import home, shared_data
from sensorium.core.registry import did_you_mean
from sensorium.data.dataset import Dataset
from sensorium.data.importing import ImportConfig, import_dataset
from sensorium.data.schema import DESCRIPTION

logger = logging.getLogger(__name__)

# Name -> folder below $SENSORIUM_DATA, and how it is read.
RESEARCH_SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "baby": ("amazon-baby", {"reader": "baby"}),
    "lfm2k": ("lfm2k", {"reader": "lfm2k"}),
    "tiktok": ("tiktok", {"reader": "tiktok"}),
    "ml100k": ("movielens", {"reader": {"name": "ml100k", "variant": "ml100k"}}),
    "ml100k+": ("movielens", {"reader": {"name": "ml100k", "variant": "ml100k+"}, "k_core": 5}),
    "ml100k-all": ("movielens", {"reader": {"name": "ml100k", "variant": "ml100k-all"}, "k_core": 5}),
    "ml1m": ("movielens", {"reader": "ml1m"}),
    "mlls": ("movielens", {"reader": "mlls"}),
    "mlls-apart": ("movielens", {"reader": {"name": "mlls", "variant": "mlls-apart"}}),
    "scientific": ("amazon-scientific", {"reader": "scientific"}),
    "beauty": ("sequential/s3rec", {"reader": {"name": "s3rec", "set": "Beauty"}}),
    "toys": ("sequential/s3rec", {"reader": {"name": "s3rec", "set": "Toys_and_Games"}}),
    "lastfm": ("sequential/s3rec", {"reader": {"name": "s3rec", "set": "LastFM"}}),
    "microlens-50k": ("microlens-50k", {"reader": {"name": "microlens", "subset": "50k"}}),
    "microlens-100k": ("microlens-100k", {"reader": {"name": "microlens", "subset": "100k"}}),
    "microlens-1m": ("microlens-1m", {"reader": {"name": "microlens", "subset": "1M"}}),
}
# Name -> keys of the demo's world. A twin has the laws of the other, and no item in common with it.
_ALL = ["text", "image", "audio", "video"]
GENERATED: dict[str, dict[str, Any]] = {
    "demo": {},
    "demo-twin": {"domain": "twin"},
    "demo-media": {"modalities": _ALL},
    "demo-media-twin": {"modalities": _ALL, "domain": "twin"},
}


def datasets_home() -> Path:
    """Return the folder of named data sets."""
    return home() / "datasets"


def open_dataset(name_or_path: str | Path) -> Dataset:
    """Open a data set.

    Args:
        name_or_path: A folder; or a name below `$SENSORIUM_HOME/datasets`; or a name of `GENERATED`, "demo" among them,
            which is generated on first use; or the name of a research set, which is imported from `$SENSORIUM_DATA` on
            first use.

    Raises:
        DataError: There is no such data set; the message names the nearest, or what is missing.
    """
    text = str(name_or_path)
    if Path(text).is_dir() and (Path(text) / DESCRIPTION).exists():
        return Dataset.open(text)
    named = datasets_home() / text
    if "/" not in text and (named / DESCRIPTION).exists():
        return Dataset.open(named)
    if text in GENERATED:
        from sensorium.data.demo import DemoConfig, generate_demo

        logger.info("generating a demo catalogue in %s", named)
        config = build(DemoConfig, GENERATED[text], source=f"the data set '{text}'")
        return Dataset.open(made_once(named, lambda: generate_demo(named, config)))
    if text in RESEARCH_SETS:
        return Dataset.open(made_once(named, lambda: _import_research_set(text, named)))
    if Path(text).is_dir():
        return Dataset.open(text)  # raises, and says what is missing there
    known = sorted({*GENERATED, *RESEARCH_SETS, *_names()})
    raise DataError(
        f"there is no data set '{text}'{did_you_mean(text, known)} (a folder, or one of: {', '.join(known)})"
    )


def _names() -> list[str]:
    folder = datasets_home()
    return sorted(path.parent.name for path in folder.glob(f"*/{DESCRIPTION}")) if folder.is_dir() else []


def made_once(folder: Path, make: Callable[[], object]) -> Path:
    """Make a data set in a folder, unless another process has made it in the meantime; return the folder."""
    try:
        make()
    except DataError:
        if not (folder / DESCRIPTION).exists():
            raise
    return folder


def research_folder(name: str, folder: str) -> Path:
    """Return where a research data set lies.

    Raises:
        DataError: There is no such folder here; the message says what to set.
    """
    root = shared_data()
    if root is None:
        raise DataError(
            f"'{name}' is a research data set and is not imported yet: set SENSORIUM_DATA to the folder that holds "
            f"{folder}/"
        )
    if not (root / folder).is_dir():
        raise DataError(f"'{name}' needs the folder {folder}, which is not in SENSORIUM_DATA ({root})")
    logger.info("importing %s from %s", name, root / folder)
    return root / folder


def _import_research_set(name: str, out: Path) -> Dataset:
    folder, tree = RESEARCH_SETS[name]
    config = build(ImportConfig, {**tree, "name": name}, source=f"data set {name}")
    return import_dataset(research_folder(name, folder), out, config)
