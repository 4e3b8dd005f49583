"""The items of a data set alone: their texts, files and stored states, for models that read raw content.

A model never meets the rows of a data set, and here there are none: what anybody did has no way in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core.errors import DataError
from sensorium.data.dataset import Dataset
from sensorium.data.schema import ITEMS

Integers = npt.NDArray[np.int64]


class ItemsAlone(Dataset):
    """A data set of which items, media and features can be read; its rows and users cannot."""

    def _scan(self, name: str) -> pl.LazyFrame:
        if name != ITEMS:
            raise DataError(f"a model reads the items of '{self.name}' and never {name}: rows reach it by its view")
        return super()._scan(name)


@dataclass(frozen=True, eq=False)
class ItemContent:
    """The content of the items of a view.

    Attributes:
        dataset: Where it lies.
        row: int64 [I], whose content each item gets; None = its own.
        added: Where that of further items lies, whose ids follow; they have their own.
    """

    dataset: ItemsAlone
    row: Integers | None = None
    added: ItemsAlone | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> ItemContent:
        """Return the content of a data set's items."""
        return cls(_alone(dataset))

    def with_added(self, items: Dataset) -> ItemContent:
        """Return the content of these items and of further ones."""
        return replace(self, added=_alone(items))

    def rows(self, items: Integers) -> Integers:
        """Return where the content of items stands, int64 [n] -> int64 [n]: that of added ones behind all others."""
        if self.row is None:
            return items
        return np.where(items < len(self.row), self.row[np.minimum(items, len(self.row) - 1)], items)

    def permuted(self, order: Integers) -> ItemContent:
        """Return the content with item i given that of item order[i]."""
        return replace(self, row=order if self.row is None else self.row[order])


def _alone(dataset: Dataset) -> ItemsAlone:
    return ItemsAlone(dataset.root, dataset.info, dataset.columns)
