"""Weights that rows bring along: a column `weight` of the interactions, as `data import --weights` writes it.

A weight says how far a row counts, against the other train rows: batches carry it divided by its mean, so that the
learning rate means the same with and without weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from sensorium.data.batches import Batch, Step


class _Batches(Protocol):
    def __len__(self) -> int: ...

    def batch(self, step: Step) -> Batch: ...


class WeightedBatches:
    """The batches of another source, each row with its weight.

    Args:
        batches: The source; what weights it gives are multiplied.
        weight: float32 [E], at least 0 each and not all 0, of the train rows of the view.
    """

    def __init__(self, batches: _Batches, weight: npt.NDArray[np.float32]) -> None:
        self._batches = batches
        self._weight = torch.from_numpy(with_mean_one(weight))

    def __len__(self) -> int:
        """Return the number of batches of one pass."""
        return len(self._batches)

    def batch(self, step: Step) -> Batch:
        """Return the batch of a step, or its rank's slice of it."""
        batch = self._batches.batch(step)
        weight = self._weight[batch.row]
        return replace(batch, weight=weight if batch.weight is None else weight * batch.weight)


def with_mean_one(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return weights divided by their mean: float32 [E]."""
    scaled: npt.NDArray[np.float32] = (weight / weight.mean(dtype=np.float64)).astype(np.float32)
    return scaled
