"""Item features as linear layers take them: standardised, and 0 (the training mean) where an item has no content.

docs/protocol.md, "Missing content": a store carries a mask and never fills; values under a false mask are never read,
so zeros, noise, 1e9 or NaN there give bit-equal results.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

ROWS_AT_ONCE = 65_536
"""Rows that are worked on in double precision at a time."""

CONSTANT = 1e-6
"""A standard deviation below this share of the mean is rounding of float32, not variation."""


class MaskedFeatures(Protocol):
    """Feature vectors with their mask, as `Dataset.features` gives them."""

    @property
    def x(self) -> npt.NDArray[np.floating[Any]]:
        """The vectors, [I, d]."""

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Which items have content, [I]."""


class Standardised(NamedTuple):
    """Standardised features.

    Attributes:
        x: float32 [I, d], 0 where an item has no content.
        mean: float32 [d].
        sd: float32 [d], 1 for a column that is constant.
    """

    x: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    sd: npt.NDArray[np.float32]


def standardise(features: MaskedFeatures, trained_items: npt.NDArray[np.bool_]) -> Standardised:
    """Return features with mean 0 and standard deviation 1 per column, over items that have content and a train row.

    Items with content but no train row are scaled alike. A column that is constant over the trained items is centred
    alone; with no trained item to measure, nothing is moved.

    Args:
        features: `x` [I, d] and `present` [I].
        trained_items: bool [I], items with a train row.

    Raises:
        ValueError: The lengths differ.
    """
    n_items, width = features.x.shape
    if not n_items == len(features.present) == len(trained_items):
        raise ValueError(
            f"{n_items} feature vectors, {len(features.present)} marks of content and {len(trained_items)} items: "
            "these must be equal"
        )
    measured = np.flatnonzero(features.present & trained_items)
    count = max(len(measured), 1)
    mean = sum((block.sum(0) for _, block in _blocks(features.x, measured)), np.zeros(width)) / count
    squares = sum((((block - mean) ** 2).sum(0) for _, block in _blocks(features.x, measured)), np.zeros(width))
    sd = np.sqrt(squares / count)
    sd[sd <= CONSTANT * np.abs(mean)] = 1.0
    x = np.zeros((n_items, width), dtype=np.float32)
    for rows, block in _blocks(features.x, np.flatnonzero(features.present)):
        x[rows] = (block - mean) / sd
    return Standardised(x, mean.astype(np.float32), sd.astype(np.float32))


def _blocks(
    x: npt.NDArray[np.floating[Any]], rows: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """Yield the chosen rows in double precision, a block at a time, with their numbers."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        block = rows[start : start + ROWS_AT_ONCE]
        yield block, x[block].astype(np.float64)
