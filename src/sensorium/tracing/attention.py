"""Causal multi-head attention of the tracers: softmax over the rows of a student's past, with a decay over distance.

    A = Q K^T / sqrt(d_k)
    P = softmax(A), rem_ij = sum_{k>j} P_ik, dist_ij = sqrt(rem_ij |i-j|)        (without gradient)
    multiply: A' = A clamp(exp(-softplus(gamma_h) dist), 1e-5, 1)
    subtract: A' = A - softplus(gamma_h) dist
    none:     A' = A

`multiply` is the monotonic attention of AKT (Ghosh, Heffernan and Lan, KDD 2020, equation 5): a negative score becomes
*larger* with distance. `subtract` is ours: the result does not depend on a constant added to a row of A. Distance is
counted in rows of the batch, weighed by how much belief the nearer rows already hold.

A row without any visible key gives 0. Masks: `visible` is bool [B or 1, 1, T, T], True where query i may see key j.
Rows of a sequence see no later row, so that the modules make the scores stretch by stretch (`stretches`): most of what
lies above the diagonal is never computed.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.errors import ConfigError
from sensorium.tracing.dropout import Dropout

Decay = Literal["multiply", "subtract", "none"]

SMALLEST_FACTOR = 1e-5  # of the multiplied decay
_STRETCH = 50  # queries at once: shorter ones cost more calls than they save numbers


def visible_keys(mask: Tensor, *, current: bool) -> Tensor:
    """Return which keys each query may see: the real rows before it.

    Args:
        mask: bool [B, T], True on real rows.
        current: Whether a query sees its own row too.

    Returns:
        bool [B, 1, T, T], query by key.
    """
    length = mask.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril(0 if current else -1)
    return (earlier & mask[:, None, :])[:, None]


def stretches(length: int) -> list[tuple[int, int]]:
    """Cut T rows into stretches a..b of about 50: where no row sees a later one, rows a..b need the keys 0..b alone."""
    pieces = max(1, -(-length // _STRETCH))
    bounds = [length * piece // pieces for piece in range(pieces + 1)]
    return list(pairwise(bounds))


def gaps(start: int, stop: int, like: Tensor) -> Tensor:
    """Return |i-j| of queries start..stop and keys 0..stop: [stop - start, stop], with a tensor's type and device."""
    places = torch.arange(stop, device=like.device, dtype=like.dtype)
    return (places[start:, None] - places[None, :]).abs_()


def masked_softmax(scores: Tensor, visible: Tensor) -> Tensor:
    """Return the softmax over the visible keys; rows without any are uniform and finite (`attend` sets them to 0)."""
    hidden = torch.zeros(visible.shape, dtype=scores.dtype, device=scores.device)
    hidden.masked_fill_(~visible, torch.finfo(scores.dtype).min)
    return (scores + hidden).softmax(dim=-1)  # the sum reads H times fewer masks than filling the scores would


@torch.no_grad()
def distances(scores: Tensor, visible: Tensor, gap: Tensor | None = None) -> Tensor:
    """Return dist_ij = sqrt(|i-j| times the belief in the keys after j): float [B, H, T, T], without gradient.

    Args:
        scores: float [B, H, T, T], before any decay.
        visible: bool [B or 1, 1, T, T].
        gap: float that stands for |i-j|, broadcast to the scores; None counts the rows of the batch. With it, queries
            and keys may be different rows.
    """
    belief = masked_softmax(scores, visible)
    # Summed from the far end: 1 - cumsum would round to 1e-7, and the root makes 1e-3 of that.
    remaining = functional.pad(belief.flip(-1).cumsum(dim=-1).flip(-1)[..., 1:], (0, 1))
    if gap is None:
        gap = gaps(0, scores.shape[-1], scores)
    return remaining.mul_(gap).sqrt_()


def decayed(scores: Tensor, visible: Tensor, gamma: Tensor | None, decay: Decay, gap: Tensor | None = None) -> Tensor:
    """Return the scores after the decay.

    Args:
        scores: float [B, H, T, T].
        visible: bool [B or 1, 1, T, T].
        gamma: float [H], unconstrained; the rate of a head is its softplus. None only without a decay.
        decay: How distance enters.
        gap: As in `distances`.
    """
    if decay == "none":
        return scores
    assert gamma is not None
    faded = functional.softplus(gamma)[:, None, None] * distances(scores, visible, gap)
    if decay == "subtract":
        return scores - faded
    return scores * torch.exp(-faded).clamp(SMALLEST_FACTOR, 1.0)


def attend(scores: Tensor, visible: Tensor, values: Tensor, dropout: nn.Module | None = None) -> Tensor:
    """Return the weighted means of the values: float [B, H, T, d_v]; 0 in rows without a visible key.

    Args:
        scores: float [B, H, T, T].
        visible: bool [B or 1, 1, T, T].
        values: float [B, H, T, d_v].
        dropout: What drops weights in training.
    """
    weights = masked_softmax(scores, visible)
    if dropout is not None:
        weights = dropout(weights)
    return (weights @ values).masked_fill(~visible.any(dim=-1, keepdim=True), 0)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Return [B, T, d] as [B, H, T, d / H]."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Return [B, H, T, d / H] as [B, T, d]."""
    return x.transpose(1, 2).flatten(-2)


def sinusoids(length: int, dim: int, *, scale: float = 1.0, device: torch.device | None = None) -> Tensor:
    """Return fixed positional encodings (Vaswani et al. 2017, section 3.5) times a scale: float32 [length, dim].

    Their root mean square is 0.7 at scale 1: beside embeddings of standard deviation 0.1 they drown the content.
    """
    places = torch.arange(length, device=device, dtype=torch.float32)[:, None]
    pairs = torch.arange(0, dim, 2, device=device, dtype=torch.float32)
    angles = places * torch.exp(pairs * (-math.log(10000.0) / dim))  # [length, ceil(dim / 2)]
    return scale * torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim]


class MultiHeadAttention(nn.Module):
    """W_o softmax(A') V, over the keys that a mask shows.

    Args:
        dim: Width d of queries, keys, values and results.
        heads: Number of heads; divides d.
        dropout: Of the attention weights.
        decay: How distance enters.
        share_query_key: Queries and keys are made by one map, as in AKT.
    """

    def __init__(
        self, dim: int, heads: int, *, dropout: float, decay: Decay = "none", share_query_key: bool = False
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"dim {dim} is not a multiple of heads {heads}: each head takes dim / heads of it")
        self.heads, self.decay = heads, decay
        self.query = nn.Linear(dim, dim)
        self.key = self.query if share_query_key else nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.weight_dropout = Dropout(dropout)
        self.gamma = None if decay == "none" else nn.Parameter(torch.zeros(heads))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            query: float [B, T, d].
            key: float [B, T, d].
            value: float [B, T, d].
            visible: bool [B or 1, 1, T, T], query by key; no query sees a later key.
            bias: float that adds to the scores [B or 1, H or 1, T, T], before the decay.

        Returns:
            float [B, T, d].
        """
        q, k = split_heads(self.query(query), self.heads), split_heads(self.key(key), self.heads)
        q, v = q / math.sqrt(q.shape[-1]), split_heads(self.value(value), self.heads)
        found = []
        for start, stop in stretches(query.shape[1]):
            scores = q[:, :, start:stop] @ k[:, :, :stop].transpose(-1, -2)  # [B, H, stop - start, stop]
            if bias is not None:
                scores = scores + bias[..., start:stop, :stop]
            shown = visible[..., start:stop, :stop]
            scores = decayed(scores, shown, self.gamma, self.decay, gaps(start, stop, scores))
            found.append(attend(scores, shown, v[:, :, :stop], self.weight_dropout))
        joined: Tensor = self.out(join_heads(torch.cat(found, dim=2)))
        return joined


class FeedForward(nn.Sequential):
    """d -> d_ff -> d with ReLU: float [..., d] to float [..., d]."""

    def __init__(self, dim: int, hidden: int, *, dropout: float) -> None:
        super().__init__(nn.Linear(dim, hidden), nn.ReLU(), Dropout(dropout), nn.Linear(hidden, dim))


class AttentionBlock(nn.Module):
    """x <- LN(x + drop(attention)); x <- LN(x + drop(FFN(x))), the norm after the sum.

    Args:
        dim: Width d.
        heads: Number of heads.
        hidden: Width of the feed-forward layer; 0 leaves it out.
        dropout: Of weights, attention and feed-forward results.
        decay: How distance enters.
        share_query_key: Queries and keys are made by one map.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        dropout: float,
        decay: Decay = "none",
        share_query_key: bool = False,
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(dim, heads, dropout=dropout, decay=decay, share_query_key=share_query_key)
        self.attention_norm = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, hidden, dropout=dropout) if hidden else None
        self.feed_forward_norm = nn.LayerNorm(dim) if hidden else None
        self.dropout = Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return float [B, T, d] for float [B, T, d] each; the residual is the query's."""
        x: Tensor = self.attention_norm(query + self.dropout(self.attention(query, key, value, visible, bias)))
        if self.feed_forward is not None and self.feed_forward_norm is not None:
            x = self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))
        return x
