"""Terms of a loss that need a whole batch, where it is divided over processes.

A loss is computed of a slice of the batch, and the loop takes the mean of all processes' gradients, each weighted with
its share of the rows. That is exact for means over the rows of a batch. For anything else (a norm of the whole batch, a
softmax over it) these functions give every process what the others have, differentiably. In a process that works alone
they change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.processes import Processes, Slice, current_slice, processes


def mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a tensor over the processes, weighted with their shares of the batch.

    With m = sum_s share_s x_s and the loss sum_r share_r L_r(m), the gradient of x_s is share_s sum_r share_r dL_r/dm.
    The loop brings in the first factor; the rest is the same mean again.
    """
    everyone = processes()
    if everyone.alone or current_slice().rows is None:
        return value
    mean: Tensor = _Mean.apply(value, everyone, current_slice())  # type: ignore[no-untyped-call]
    return mean


def rows_of_all(rows: Tensor) -> tuple[Tensor, int]:
    """Return the rows of the whole batch, and the place among them of this process's first one.

    Args:
        rows: [b, ...], those of this process's slice.
    """
    everyone, part = processes(), current_slice()
    if everyone.alone or part.rows is None or part.rows == len(rows):
        return rows, 0
    whole: Tensor = _Rows.apply(rows, everyone, part)  # type: ignore[no-untyped-call]
    return whole, part.first


def plain_rows_of_all(rows: Tensor) -> Tensor:
    """Return the rows of the whole batch, [B, ...], of numbers that have no gradient, such as ids.

    Args:
        rows: [b, ...], those of this process's slice.
    """
    if not _divided(len(rows)):
        return rows
    return torch.cat(processes().gather(rows.detach()))


def computed_once(rows: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """Return `compute(rows)`, [n, d], of which each process computes a part: for encoders that cost more than the way.

    Args:
        rows: [n, ...], the same in every process.
        compute: From some of the rows to one vector each.
    """
    everyone, part = processes(), current_slice()
    if everyone.alone or part.rows is None or len(rows) < everyone.world:
        return compute(rows)
    first, last = (len(rows) * place // everyone.world for place in (everyone.rank, everyone.rank + 1))
    own = compute(rows[first:last])
    whole: Tensor = _Rows.apply(own, everyone, Slice(part.share, len(rows), first))  # type: ignore[no-untyped-call]
    return whole


def mean_over_batch(values: Tensor, rows: int) -> Tensor:
    """Return the mean of values of which a row has none, one or several, over the whole batch.

    Args:
        values: [v], those of this process's slice.
        rows: Rows of the slice.
    """
    if not _divided(rows):
        return values.mean()
    count = processes().add_up(torch.tensor(float(len(values)), dtype=torch.float64))
    return sum_over_batch(values.sum(), rows) / float(count)


def _divided(rows: int) -> bool:
    """Whether these rows are a part of a batch that others have the rest of."""
    whole = current_slice().rows
    return not processes().alone and whole is not None and whole != rows


def sum_over_batch(total: Tensor, rows: int) -> Tensor:
    """Return a sum over the `rows` rows of a slice, so that its mean over processes is the sum of the whole batch."""
    return total * ((current_slice().rows or rows) / rows)


def dropout_of_batch(rows: Tensor, p: float, place: tuple[int, int] | None = None) -> Tensor:
    """Return `functional.dropout` of rows of a batch, [b, ...]: drawn for the whole batch; own part taken.

    Args:
        rows: The rows of this process's slice, or what it has of something else (`place_in_batch`).
        p: Share of elements that become 0.
        place: Where these stand in what the whole batch has, and how many that are; None: they are rows of the batch.
    """
    part = current_slice()
    if part.rows is None:
        return functional.dropout(rows, p)
    first, count = (part.first, part.rows) if place is None else place
    kept = functional.dropout(rows.new_ones(count, *rows.shape[1:]), p)
    return rows * kept[first : first + len(rows)]


def place_in_batch(count: int, rows: int) -> tuple[int, int]:
    """Return where the own of some things begin, of which a row has none, one or several, and how many the batch has.

    Args:
        count: How many this process has.
        rows: Rows of its slice.
    """
    if not _divided(rows):
        return 0, count
    counts = [int(part) for part in processes().gather(torch.tensor([count]))]
    return sum(counts[: processes().rank]), sum(counts)


class BatchDropout(nn.Module):
    """`nn.Dropout` for rows of a batch, [b, ...]: each process drops what it would in a batch that is not divided."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, rows: Tensor, place: tuple[int, int] | None = None) -> Tensor:
        """Return the rows with elements set to 0 in training; `place` as for `dropout_of_batch`."""
        return dropout_of_batch(rows, self.p, place) if self.training and self.p else rows


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, everyone: Processes, part: Slice) -> Tensor:
        ctx.everyone, ctx.part = everyone, part
        return everyone.add_up(value * part.share)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.everyone.add_up(gradients[0] * ctx.part.share), None, None


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, everyone: Processes, part: Slice) -> Tensor:
        ctx.everyone, ctx.part, ctx.own = everyone, part, slice(part.first, part.first + len(rows))
        return torch.cat(everyone.gather(rows.detach()))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        whole = ctx.everyone.add_up(gradients[0] * ctx.part.share)
        return whole[ctx.own] / ctx.part.share, None, None
