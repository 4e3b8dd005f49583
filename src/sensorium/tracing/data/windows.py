"""Windows over histories, and batches of windows.

Training cuts a history into consecutive chunks. Evaluation makes windows that overlap, of which only the new rows
count: [0, L), then windows that end at L + S, L + 2S, ..., n. So every row of a student but the first is predicted
exactly once, with at least min(t, L - S) rows of history. Batches hold windows of like length, so that little is
padding, and are bounded by the number of padded positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.seeds import numpy_generator
from sensorium.data.batches import Step
from sensorium.tracing.base import TracingBatch
from sensorium.tracing.data.dataset import Answers

Ints = npt.NDArray[np.int64]

SHORTEST = 3  # rows of a training window; shorter tails are left out
POOL = 20  # batches that are sorted by length together
BUDGET = 64 * 200  # padded positions of a batch in evaluation


@dataclass(frozen=True)
class Windows:
    """Stretches of histories.

    Attributes:
        student: int64 [W].
        start: int64 [W], place of the first row in its student's history.
        length: int64 [W], rows.
        score_from: int64 [W], the first position in the window whose prediction counts.
    """

    student: Ints
    start: Ints
    length: Ints
    score_from: Ints

    def __len__(self) -> int:
        return len(self.student)

    def take(self, places: Ints) -> Windows:
        """Return some of the windows."""
        return Windows(self.student[places], self.start[places], self.length[places], self.score_from[places])

    @property
    def scored(self) -> int:
        """Rows whose prediction counts."""
        return int((self.length - self.score_from).sum())


def training_windows(lengths: Ints, students: Ints, size: int) -> Windows:
    """Cut histories into consecutive chunks of `size`; tails under `SHORTEST` rows are left out.

    A history that has fewer rows in all stays whole.

    Args:
        lengths: int64 [S], rows of every student.
        students: Whose histories.
        size: L.
    """
    own = lengths[students]
    pieces = -(-own // size)
    student = np.repeat(students, pieces)
    start = size * _within(pieces)
    length = np.minimum(lengths[student] - start, size)
    kept = (length >= SHORTEST) | ((start == 0) & (length > 1))
    windows = Windows(student, start, length, np.ones_like(start))
    return windows.take(np.flatnonzero(kept))


def evaluation_windows(lengths: Ints, students: Ints, size: int, stride: int) -> Windows:
    """Cover histories with windows of at most `size` rows, of which each counts only its new rows.

    Args:
        lengths: int64 [S], rows of every student.
        students: Whose histories.
        size: L.
        stride: S, at most L.
    """
    own = lengths[students]
    pieces = 1 + np.maximum(0, -(-(own - size) // stride))
    student = np.repeat(students, pieces)
    place = _within(pieces)
    end = np.minimum(size + place * stride, lengths[student])
    start = np.maximum(0, end - size)
    before = np.where(place == 0, 1, size + (place - 1) * stride)  # rows that were counted already
    return Windows(student, start, end - start, before - start)


def whole_histories(lengths: Ints, students: Ints) -> Windows:
    """Return one window per student, as long as its history."""
    zero = np.zeros(len(students), dtype=np.int64)
    return Windows(np.asarray(students, dtype=np.int64), zero, lengths[students], zero + 1)


def _within(pieces: Ints) -> Ints:
    """Return 0..k-1 for each count k, one after the other."""
    return np.arange(int(pieces.sum())) - np.repeat(np.cumsum(pieces) - pieces, pieces)


def make_batch(answers: Answers, windows: Windows, response: npt.NDArray[np.int8] | None = None) -> TracingBatch:
    """Return windows as one batch, padded to the longest.

    Args:
        answers: All rows.
        windows: B of them.
        response: int8 [N], what stands in the histories instead of the answers (flipped ones); None = the answers.
    """
    B, T = len(windows), int(windows.length.max(initial=1))
    place = np.arange(T)[None, :]  # [1, T]
    mask = place < windows.length[:, None]  # [B, T]
    begin = answers.offsets[windows.student] + windows.start
    row = np.where(mask, begin[:, None] + place, begin[:, None])
    padding = answers.n_questions
    given = answers.response if response is None else response
    time = None
    if answers.time is not None:
        since = (answers.time[row] - answers.time[answers.offsets[windows.student]][:, None]) / 1000.0
        time = torch.from_numpy(np.where(mask, since, 0.0).astype(np.float32))
    return TracingBatch(
        question=_tensor(np.where(mask, answers.question[row], padding)),
        concepts=answers.concepts,
        concept_weight=answers.concept_weight,
        response=_tensor(np.where(mask, given[row], 0)),
        time=time,
        mask=torch.from_numpy(mask),
        score_mask=torch.from_numpy(mask & (place >= windows.score_from[:, None])),
        student=torch.from_numpy(windows.student.astype(np.int32)).reshape(B),
        position=torch.from_numpy(np.where(mask, windows.start[:, None] + place, -1).astype(np.int32)),
    )


def _tensor(array: npt.NDArray[np.integer]) -> Tensor:
    return torch.from_numpy(array.astype(np.int64))


class WindowBatches:
    """Training batches by position: any batch of any pass can be had at any time.

    A pass shuffles the windows, sorts them by length inside pools, cuts each pool into batches of like length, and
    shuffles the batches. How many batches there are is the same in every pass.

    Args:
        answers: All rows.
        windows: The training windows.
        size: Windows in a batch; or None.
        positions: Padded positions in a batch, about; used where `size` is None.
    """

    def __init__(self, answers: Answers, windows: Windows, *, size: int | None, positions: int = 6400) -> None:
        self.answers, self.windows = answers, windows
        n = len(windows)
        wanted = max(1, -(-n // size)) if size else max(1, round(float(windows.length.sum()) / (0.9 * positions)))
        self._batches = min(wanted, max(1, n))
        pools = max(1, round(self._batches / POOL))
        self._counts = [len(part) for part in np.array_split(np.arange(self._batches), pools)]  # batches of each pool
        bounds = np.round(np.cumsum([0, *self._counts]) * n / self._batches).astype(int)
        self._bounds = bounds
        self._by_windows = size is not None
        self._kept: tuple[tuple[int, str, int], list[Ints]] | None = None

    def __len__(self) -> int:
        """Return the number of batches of one pass."""
        return self._batches

    def batch(self, step: Step) -> TracingBatch:
        """Return the batch of a step, or its rank's slice of it.

        Raises:
            IndexError: The pass has no such batch.
        """
        if not 0 <= step.index < self._batches:
            raise IndexError(f"a pass has {self._batches} batches, there is no batch {step.index}")
        chosen = self._order(step)[step.index]
        part = slice(len(chosen) * step.rank // step.world, len(chosen) * (step.rank + 1) // step.world)
        return make_batch(self.answers, self.windows.take(chosen[part]))

    def _order(self, step: Step) -> list[Ints]:
        key = step.seed, step.phase, step.epoch
        if self._kept is None or self._kept[0] != key:
            generator = numpy_generator(step.seed, "order", step.phase, step.epoch)
            shuffled = generator.permutation(len(self.windows))
            batches: list[Ints] = []
            for pool, count in enumerate(self._counts):
                batches += self._cut(shuffled[self._bounds[pool] : self._bounds[pool + 1]], count)
            self._kept = key, [batches[place] for place in generator.permutation(len(batches))]
        return self._kept[1]

    def _cut(self, pool: Ints, count: int) -> list[Ints]:
        """Cut a pool, sorted by length, into batches of as many windows, or of about as many positions."""
        pool = pool[np.argsort(self.windows.length[pool], kind="stable")]
        if self._by_windows:
            return list(np.array_split(pool, count))
        done = np.cumsum(self.windows.length[pool]) / self.windows.length[pool].sum()
        cuts = np.searchsorted(done, np.arange(1, count) / count) + 1
        cuts = np.clip(cuts, np.arange(1, count), len(pool) - count + np.arange(1, count))  # no batch is empty
        return list(np.split(pool, np.maximum.accumulate(cuts)))


def evaluation_batches(
    answers: Answers, windows: Windows, *, budget: int = BUDGET, response: npt.NDArray[np.int8] | None = None
) -> Iterator[TracingBatch]:
    """Yield batches of windows of like length, each within a budget of padded positions (or of one window)."""
    order = np.argsort(windows.length, kind="stable")
    lengths = windows.length[order]
    begin = 0
    while begin < len(order):
        # lengths ascend, so a batch's width is its last one's: the largest k with k · lengths[begin + k - 1] <= budget
        widths = np.arange(1, min(len(order) - begin, budget) + 1) * lengths[begin : begin + budget]
        end = begin + max(1, int(np.searchsorted(widths, budget, side="right")))
        yield make_batch(answers, windows.take(order[begin:end]), response)
        begin = end
