"""A catalogue with a text, a picture and a clip for each item, and small untrained encoders that read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from sensorium.core.config import Component, build
from sensorium.core.registry import get
from sensorium.data.dataset import Dataset
from sensorium.data.item_content import ItemContent
from sensorium.data.schema import Source
from sensorium.data.store import write_tables
from sensorium.data.view import TrainView
from sensorium.recommenders.towers.end_to_end import EndToEndConfig
from sensorium.testing.histories import ordered_view

from ...encoders.hub import tiny

ITEMS, USERS, LENGTH = 31, 40, 8
KINDS = {"text": "hub-text", "image": "hub-image", "video": "hub-video"}
FAMILIES = {"text": "bert", "image": "vit", "video": "videomae"}
BARE = {"text": 4, "image": 7, "video": 9}
"""Items that have nothing of a modality."""
BROKEN = 3
"""An item whose picture is no picture."""


def write_catalogue(root: Path) -> Dataset:
    """Write items with content and the log of a chain; item `BARE[m]` lacks m, the picture of item `BROKEN` is none."""
    (root / "media").mkdir(parents=True)
    pictures, clips = tiny.pictures(ITEMS), tiny.clips(root / "media", ITEMS)
    for item, content in enumerate(pictures):
        (root / "media" / f"{item}.png").write_bytes(b"<html>no picture</html>" if item == BROKEN else content)
    columns: dict[str, list[str | None]] = {
        "title": list(tiny.texts(ITEMS)),
        "image": [f"media/{item}.png" for item in range(ITEMS)],
        "video": [f"media/{clip.name}" for clip in clips],
    }
    for modality, column in (("text", "title"), ("image", "image"), ("video", "video")):
        columns[column][BARE[modality]] = None
    starts = np.random.default_rng(0).integers(ITEMS - 1, size=USERS)
    item = (starts[:, None] + np.arange(LENGTH)) % (ITEMS - 1)
    return write_tables(
        root,
        name=root.name,
        source=Source(reader="test"),
        interactions=pl.DataFrame(
            {
                "user": np.repeat(np.arange(USERS, dtype=np.int32), LENGTH),
                "item": item.ravel().astype(np.int32),
                "timestamp": np.tile(np.arange(LENGTH), USERS) * 60_000,
            }
        ),
        items=pl.DataFrame({"item": np.arange(ITEMS, dtype=np.int32), "item_id": names(), **columns}),
        users=pl.DataFrame(
            {"user": np.arange(USERS, dtype=np.int32), "user_id": [f"u{user}" for user in range(USERS)]}
        ),
    )


def names() -> list[str]:
    return [f"i{item:02}" for item in range(ITEMS)]


def view_of(dataset: Dataset) -> TrainView:
    """Return the ordered view of the contract tests, with the content of this catalogue."""
    return replace(ordered_view(items=ITEMS), content=ItemContent.of(dataset))


def component(modality: str, folder: Path, **options: object) -> Component:
    """Return an untrained encoder of a modality; its files are written once."""
    place = folder / FAMILIES[modality]
    if not place.exists():
        tiny.save_model(FAMILIES[modality], place)
    target = get("sensorium.encoders", KINDS[modality])
    config = build(target.Config, {"id": str(place), **options}, source="test")
    return Component("sensorium.encoders", KINDS[modality], config)


def end_to_end(modality: str, folder: Path, **options: object) -> EndToEndConfig:
    tree = {"encoder": component(modality, folder).tree(), "workers": 0, **options}
    return build(EndToEndConfig, tree, source="test")
