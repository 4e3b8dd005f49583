"""Batches of the denoising ranking loss: rows that are meant weigh more, and doubtful ones may serve as negatives.

    omega(u, i, j) = w_ui (1 - w_uj) / mean       w_uj = 0 for an item that the user did not have
    j      uniform over the items that u did not have; with probability kappa, where i is clean and u has doubtful rows,
           uniform over these instead

One formula for all: a doubtful row is a weak positive above items that the user did not have, and with kappa > 0 a weak
negative below the clean ones. The mean is that over all train rows and draws, in closed form, so that omega has mean 1
over a pass; the mean of a batch instead would make the effective learning rate drift.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from sensorium.core.seeds import numpy_generator
from sensorium.data.batches import Batch, PairBatches, Step
from sensorium.data.view import TrainView
from sensorium.data.weights import WeightedBatches, with_mean_one

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class RowWeights(NamedTuple):
    """What is known of the train rows: w float64 [E], and clean bool [E]."""

    weight: Floats
    clean: npt.NDArray[np.bool_]


class DenoisingBatches:
    """Batches of train rows with `weight` = omega. They follow the weights that were set last.

    Args:
        view: Whose rows.
        batch_size: Rows of a batch.
        doubtful_negatives: kappa.
        pointwise: The model uses no negatives: omega is w_ui / mean of w.
    """

    def __init__(
        self, view: TrainView, batch_size: int = 2048, doubtful_negatives: float = 0.0, *, pointwise: bool = False
    ) -> None:
        self._view = view
        pairs = PairBatches(view, batch_size)
        self._pairs = pairs if view.weight is None else WeightedBatches(pairs, view.weight)
        self._kappa = 0.0 if pointwise else doubtful_negatives
        self.set_rows(None)

    def set_rows(self, rows: RowWeights | None) -> None:
        """Weigh the rows from now on; None weighs none."""
        self._rows: RowWeights | None = rows
        if rows is None:
            return
        doubtful = np.flatnonzero(~rows.clean)  # ascending, so by user
        users = self._view.user[doubtful]
        count = np.bincount(users, minlength=self._view.n_users)
        self._doubtful, self._count = doubtful, count
        self._start = np.concatenate([[0], np.cumsum(count)])
        mean_weight = np.bincount(users, rows.weight[doubtful], minlength=self._view.n_users) / np.maximum(count, 1)
        numerator = rows.weight * (1 - self._kappa * np.where(rows.clean, mean_weight[self._view.user], 0.0))
        given = self._view.weight
        self._mean = float(np.mean(numerator if given is None else numerator * with_mean_one(given)))

    def __len__(self) -> int:
        """Return the number of batches of one pass."""
        return len(self._pairs)

    def batch(self, step: Step) -> Batch:
        """Return the batch of a step, or its rank's slice of it."""
        whole = self._pairs.batch(Step(step.seed, step.phase, step.epoch, step.index))
        rows = self._rows
        if rows is not None:
            whole = self._weighted(whole, rows, step)
        part = slice(len(whole) * step.rank // step.world, len(whole) * (step.rank + 1) // step.world)
        weight = None if whole.weight is None else whole.weight[part]
        return Batch(whole.user[part], whole.pos[part], whole.neg[part], whole.row[part], weight)

    def _weighted(self, batch: Batch, rows: RowWeights, step: Step) -> Batch:
        row, user = batch.row.numpy(), batch.user.numpy()
        numerator = rows.weight[row]
        negative = batch.neg.numpy()
        if self._kappa:
            generator = numpy_generator(step.seed, "doubtful", step.phase, step.epoch, step.index)
            lot, place = generator.random(len(row)), generator.random(len(row))
            swapped = np.flatnonzero(rows.clean[row] & (self._count[user] > 0) & (lot < self._kappa))
            picked = self._start[user[swapped]] + (place[swapped] * self._count[user[swapped]]).astype(np.int64)
            other = self._doubtful[picked]
            negative = negative.copy()
            negative[swapped, 0] = self._view.item[other]
            numerator[swapped] *= 1 - rows.weight[other]
        omega = torch.from_numpy((numerator / self._mean).astype(np.float32))
        if batch.weight is not None:
            omega = omega * batch.weight
        return Batch(batch.user, batch.pos, torch.from_numpy(negative), batch.row, omega)
