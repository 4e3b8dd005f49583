"""SASRec's encoder: causal self-attention over learned places.

Kang, McAuley: Self-Attentive Sequential Recommendation. ICDM 2018; post-norm as in the code of MicroLens
(arXiv 2309.15379):

    x^0 = Dropout(LN(x + P))                                      P [L, d], the last item always at place L - 1
    y   = LN(x + Dropout(MHA(x)))                                 heads without bias, scores / sqrt(d / heads)
    x'  = LN(y + Dropout(W2 ReLU(W1 y + b1) + b2))                W1 [4d, d]

`norm: pre`: y = x + Dropout(MHA(LN(x))), x' = y + Dropout(FFN(LN(y))), and a LN at the end.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from sensorium.nn.across import BatchDropout, place_in_batch
from sensorium.recommenders.towers.base import Draw, projection

EPS = 1e-6


class SASRecEncoder(nn.Module):
    """Blocks of attention and a two-layer network."""

    def __init__(
        self,
        width: int,
        length: int,
        draw: Draw,
        *,
        blocks: int = 2,
        heads: int = 2,
        dropout: float = 0.1,
        norm: Literal["post", "pre"] = "post",
    ) -> None:
        """Make the blocks.

        Args:
            width: d, a multiple of heads.
            length: L, the longest input.
            draw: Of the first values.
            blocks: Number of blocks.
            heads: Heads of the attention.
            dropout: Of the input, the attention's weights, and what each part adds.
            norm: Where the layer norms stand.
        """
        super().__init__()
        self.length, self.pre = length, norm == "pre"
        places = torch.empty(length, width)
        self.places = nn.Parameter(nn.init.xavier_normal_(places, generator=draw("encoder.places")))
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = BatchDropout(dropout)
        self.blocks = nn.ModuleList(
            _Block(width, heads, dropout, self.pre, draw, f"encoder.{place}") for place in range(blocks)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the states of x [B, l, d] with mask bool [B, l], l <= L: [B, l, d].

        All but the attention is computed for what is no padding alone, [R, d].
        """
        rows, length = mask.shape
        window, column = mask.nonzero(as_tuple=True)
        kept = window * length + column
        place = place_in_batch(len(kept), rows) if self.training else None
        there = x.reshape(rows * length, -1).index_select(0, kept) + self.places[self.length - length + column]
        there = self.dropout(there if self.pre else self.norm(there), place)
        # Padding looks at itself, so that no row of weights is empty; nobody else looks at it.
        causal = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=x.device)
        seen = (causal & (mask.unsqueeze(1) | itself)).unsqueeze(1)  # [B, 1, l, l]
        for block in self.blocks:
            there = block(there, kept, seen, place)
        return _spread(self.norm(there) if self.pre else there, kept, rows, length)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float, pre: bool, draw: Draw, name: str) -> None:
        super().__init__()
        self.heads, self.pre = heads, pre
        self.query, self.key, self.value, self.merge = (
            _unbiased(width, draw, f"{name}.{part}") for part in ("query", "key", "value", "merge")
        )
        self.inner = projection(width, 4 * width, draw(f"{name}.inner"))
        self.outer = projection(4 * width, width, draw(f"{name}.outer"))
        self.norm_attention = nn.LayerNorm(width, eps=EPS)
        self.norm_network = nn.LayerNorm(width, eps=EPS)
        self.dropout = BatchDropout(dropout)

    def forward(self, x: Tensor, kept: Tensor, seen: Tensor, place: tuple[int, int] | None) -> Tensor:
        """Return the block's output [R, d] for x [R, d].

        Args:
            x: What is no padding.
            kept: int64 [R], where each stands among the B l places.
            seen: bool [B, 1, l, l], which keys a query looks at.
            place: Of x in the whole batch.
        """
        if self.pre:
            x = x + self.dropout(self._attend(self.norm_attention(x), kept, seen), place)
            summed: Tensor = x + self.dropout(self._network(self.norm_network(x)), place)
            return summed
        x = self.norm_attention(x + self.dropout(self._attend(x, kept, seen), place))
        out: Tensor = self.norm_network(x + self.dropout(self._network(x), place))
        return out

    def _attend(self, x: Tensor, kept: Tensor, seen: Tensor) -> Tensor:
        rows, _, length, _ = seen.shape
        query, key, value = (
            _spread(part(x), kept, rows, length).view(rows, length, self.heads, -1).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        weights = self.dropout(scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(dim=-1))
        states = (weights @ value).transpose(1, 2).reshape(rows * length, -1)
        merged: Tensor = self.merge(states.index_select(0, kept))
        return merged

    def _network(self, x: Tensor) -> Tensor:
        out: Tensor = self.outer(self.inner(x).relu())
        return out


def _spread(there: Tensor, kept: Tensor, rows: int, length: int) -> Tensor:
    """Return [rows, length, d] of what is no padding [R, d] at its places, and zeros."""
    spread = there.new_zeros(rows * length, there.shape[-1]).index_copy(0, kept, there)
    return spread.view(rows, length, -1)


def _unbiased(width: int, draw: Draw, name: str) -> nn.Linear:
    layer = nn.Linear(width, width, bias=False)
    nn.init.xavier_normal_(layer.weight, generator=draw(name))
    return layer
