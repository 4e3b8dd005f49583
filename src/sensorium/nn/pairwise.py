"""What a pairwise loss needs of two tables of vectors, with its gradient written out.

    margin_bn  = <u_b, p_b - n_bn>                                          u_b, p_b, n_bn: rows of the tables
    square     = (sum_b ||u_b||^2, sum_b ||p_b||^2, sum_bn ||n_bn||^2)

    d u_b  = sum_n g_bn (p_b - n_bn) + 2 s_0 u_b                            g, s: the gradients that arrive
    d p_b  = sum_n g_bn u_b          + 2 s_1 p_b
    d n_bn = -g_bn u_b               + 2 s_2 n_bn

The same in single operations costs a pass over [B, d] for each of them and for each of their gradients, and these are
added up in passes of their own. Written out, a step has one gather and one scatter for each table. Measured on one core
(docs/results/speed.md; B = 4,096, d = 64): about twice as fast. `pairwise_compiled.py` does the same in compiled loops.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def margins_and_squares(
    user_table: Tensor, item_table: Tensor, user: Tensor, positive: Tensor, negative: Tensor
) -> tuple[Tensor, Tensor]:
    """Return by how much each positive scores above its negatives, and the sums of squares of the rows involved.

    Differentiable once, with respect to the tables.

    Args:
        user_table: float [U, d].
        item_table: float [I, d].
        user: int64 [B].
        positive: int64 [B].
        negative: int64 [B, N].

    Returns:
        float [B, N], and float [3]: of users, positives and negatives.
    """
    found: tuple[Tensor, Tensor] = _Pairwise.apply(  # type: ignore[no-untyped-call]
        user_table, item_table, user, torch.cat([positive, negative.flatten()]), negative.shape
    )
    return found


class _Pairwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, user_table: Tensor, item_table: Tensor, user: Tensor, item: Tensor, shape: torch.Size
    ) -> tuple[Tensor, Tensor]:
        users = user_table.index_select(0, user)  # [B, d]
        items = item_table.index_select(0, item)  # [B + B N, d]
        positives, negatives = _split(items, shape)
        difference = positives.unsqueeze(1) - negatives  # [B, N, d]
        margins = (users.unsqueeze(1) * difference).sum(-1)
        squares = torch.stack([_square_sum(users), _square_sum(positives), _square_sum(negatives)])
        ctx.save_for_backward(users, items, difference, user, item)
        ctx.rows = len(user_table), len(item_table)
        ctx.shape = shape
        ctx.set_materialize_grads(False)
        return margins, squares

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        of_margins, of_squares = gradients
        users, items, difference, user, item = ctx.saved_tensors
        if of_squares is None:
            of_users, of_items = torch.zeros_like(users), torch.zeros_like(items)
        else:
            of_users, of_items = users * (2 * of_squares[0]), torch.empty_like(items)
            for part, rows, scale in zip(
                _split(of_items, ctx.shape), _split(items, ctx.shape), of_squares[1:], strict=True
            ):
                torch.mul(rows, 2 * scale, out=part)
        if of_margins is not None:
            of_positives, of_negatives = _split(of_items, ctx.shape)
            for place in range(ctx.shape[1]):
                weight = of_margins[:, place, None]
                of_users.addcmul_(weight, difference[:, place])
                of_negatives[:, place].addcmul_(weight, users, value=-1)
            of_positives.addcmul_(of_margins.sum(1, keepdim=True), users)
        n_users, n_items = ctx.rows
        return _scattered(of_users, user, n_users), _scattered(of_items, item, n_items), None, None, None


def _split(items: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Cut rows of positives and negatives, in that order, into views [B, d] and [B, N, d]."""
    return items[: shape[0]], items[shape[0] :].view(*shape, items.shape[1])


def _square_sum(rows: Tensor) -> Tensor:
    flat = rows.reshape(-1)
    return torch.dot(flat, flat)


def _scattered(rows: Tensor, ids: Tensor, n: int) -> Tensor:
    """Add rows up by their ids: [n, d]."""
    return rows.new_zeros(n, rows.shape[1]).index_add_(0, ids, rows)
