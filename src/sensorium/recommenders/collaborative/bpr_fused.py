"""BPR by stochastic gradient descent, row by row, in loops that numba compiles: the extra "fast".

    for each train row (u, i) of the pass's order, with one item j that u did not have:
        g = w sigmoid(-<e_u, e_i - e_j>)
        e_u += lr (g (e_i - e_j) - reg e_u);  e_i += lr (g e_u - reg e_i);  e_j += lr (-g e_u - reg e_j)

with the old values on the right. It is the algorithm of the paper (Rendle et al., UAI 2009, figure 4), and what the
torch path does with plain SGD, the squared regulariser and batches of one row: with the same order and negatives one
thread comes to the same weights. Several threads each walk through their part of the rows and change the same tables
without a lock (Hogwild: Niu, Recht, Re, Wright, NIPS 2011). Two of them may meet in one row, and one of the changes is
then lost: the outcome is as good and does not repeat.

Negatives come from a generator that counts instead of remembering: the number for a row's t-th try is a hash
(SplitMix64: Steele, Lea, Flood, OOPSLA 2014) of the step's seed, the row's place in the batch and t. So any batch of
any pass can be had at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from numba import njit
from torch import Tensor

from sensorium.core.seeds import derive
from sensorium.data.batches import Batch, PairBatches, Step
from sensorium.data.view import TrainView

Found = TypeVar("Found")

ROWS_PER_STEP = 1 << 16
"""Rows between two looks at the loss. They are not a batch in any other sense: each row is a step of its own."""

MOST_BITS = 1 << 29

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)

# Sums may be taken in any order, so that they fill vector registers. NaN and infinity stay what they are: the loop must
# see them.
REORDERED = {"reassoc", "contract", "nsz"}


class DrawnPairs:
    """Every train row once in a pass, in random order, each with one negative.

    As `PairBatches`, from which the orders come; negatives are drawn by the compiled loop.

    Args:
        view: Whose rows.
        threads: How many draw at once; the negatives are the same for any number.
    """

    def __init__(self, view: TrainView, threads: int = 1) -> None:
        self._threads = threads
        self._rows = PairBatches(view, ROWS_PER_STEP)
        self._view = view
        self._candidates = np.flatnonzero(view.item_count)
        self._offsets = np.concatenate([[0], np.cumsum(view.user_count)])
        # A bit for every pair where 64 MiB hold them all; else one for a pair's hash, 16 of them a row; see `_holds`.
        pairs = view.n_users * view.n_items
        self._stride = np.uint64(view.n_items if pairs <= MOST_BITS else 0)
        bits = min(MOST_BITS.bit_length() - 1, max(10, int(np.ceil(np.log2(16 * len(view.item))))))
        self._shift = np.uint64(64 - bits)
        self._held = np.zeros(((pairs if self._stride else 1 << bits) + 7) >> 3, dtype=np.uint8)
        _fill(self._held, self._stride, self._shift, view.user, view.item)

    def __len__(self) -> int:
        """Return the number of steps of one pass."""
        return len(self._rows)

    def batch(self, step: Step) -> Batch:
        """Return the rows of a step.

        Raises:
            IndexError: The pass has no such step.
        """
        rows = self._rows.rows(step)
        key = np.uint64(derive(step.seed, "fused negatives", step.phase, step.epoch, step.index))
        user, pos, neg = (np.empty(len(rows), dtype=np.int64) for _ in range(3))
        rows_of_view = self._view.user, self._view.item, self._candidates, self._offsets
        draw: Any = _draw  # its stub cannot count the arguments of a list
        inputs = [rows, *rows_of_view, self._held, self._stride, self._shift, key, user, pos, neg]
        in_parts(self._threads, len(rows), lambda start, stop: draw(*inputs, start, stop))
        return Batch(*(torch.from_numpy(array) for array in (user, pos, neg[:, None], rows)))


def descend(
    users: Tensor, items: Tensor, batch: Batch, *, rate: float, reg: float, threads: int = 1
) -> tuple[Tensor, Tensor]:
    """Take one step for each row of a batch, in its order; the two tables are changed in place.

    Args:
        users: float32 [U, d], contiguous, on the CPU.
        items: float32 [I, d], alike.
        batch: Its rows; with several negatives, the first of each.
        rate: The learning rate.
        reg: Weight of half the squares of the three rows.
        threads: How many walk through parts of the rows at once.

    Returns:
        By how much each positive scored above its negative when its turn came, float32 [B]; and the sum of the squares
        of all the rows that were met.
    """
    weight = np.empty(0, np.float32) if batch.weight is None else batch.weight.numpy()
    margins = np.empty(len(batch), dtype=np.float32)
    ids = batch.user.numpy(), batch.pos.numpy(), batch.neg[:, 0].contiguous().numpy()
    rows = (users.detach().numpy(), items.detach().numpy(), *ids, weight, np.float32(rate), np.float32(reg), margins)
    squares = in_parts(threads, len(batch), lambda start, stop: _walk(*rows, start, stop))
    return torch.from_numpy(margins), torch.tensor(sum(squares))


def in_parts(threads: int, rows: int, work: Callable[[int, int], Found]) -> list[Found]:
    """Return what `work(start, stop)` gives for each thread's part of the rows; compiled loops run without the lock."""
    if threads == 1:
        return [work(0, rows)]
    bounds = [rows * part // threads for part in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda part: work(*part), pairwise(bounds)))


# --- compiled -------------------------------------------------------------------------------------------------------


@njit(cache=True, inline="always")
def _mixed(state: Any) -> Any:
    """The output function of SplitMix64."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@njit(cache=True, inline="always")
def _place(user: Any, item: Any, stride: Any, shift: Any) -> Any:
    """The bit of a pair: its own, or with a stride of 0 that of its hash (Fibonacci hashing)."""
    if stride:
        return np.uint64(user) * stride + np.uint64(item)
    return ((np.uint64(user) << HALF | np.uint64(item)) * GOLDEN) >> shift


@njit(cache=True)
def _fill(table: Any, stride: Any, shift: Any, user: Any, item: Any) -> None:
    for row in range(len(user)):
        place = _place(user[row], item[row], stride, shift)
        table[place >> np.uint64(3)] |= np.uint8(1) << np.uint8(place & np.uint64(7))


@njit(cache=True, inline="always")
def _may_hold(user: Any, item: Any, table: Any, stride: Any, shift: Any) -> Any:
    """The bit of a pair: False says for certain that it is no train row."""
    place = _place(user, item, stride, shift)
    return (table[place >> np.uint64(3)] >> np.uint8(place & np.uint64(7))) & np.uint8(1) != np.uint8(0)


@njit(cache=True, inline="always")
def _holds(user: Any, item: Any, offsets: Any, held: Any, table: Any, stride: Any, shift: Any) -> Any:
    """Whether a pair is a train row: its own bit, or where pairs share bits, a search among the user's rows."""
    if not _may_hold(user, item, table, stride, shift):
        return False
    if stride:
        return True
    low, count = offsets[user], offsets[user + 1] - offsets[user]
    while count > 1:
        half = count >> 1
        low = low + half if held[low + half] <= item else low
        count -= half
    return held[low] == item


@njit(cache=True, nogil=True)
def _draw(
    rows: Any,
    users: Any,
    items: Any,
    candidates: Any,
    offsets: Any,
    table: Any,
    stride: Any,
    shift: Any,
    key: Any,
    user: Any,
    positive: Any,
    negative: Any,
    start: int,
    stop: int,
) -> None:
    """Gather user and item of the rows at start..stop-1, and draw one item for each.

    It is drawn uniformly among the candidates that the user does not hold: the upper half of 32 random bits times the
    number of candidates is a candidate's place; products whose lower half is below `unfair` are drawn again, so that no
    place is likelier than another (Lemire, 2019).
    """
    count = np.uint64(len(candidates))
    unfair = (LOW + np.uint64(1)) % count
    # First one try for every row, without a branch, so that the memory answers many rows at once; hardly any is left.
    doubt = np.empty(stop - start, dtype=np.bool_)
    for row in range(start, stop):
        user[row], positive[row] = users[rows[row]], items[rows[row]]
    for row in range(start, stop):
        product = (_mixed(_mixed(key + np.uint64(row) * GOLDEN) + GOLDEN) >> HALF) * count
        item = candidates[np.int64(product >> HALF)]
        doubt[row - start] = ((product & LOW) < unfair) | _may_hold(user[row], item, table, stride, shift)
        negative[row] = item
    for row in range(start, stop):
        if not doubt[row - start]:
            continue
        state = _mixed(key + np.uint64(row) * GOLDEN)
        while True:
            state += GOLDEN
            product = (_mixed(state) >> HALF) * count
            item = candidates[np.int64(product >> HALF)]
            if (product & LOW) >= unfair and not _holds(user[row], item, offsets, items, table, stride, shift):
                break
        negative[row] = item


@njit(cache=True, nogil=True, fastmath=REORDERED)
def _walk(
    users: Any,
    items: Any,
    user: Any,
    positive: Any,
    negative: Any,
    weight: Any,
    rate: Any,
    reg: Any,
    margins: Any,
    start: int,
    stop: int,
) -> Any:
    """Take the steps of the rows start..stop-1; return the sum of the squares of the rows that were met."""
    one, width, keep = np.float32(1), users.shape[1], np.float32(1) - rate * reg
    total = 0.0
    for row in range(start, stop):
        of_user, of_positive, of_negative = users[user[row]], items[positive[row]], items[negative[row]]
        margin: Any = np.float32(0)
        square: Any = np.float32(0)
        for k in range(width):
            a, b, c = of_user[k], of_positive[k], of_negative[k]
            margin += a * (b - c)
            square += a * a + b * b + c * c
        margins[row] = margin
        total += square
        gain = rate / (one + np.exp(margin))
        if len(weight):
            gain *= weight[row]
        for k in range(width):
            a, b, c = of_user[k], of_positive[k], of_negative[k]
            of_user[k] = keep * a + gain * (b - c)
            of_positive[k] = keep * b + gain * a
            of_negative[k] = keep * c - gain * a
    return total
