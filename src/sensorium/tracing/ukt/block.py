"""One UKT block: attention by the distance of Gaussians, and what it passes on of means and variances.

    A_ij  = tau_h (2 f_i·f_j - ||f_j||²),  f = [W_k x ; softplus(W'_k x') + 1e-3],  tau_h = exp(theta_h) / sqrt(d_k)
    A_i0  = tau_h (2 f_i·f_0 - ||f_0||²) + b_0                                          the prior row, without decay
    h_i   = P_i0 v_0 + sum_j P_ij v_j,     var_i = P_i0² s_0² + sum_j P_ij² s_j²
    mean    x  <- LN(x + drop(W_o h)); x <- LN(x + drop(FFN(x)))
    spread  x' <- x' + W'_o log(var + 1e-6); x' <- x' + FFN'(x')

var_i is the variance of a weighted sum of independent values and falls like 1 / n_eff, n_eff = 1 / sum P². In log var
that is one shift of all dimensions, which a LayerNorm would remove: the spread has none. Dropout is for the mean alone:
a dropped weight is not less variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sensorium.tracing.attention import (
    FeedForward,
    decayed,
    gaps,
    join_heads,
    masked_softmax,
    split_heads,
    stretches,
)
from sensorium.tracing.dropout import Dropout
from sensorium.tracing.ukt.config import UKTConfig
from sensorium.tracing.ukt.gaussian import deviation, negative_wasserstein, released_distance

SMALLEST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Keys:
    """What queries look at: float [B, H, T, ...] each.

    Attributes:
        mean: [.., d_k].
        spread: [.., d_k], standard deviations (raw numbers where covariances are signed); None in a point model.
        value: [.., d_k].
        variance: [.., d_k] of the values; None in a point model.
    """

    mean: Tensor
    spread: Tensor | None
    value: Tensor
    variance: Tensor | None

    def first(self, number: int) -> Keys:
        """Return the keys of the first rows."""
        rows = [None if part is None else part[:, :, :number] for part in (self.spread, self.variance)]
        return Keys(self.mean[:, :, :number], rows[0], self.value[:, :, :number], rows[1])


class UKTBlock(nn.Module):
    """A block of UKT on means and spreads.

    Args:
        config: Widths and the named options.
    """

    def __init__(self, config: UKTConfig) -> None:
        super().__init__()
        self.config = config
        dim, heads = config.dim, config.heads
        width = dim // heads
        self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(3))
        self.feed_forward = FeedForward(dim, config.hidden, dropout=config.dropout)
        self.norm, self.feed_forward_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout, self.weight_dropout = Dropout(config.dropout), Dropout(config.dropout)
        self.theta = nn.Parameter(torch.zeros(heads))
        self.gamma = None if config.decay == "none" else nn.Parameter(torch.zeros(heads))
        if config.first_row == "prior":
            self.prior_key = nn.Parameter(torch.randn(heads, 1, width) * 0.1)
            self.prior_value = nn.Parameter(torch.randn(heads, 1, width) * 0.1)
            self.prior_bias = nn.Parameter(torch.zeros(heads))
        if config.has_spread:
            self.spread_key, self.spread_value, self.spread_out = (nn.Linear(dim, dim) for _ in range(3))
            nn.init.normal_(self.spread_out.weight, std=0.05)
            nn.init.zeros_(self.spread_out.bias)
            self.spread_forward = FeedForward(dim, dim, dropout=0.0)
            if config.first_row == "prior":
                self.prior_key_spread = nn.Parameter(torch.zeros(heads, 1, width))
                self.prior_value_spread = nn.Parameter(torch.zeros(heads, 1, width))
            if config.spread_norm == "layer":
                self.spread_norm, self.spread_forward_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)

    # --- keys -------------------------------------------------------------------------------------------------------

    def keys(self, x: Tensor, x_spread: Tensor | None, y: Tensor, y_spread: Tensor | None) -> Keys:
        """Return what queries will look at, of questions x and answers y (float [B, T, d] each)."""
        mean, spread = self.features(x, x_spread)
        variance = None
        if y_spread is not None:
            raw = split_heads(self.spread_value(y_spread), self.config.heads)
            variance = raw if self.config.covariance == "signed" else deviation(raw).square()
        return Keys(mean, spread, split_heads(self.value(y), self.config.heads), variance)

    def features(self, x: Tensor, x_spread: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the two halves of f, float [B, H, T, d_k] each."""
        mean = split_heads(self.key(x), self.config.heads)
        if x_spread is None:
            return mean, None
        raw = split_heads(self.spread_key(x_spread), self.config.heads)
        return mean, raw if self.config.covariance == "signed" else deviation(raw)

    # --- attention --------------------------------------------------------------------------------------------------

    def scores(self, mean: Tensor, spread: Tensor | None, key: Tensor, key_spread: Tensor | None) -> Tensor:
        """Return A, float [B, H, n, m], before decay.

        Where the decay multiplies, A is the whole negative distance, since it then depends on the row's constant.
        """
        scale = (self.theta.exp() / math.sqrt(mean.shape[-1]))[:, None, None]
        if self.config.attention == "dot":
            return scale * mean @ key.transpose(-1, -2)
        if self.config.covariance == "signed" and spread is not None and key_spread is not None:
            return -scale * released_distance(mean, spread, key, key_spread)
        query = mean if spread is None else torch.cat([mean, spread], dim=-1)
        full_key = key if key_spread is None else torch.cat([key, key_spread], dim=-1)
        return negative_wasserstein(query, full_key, scale, row_constant=self.config.decay == "multiply")

    def weights(
        self, mean: Tensor, spread: Tensor | None, keys: Keys, visible: Tensor, gap: Tensor | None
    ) -> tuple[Tensor | None, Tensor]:
        """Return the share of the prior P_i0, float [B, H, n, 1] (None without one), and P, float [B, H, n, m]."""
        past = decayed(self.scores(mean, spread, keys.mean, keys.spread), visible, self.gamma, self.config.decay, gap)
        if self.config.first_row == "zero":
            seen = visible.any(dim=-1, keepdim=True)
            return None, masked_softmax(past, visible).masked_fill(~seen, 0)
        prior_spread = None
        if spread is not None:
            raw = self.prior_key_spread
            prior_spread = raw if self.config.covariance == "signed" else deviation(raw)
        prior = self.scores(mean, spread, self.prior_key, prior_spread) + self.prior_bias[:, None, None]
        shown = torch.cat([visible.new_ones(()).expand(*visible.shape[:-1], 1), visible], dim=-1)
        both = masked_softmax(torch.cat([prior, past], dim=-1), shown)
        return both[..., :1], both[..., 1:]

    def propagate(self, prior: Tensor | None, past: Tensor, keys: Keys) -> tuple[Tensor, Tensor | None]:
        """Return mean h and variance of the weighted sum of values, float [B, H, n, d_k] each."""
        mean = self.weight_dropout(past) @ keys.value
        if prior is not None:
            mean = mean + self.weight_dropout(prior) * self.prior_value
        if keys.variance is None:
            return mean, None
        variance = past.square() @ keys.variance
        if prior is not None:
            raw = self.prior_value_spread
            variance = variance + prior.square() * (
                raw if self.config.covariance == "signed" else deviation(raw).square()
            )
        return mean, variance

    # --- the block --------------------------------------------------------------------------------------------------

    def forward(
        self,
        x: Tensor,
        x_spread: Tensor | None,
        keys: Keys,
        visible: Tensor,
        gap: Tensor | None = None,
        *,
        others: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Move queries on by what they see.

        Args:
            x: float [B, n, d], means of the queries.
            x_spread: float [B, n, d], their spreads; None in a point model.
            keys: Of the rows that they may look at.
            visible: bool [B or 1, 1, n, m], query by key; rows of the sequence itself see no later row.
            gap: As in `attention.distances`, for other rows.
            others: The queries are other rows than those that the keys were made of.

        Returns:
            Means and spreads, float [B, n, d] each.
        """
        if others:
            prior, past = self.weights(*self.features(x, x_spread), keys, visible, gap)
            passed, variance = self.propagate(prior, past, keys)
        else:
            passed, variance = self._from_own_past(keys, visible)
        x = self.norm(x + self.dropout(self.out(join_heads(passed))))
        forward = self.dropout(self.feed_forward(x))
        x = self.feed_forward_norm(x + forward if self.config.ffn_residual else forward)
        if x_spread is None or variance is None:
            return x, None
        return x, self._spread(x_spread, join_heads(variance))

    def _from_own_past(self, keys: Keys, visible: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what every row of the sequence takes from the rows before it, stretch by stretch."""
        means, variances = [], []
        for start, stop in stretches(keys.mean.shape[2]):
            seen, shown = keys.first(stop), visible[..., start:stop, :stop]
            spread = None if seen.spread is None else seen.spread[:, :, start:]
            gap = gaps(start, stop, seen.mean)
            prior, past = self.weights(seen.mean[:, :, start:], spread, seen, shown, gap)
            mean, variance = self.propagate(prior, past, seen)
            means.append(mean)
            if variance is not None:
                variances.append(variance)
        return torch.cat(means, dim=2), torch.cat(variances, dim=2) if variances else None

    def _spread(self, spread: Tensor, variance: Tensor) -> Tensor:
        shared = self.config.spread_norm == "shared"
        moved = self.spread_out(variance if shared else (variance + SMALLEST_VARIANCE).log())
        spread = self._normed(spread + moved, first=True)
        forward = self.spread_forward(spread)
        return self._normed(spread + forward if self.config.ffn_residual else forward, first=False)

    def _normed(self, spread: Tensor, *, first: bool) -> Tensor:
        if self.config.spread_norm == "none":
            return spread
        if self.config.spread_norm == "shared":
            normed: Tensor = (self.norm if first else self.feed_forward_norm)(spread)
        else:
            normed = (self.spread_norm if first else self.spread_forward_norm)(spread)
        return normed
