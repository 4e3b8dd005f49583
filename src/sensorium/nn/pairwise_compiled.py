"""`pairwise.margins_and_squares` in loops that numba compiles: the extra "fast", on a CPU, in float32.

A row of each table is read once and used in registers, where single operations of torch write and read [B, d] a dozen
times: the step is then bound by the optimiser, no more by its loss. Sums are taken in another order than torch's, so
that values differ in their last bits; they repeat, whatever the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

REORDERED = {"reassoc", "contract", "nsz"}  # sums in vector registers; NaN and infinity stay what they are


def margins_and_squares(
    user_table: Tensor, item_table: Tensor, user: Tensor, positive: Tensor, negative: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what `pairwise.margins_and_squares` returns, for float32 tables on the CPU."""
    found: tuple[Tensor, Tensor] = _Compiled.apply(  # type: ignore[no-untyped-call]
        user_table, item_table, user, positive, negative
    )
    return found


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(*arguments)
        margins = torch.empty(arguments[4].shape)
        squares = torch.empty(3)
        _forward(*(tensor.detach().numpy() for tensor in (*arguments, margins, squares)))
        return margins, squares

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        users, items = ctx.saved_tensors[:2]
        found = torch.zeros_like(users), torch.zeros_like(items)
        arguments = (*ctx.saved_tensors, *(gradient.contiguous() for gradient in gradients), *found)
        _backward(*(tensor.detach().numpy() for tensor in arguments))
        return *found, None, None, None


@njit(cache=True, nogil=True, fastmath=REORDERED)
def _forward(users: Any, items: Any, user: Any, positive: Any, negative: Any, margins: Any, squares: Any) -> None:
    of_users, of_positives, of_negatives = 0.0, 0.0, 0.0
    width = users.shape[1]
    for row in range(len(user)):
        u, p = users[user[row]], items[positive[row]]
        first: Any = np.float32(0)
        second: Any = np.float32(0)
        for k in range(width):
            first += u[k] * u[k]
            second += p[k] * p[k]
        of_users += first
        of_positives += second
        for place in range(negative.shape[1]):
            n = items[negative[row, place]]
            margin: Any = np.float32(0)
            third: Any = np.float32(0)
            for k in range(width):
                margin += u[k] * (p[k] - n[k])
                third += n[k] * n[k]
            margins[row, place] = margin
            of_negatives += third
    squares[0], squares[1], squares[2] = of_users, of_positives, of_negatives


@njit(cache=True, nogil=True, fastmath=REORDERED)
def _backward(
    users: Any,
    items: Any,
    user: Any,
    positive: Any,
    negative: Any,
    of_margins: Any,
    of_squares: Any,
    user_gradient: Any,
    item_gradient: Any,
) -> None:
    width = users.shape[1]
    s_user, s_positive, s_negative = 2 * of_squares[0], 2 * of_squares[1], 2 * of_squares[2]
    for row in range(len(user)):
        u, p = users[user[row]], items[positive[row]]
        to_user, to_positive = user_gradient[user[row]], item_gradient[positive[row]]
        for k in range(width):
            to_user[k] += s_user * u[k]
            to_positive[k] += s_positive * p[k]
        for place in range(negative.shape[1]):
            g = of_margins[row, place]
            n, to_negative = items[negative[row, place]], item_gradient[negative[row, place]]
            for k in range(width):
                to_user[k] += g * (p[k] - n[k])
                to_positive[k] += g * u[k]
                to_negative[k] += s_negative * n[k] - g * u[k]
