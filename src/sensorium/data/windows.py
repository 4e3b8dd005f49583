"""Windows of sequences as batches, by position: any batch of any epoch can be had at any time (as `data.batches`).

last   one window of each user: the last L + 1 items of the train rows
all    the train rows cut from their end into windows of L + 1 items; neighbours share the item at the cut, so that
       every step from one item to the next is in one window, and in no other
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.core.seeds import numpy_generator
from sensorium.data.batches import Step
from sensorium.data.sampling import NegativeSampler
from sensorium.data.sequences import SequenceStore
from sensorium.data.shuffling import PassOrder
from sensorium.data.view import TrainView

log = logging.getLogger(__name__)

Integers = npt.NDArray[np.int64]
Mode = Literal["last", "all"]


@dataclass
class WindowBatch:
    """Windows of a batch. Losses read it and never change it in place.

    Attributes:
        user: int64 [B].
        items: int64 [B, L + 1], item ids, oldest first; -1 on the left where a window is shorter.
        neg: int64 [B, L, N], items that the user did not have in train; N may be 0.
    """

    user: Tensor
    items: Tensor
    neg: Tensor

    def __len__(self) -> int:
        return len(self.user)

    def to(self, device: torch.device | str) -> WindowBatch:
        """Return the batch on a device."""
        return WindowBatch(self.user.to(device), self.items.to(device), self.neg.to(device))


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of a store: what each one spans.

    Attributes:
        user: int64 [W].
        start: int64 [W], place in `values` of the first item.
        end: int64 [W], place behind the last one.
    """

    user: Integers
    start: Integers
    end: Integers

    def __len__(self) -> int:
        return len(self.user)


def cut(store: SequenceStore, length: int, mode: Mode) -> Windows:
    """Return the windows of at most `length` + 1 items; sequences of one item have none: there is no step in them."""
    user = np.flatnonzero(store.lengths >= 2)
    begin, end = store.offsets[user], store.offsets[user + 1]
    if mode == "last":
        return Windows(user, np.maximum(begin, end - length - 1), end)
    count = -(-(end - begin - 1) // length)  # of steps, in parts of `length`
    which = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    last = np.repeat(end, count) - which * length
    return Windows(np.repeat(user, count), np.maximum(np.repeat(begin, count), last - length - 1), last)


class WindowBatches:
    """Every window once in a pass, in random order.

    Where negatives are asked for, windows of users who hold every item that occurs in train have none: they are left
    out, and counted in the log once.

    Attributes:
        skipped_rows: Windows that were left out.
    """

    def __init__(
        self, view: TrainView, length: int, mode: Mode = "last", *, batch_size: int = 512, n_negatives: int = 0
    ) -> None:
        """Prepare the batches.

        Args:
            view: Whose train rows; it must be ordered.
            length: L.
            mode: Which windows.
            batch_size: Windows of a global batch; the last one of a pass may be smaller.
            n_negatives: N, negatives of each position.

        Raises:
            DataError: No user has two train rows, or nobody has a negative.
        """
        self._store = view.sequences
        self._length, self._batch_size, self._n_negatives = length, batch_size, n_negatives
        self._windows = cut(self._store, length, mode)
        self._sampler = NegativeSampler(view) if n_negatives else None
        self._order = PassOrder(len(self._windows))
        if self._sampler is not None and not self._sampler.has_negatives.all():
            self._order = PassOrder(np.flatnonzero(self._sampler.has_negatives[self._windows.user]))
        self.skipped_rows = len(self._windows) - len(self._order)
        if not len(self._order):
            raise DataError(
                "there is no window to train on: no user has two train rows"
                if not len(self._windows)
                else "there is no negative for any window: every user holds every item that occurs in train"
            )
        if self.skipped_rows:
            log.warning(
                "%d windows are left out of training: their users hold every item that occurs in train, so there is no "
                "negative to draw",
                self.skipped_rows,
            )

    def __len__(self) -> int:
        """Return the number of batches of one pass."""
        return -(-len(self._order) // self._batch_size)

    def batch(self, step: Step) -> WindowBatch:
        """Return the batch of a step, or its rank's slice of it.

        Raises:
            IndexError: The pass has no such batch.
        """
        if not 0 <= step.index < len(self):
            raise IndexError(f"a pass has {len(self)} batches, there is no batch {step.index}")
        start = step.index * self._batch_size
        rows = self._order.take(start, start + self._batch_size, seed=step.seed, phase=step.phase, epoch=step.epoch)
        user = self._windows.user[rows]
        shape = len(rows), self._length, self._n_negatives
        negatives = np.zeros(shape, dtype=np.int64)
        if self._sampler is not None:
            generator = numpy_generator(step.seed, "negatives", step.phase, step.epoch, step.index)
            negatives = self._sampler.draw(user, self._length * self._n_negatives, generator).reshape(shape)
        part = slice(len(rows) * step.rank // step.world, len(rows) * (step.rank + 1) // step.world)
        mine = rows[part]
        items = self._store.windows(self._windows.end[mine], self._length + 1, self._windows.start[mine])
        return WindowBatch(torch.from_numpy(user[part]), torch.from_numpy(items), torch.from_numpy(negatives[part]))
