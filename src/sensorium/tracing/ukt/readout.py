"""From a state and a question to a Gaussian logit.

    m = MLP([mu ; ell ; x ; x']),  a = W_a [x ; mu] ∘ sd(ell),  logit(eps) = m + a·eps,  eps ~ N(0, I_d)

All questions asked of one state share eps: that is what makes their answers vary together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.tracing.dropout import Dropout
from sensorium.tracing.ukt.config import UKTConfig
from sensorium.tracing.ukt.gaussian import deviation


class Readout(nn.Module):
    """The readout of UKT.

    Args:
        config: Width, dropout, covariance, loading.
    """

    def __init__(self, config: UKTConfig) -> None:
        super().__init__()
        dim = config.dim
        self.signed = config.covariance == "signed"
        self.mean = nn.Sequential(
            nn.Linear((4 if config.has_spread else 2) * dim, 2 * dim),
            nn.ReLU(),
            Dropout(config.dropout),
            nn.Linear(2 * dim, dim),
            nn.ReLU(),
            Dropout(config.dropout),
            nn.Linear(dim, 1),
        )
        self.loading: nn.Linear | None = None
        if config.has_spread and config.loading:
            self.loading = nn.Linear(2 * dim, dim)
            nn.init.normal_(self.loading.weight, std=0.02)
            nn.init.zeros_(self.loading.bias)

    def forward(
        self, state: Tensor, spread: Tensor | None, x: Tensor, x_spread: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return m, float [...], and a, float [..., d] (None where the logit is a number).

        Args:
            state: float [..., d], mu.
            spread: float [..., d], ell.
            x: float [..., d], the question's own embedding, before encoder and blocks.
            x_spread: float [..., d].
        """
        parts = [state, x] if spread is None or x_spread is None else [state, spread, x, x_spread]
        m: Tensor = self.mean(torch.cat(parts, dim=-1)).squeeze(-1)
        if self.loading is None or spread is None:
            return m, None
        sd = spread if self.signed else deviation(spread)
        return m, self.loading(torch.cat([x, state], dim=-1)) * sd
