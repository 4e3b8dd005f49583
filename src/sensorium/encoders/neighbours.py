"""Nearest neighbours by content, to be looked at before anything is trusted.

    cosine of centred vectors: x_i - mean over the items that have content (of those that training may see)

Raw states of foundation models share a large common part, which makes everything alike: they are never compared
uncentred. `agreement` puts a number to what people see: do neighbours share labels that the encoder never read?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core.errors import DataError
from sensorium.core.pages import picture, write_page
from sensorium.core.registry import did_you_mean
from sensorium.data.dataset import Dataset
from sensorium.data.features import huge_rows
from sensorium.media.errors import MediaError
from sensorium.media.images import read_image

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

THUMBNAIL = 128  # pixels of the longer side
BLOCK = 2_048


@dataclass(frozen=True)
class Neighbour:
    """One near item.

    Attributes:
        item: Its id.
        item_id: Its external id.
        title: Its title.
        cosine: Of the centred vectors.
    """

    item: int
    item_id: str
    title: str
    cosine: float


def centred(x: Floats, present: Mask, seen: Mask | None = None) -> Floats:
    """Return unit vectors around the mean of the items with content, float32 [I, d]; zero without content.

    Rows that dwarf the others (`data.features.huge_rows`) are no part of the mean.

    Args:
        x: [I, d].
        present: bool [I].
        seen: Items that the mean may be taken over, bool [I]; None: all.
    """
    rows = present if seen is None else present & seen
    if not rows.any():
        raise DataError("no item has content: there is nothing to compare")
    rows = rows & ~huge_rows(x, rows)
    wide = x.astype(np.float64)
    moved = np.where(present[:, None], wide - wide[rows].mean(0), 0)
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    unit: Floats = (moved / np.where(length > 0, length, 1)).astype(np.float32)
    return unit


def nearest(unit: Floats, present: Mask, items: npt.NDArray[np.int64], k: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return the k nearest items of some items and their cosines, [n, k]; -1 where there are fewer with content."""
    found = np.full((len(items), k), -1, dtype=np.int64)
    cosines = np.zeros((len(items), k), dtype=np.float32)
    for start in range(0, len(items), BLOCK):
        block = items[start : start + BLOCK]
        scores = unit[block] @ unit.T
        scores[:, ~present] = -np.inf
        scores[np.arange(len(block)), block] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        value = np.take_along_axis(scores, best, 1)
        there = np.isfinite(value)
        found[start : start + len(block), : best.shape[1]] = np.where(there, best, -1)
        cosines[start : start + len(block), : best.shape[1]] = np.where(there, value, 0)
    return found, cosines


def neighbours_of(dataset: Dataset, item_id: str, feature: str, k: int = 10) -> list[Neighbour]:
    """Return the nearest items of one item by one feature set.

    Raises:
        DataError: There is no such item or feature set, or the item has no content in it.
    """
    item = _item(dataset, item_id)
    x, present = dataset.features(feature)
    if not present[item]:
        raise DataError(f"item '{item_id}' of {dataset.name} has no '{feature}': there is nothing to compare")
    found, cosines = nearest(centred(x, present), present, np.array([item]), k)
    ids, titles = dataset.item_ids(), dataset.titles()
    return [
        Neighbour(int(near), ids[int(near)], titles[int(near)], float(cosine))
        for near, cosine in zip(found[0], cosines[0], strict=True)
        if near >= 0
    ]


def _item(dataset: Dataset, item_id: str) -> int:
    item = int(dataset.items_of([item_id])[0])
    if item < 0:
        raise DataError(f"{dataset.name} has no item '{item_id}'{did_you_mean(item_id, dataset.item_ids().to_list())}")
    return item


def write_neighbours(
    path: str | Path, dataset: Dataset, item_ids: Sequence[str], features: Sequence[str], k: int = 10
) -> Path:
    """Write one page with the nearest neighbours of some items by each feature set, with pictures and titles.

    Args:
        path: The page.
        dataset: The data set.
        item_ids: External ids.
        features: Names of feature sets.
        k: Neighbours for each.

    Raises:
        DataError: An item or a feature set is not there.
    """
    ids, titles = dataset.item_ids(), dataset.titles()
    asked = [_item(dataset, item_id) for item_id in item_ids]
    pictures = _Pictures(dataset)
    sections = []
    for name in features:
        x, present = dataset.features(name)
        unit = centred(x, present)
        usable = np.array([item for item in asked if present[item]], dtype=np.int64)
        found, cosines = nearest(unit, present, usable, k)
        rows = {int(item): (found[place], cosines[place]) for place, item in enumerate(usable)}
        groups = [
            {
                "title": titles[item],
                "picture": pictures.of(item, titles[item]),
                "near": [
                    {
                        "title": titles[int(near)],
                        "item_id": ids[int(near)],
                        "cosine": f"{cosine:.3f}",
                        "picture": pictures.of(int(near), titles[int(near)]),
                    }
                    for near, cosine in zip(*rows[item], strict=True)
                    if near >= 0
                ]
                if item in rows
                else None,
            }
            for item in asked
        ]
        info = dataset.info.features[name]
        origin = info.provenance if isinstance(info.provenance, dict) else {}
        sections.append(
            {
                "name": name,
                "encoder": origin.get("encoder", "given vectors"),
                "untrained": bool(origin.get("untrained", False)),
                "present": f"{info.present:,}",
                "items": f"{info.items:,}",
                "dim": info.dim,
                "groups": groups,
            }
        )
    path = Path(path)
    write_page(path, f"Neighbours in {dataset.name}", "encoders/templates/neighbours.html", sections=sections)
    return path


class _Pictures:
    """Thumbnails of items, each read once; an item without a picture that can be read has none."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        columns = dataset.items().collect_schema().names()
        has = "image" in columns
        self._paths = dataset.items().select("image").collect()["image"].to_list() if has else []
        self._made: dict[int, object] = {}

    def of(self, item: int, title: str) -> object:
        if item not in self._made:
            self._made[item] = self._make(item, title)
        return self._made[item]

    def _make(self, item: int, title: str) -> object:
        path = self._paths[item] if self._paths else None
        if not path:
            return None
        try:
            image = read_image(self._dataset.media_path(path))
        except (MediaError, DataError):
            return None
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        return picture(image, description=title)


@dataclass(frozen=True)
class Agreement:
    """How far neighbours share labels that the encoder never read.

    Attributes:
        items: Items with content and labels, n.
        jaccard: Mean overlap of the label sets of an item and its k nearest.
        chance: The same over all pairs.
        sharing: Share of neighbours with at least one label in common.
        chance_sharing: The same over all pairs.
    """

    items: int
    jaccard: float
    chance: float
    sharing: float
    chance_sharing: float

    @property
    def lift(self) -> float:
        """Overlap relative to chance."""
        return self.jaccard / self.chance


def label_matrix(values: pl.Series) -> Mask:
    """Return bool [I, labels] from text such as "Action|Comedy", or from lists of labels; missing = no label."""
    lists = values.str.split("|") if values.dtype == pl.String else values
    table = pl.DataFrame({"row": np.arange(len(values)), "label": lists}).explode("label").drop_nulls()
    table = table.filter(pl.col("label") != "")
    names = table["label"].unique().sort()
    column = table["label"].cast(pl.Enum(names)).to_physical().to_numpy()
    matrix = np.zeros((len(values), len(names)), dtype=bool)
    matrix[table["row"].to_numpy(), column] = True
    return matrix


def agreement(x: Floats, present: Mask, labels: Mask, k: int = 10) -> Agreement:
    """Compare the labels of items with those of their nearest.

    Args:
        x: Vectors [I, d].
        present: bool [I].
        labels: bool [I, labels]; items without any are left out.
        k: Neighbours for each item.

    Raises:
        DataError: Fewer than two items have content and labels.
    """
    rows = np.flatnonzero(present & labels.any(1))
    if len(rows) < 2:
        raise DataError(f"{len(rows)} items have both content and labels: there is nothing to compare")
    unit = centred(x[rows], np.ones(len(rows), dtype=bool))
    k = min(k, len(rows) - 1)
    mine = labels[rows].astype(np.float32)
    sizes = mine.sum(1)
    found, _ = nearest(unit, np.ones(len(rows), dtype=bool), np.arange(len(rows)), k)
    common = np.einsum("ng,nkg->nk", mine, mine[found])
    overlap = common / (sizes[:, None] + sizes[found] - common)
    total, sharing = 0.0, 0.0
    for start in range(0, len(rows), BLOCK):
        block = mine[start : start + BLOCK]
        both = block @ mine.T
        total += float((both / (sizes[start : start + BLOCK, None] + sizes - both)).sum(dtype=np.float64))
        sharing += float((both > 0).sum())
    pairs = len(rows) * (len(rows) - 1)
    return Agreement(
        items=len(rows),
        jaccard=float(overlap.mean()),
        chance=(total - len(rows)) / pairs,  # an item is no neighbour of itself
        sharing=float((common > 0).mean()),
        chance_sharing=(sharing - len(rows)) / pairs,
    )
