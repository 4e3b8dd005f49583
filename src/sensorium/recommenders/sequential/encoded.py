"""A batch of windows after tower and encoder: what every loss of a sequential model is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class EncodedBatch:
    """Windows of a batch, each distinct item of which was encoded once.

    Attributes:
        tokens: int64 [B, L + 1], the windows; 0 where there is no item.
        mask: bool [B, L], which of the first L columns hold an item.
        asked: bool [B, L], which states learn to predict the item after them.
        distinct: int64 [u], the tokens that were encoded, ascending: those of the whole batch, whoever holds its rows
            (`in_batch`), or those of these windows and of what was drawn against them.
        count: int64 [u], how often each stands there.
        vectors: [u, d], their vectors.
        beside: [u, w], what `encode_items` gives beside vectors; w is 0 for most models.
        place: int64 [B, L + 1], which of the distinct tokens stands in a window.
        states: [B, L, d], of the encoder.
    """

    tokens: Tensor
    mask: Tensor
    asked: Tensor
    distinct: Tensor
    count: Tensor
    vectors: Tensor
    beside: Tensor
    place: Tensor
    states: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def predicting(self) -> Tensor:
        """The states that learn to predict, [R, d]."""
        return self.states[self.asked]

    @property
    def target(self) -> Tensor:
        """Which of the distinct tokens comes after each of them: int64 [R]."""
        return self.place[:, 1:][self.asked]

    def places_of(self, tokens: Tensor) -> Tensor:
        """Return which of the distinct tokens these are, all of which were encoded: int64 of the same shape."""
        return torch.searchsorted(self.distinct, tokens)
