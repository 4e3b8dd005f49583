"""Batches of train rows with negatives, by position: any batch of any epoch can be had at any time.

So a resumed run goes on with exactly the batch it would have had, and the processes of a data-parallel run each take
their slice of one global batch. The order of a pass is drawn from (seed, phase, epoch), the negatives from (seed,
phase, epoch, index), both for the global batch.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.core.seeds import numpy_generator
from sensorium.data.sampling import NegativeSampler
from sensorium.data.shuffling import PassOrder
from sensorium.data.view import TrainView

log = logging.getLogger(__name__)


@dataclass
class Batch:
    """Train rows of a batch. Losses read it and never change it in place.

    Attributes:
        user: int64 [B].
        pos: int64 [B], the item that the user had.
        neg: int64 [B, N], items that the user did not have in train.
        row: int64 [B], which row of the view it is.
        weight: float32 [B] with mean 1 over all train rows, or None for 1 each.
    """

    user: Tensor
    pos: Tensor
    neg: Tensor
    row: Tensor
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.user)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        weight = None if self.weight is None else self.weight.to(device)
        return Batch(self.user.to(device), self.pos.to(device), self.neg.to(device), self.row.to(device), weight)


@dataclass(frozen=True)
class Step:
    """Which batch: what it is for, and whose slice of it.

    Attributes:
        seed: The run's seed.
        phase: Name of the phase of training.
        epoch: Passes that the phase has completed.
        index: Position of the batch in the pass.
        rank: Which of the processes asks.
        world: How many processes there are.
    """

    seed: int
    phase: str
    epoch: int
    index: int
    rank: int = 0
    world: int = 1


class PairBatches:
    """Every train row once in a pass, in random order, each with its negatives.

    Rows of users who hold every item that occurs in train have no negative: they are left out, and counted in the log
    once.

    Attributes:
        skipped_rows: How many rows were left out.
    """

    def __init__(
        self, view: TrainView, batch_size: int = 2048, n_negatives: int = 1, popularity_alpha: float = 0.0
    ) -> None:
        """Prepare the batches.

        Args:
            view: Whose rows.
            batch_size: Rows of a global batch; the last one of a pass may be smaller.
            n_negatives: N, negatives of each row.
            popularity_alpha: 0 draws negatives uniformly, above 0 in proportion to n_i^alpha.

        Raises:
            DataError: No row has a negative.
        """
        self._view = view
        self._batch_size = batch_size
        self._n_negatives = n_negatives
        self._sampler = NegativeSampler(view, popularity_alpha=popularity_alpha)
        self._order = PassOrder(len(view.user))
        if not self._sampler.has_negatives[view.user].all():
            self._order = PassOrder(np.flatnonzero(self._sampler.has_negatives[view.user]))
        self.skipped_rows = len(view.user) - len(self._order)
        if not len(self._order):
            raise DataError(
                f"there are {len(view.user)} train rows and no negative for any of them: "
                "every user holds every item that occurs in train"
            )
        if self.skipped_rows:
            users = int(np.count_nonzero(view.user_count[~self._sampler.has_negatives]))
            log.warning(
                "%d train rows of %d users are left out of training: they hold every item that occurs in train, "
                "so there is no negative to draw",
                self.skipped_rows,
                users,
            )

    def __len__(self) -> int:
        """Return the number of batches of one pass."""
        return -(-len(self._order) // self._batch_size)

    def batch(self, step: Step) -> Batch:
        """Return the batch of a step, or its rank's slice of it.

        Raises:
            IndexError: The pass has no such batch.
        """
        rows = self.rows(step)
        user = self._view.user[rows]
        generator = numpy_generator(step.seed, "negatives", step.phase, step.epoch, step.index)
        negatives = self._sampler.draw(user, self._n_negatives, generator)
        part = slice(len(rows) * step.rank // step.world, len(rows) * (step.rank + 1) // step.world)
        return Batch(
            _tensor(user[part]), _tensor(self._view.item[rows[part]]), _tensor(negatives[part]), _tensor(rows[part])
        )

    def rows(self, step: Step) -> npt.NDArray[np.int64]:
        """Return which train rows are in the whole batch of a step, int64 [B].

        Raises:
            IndexError: The pass has no such batch.
        """
        if not 0 <= step.index < len(self):
            raise IndexError(f"a pass has {len(self)} batches, there is no batch {step.index}")
        start = step.index * self._batch_size
        return self._order.take(start, start + self._batch_size, seed=step.seed, phase=step.phase, epoch=step.epoch)


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
