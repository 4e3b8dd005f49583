"""Terms of a loss that need a whole batch, where it is divided over processes.

A loss is computed of a slice of the batch, and the loop takes the mean of all processes' gradients, each weighted with
its share of the rows. That is exact for means over the rows of a batch. For anything else (a norm of the whole batch, a
softmax over it) these functions give every process what the others have, differentiably. In a process that works alone
they change nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
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


def sum_over_batch(total: Tensor, rows: int) -> Tensor:
    """Return a sum over the `rows` rows of a slice, so that its mean over processes is the sum of the whole batch."""
    return total * ((current_slice().rows or rows) / rows)


def dropout_of_batch(rows: Tensor, p: float) -> Tensor:
    """Return `functional.dropout` of rows of a batch, [b, ...]: drawn for the whole batch; own part taken."""
    part = current_slice()
    if part.rows is None:
        return functional.dropout(rows, p)
    kept = functional.dropout(rows.new_ones(part.rows, *rows.shape[1:]), p)
    return rows * kept[part.first : part.first + len(rows)]


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
