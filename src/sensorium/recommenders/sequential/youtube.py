"""YouTube's model: the mean of the history's items through two layers, one target for each window.

Covington, Adams, Sargin: Deep Neural Networks for YouTube Recommendations. RecSys 2016. MicroLens (arXiv 2309.15379)
compares with it and has not released its code; this is its idea under the same loss:

    h = W_2 relu(W_1 mean_j e_j + b_1) + b_2     W_1 [2d, d], W_2 [d, 2d]; the last item of a window alone is predicted
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.nn.across import BatchDropout
from sensorium.recommenders.base import ModelInfo
from sensorium.recommenders.sequential.model import SequentialRecommender, schedule
from sensorium.recommenders.towers.base import Draw, projection


class YouTube(SequentialRecommender):
    """The mean of the last items through two layers."""

    info = ModelInfo(
        summary="the mean of the history's items through two layers predicts the next item",
        citation="Covington, Adams, Sargin: Deep Neural Networks for YouTube Recommendations. RecSys 2016",
        features="optional",
        order=True,
    )
    run_defaults = schedule(weight_decay=0.1, repeat_policy="drop", history="full")

    config: SequentialRecommender.Config

    def build_encoder(self) -> nn.Module:
        """Return the encoder."""
        return MeanEncoder(self.config.dim, self.generator, dropout=self.config.dropout)

    def asked(self, mask: Tensor) -> Tensor:
        """Return the last state of each window alone: bool [B, L]."""
        last = torch.zeros_like(mask)
        last[:, -1] = mask[:, -1]
        return last


class MeanEncoder(nn.Module):
    """State j is made of the mean of the items up to j, whatever their order."""

    def __init__(self, width: int, draw: Draw, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = BatchDropout(dropout)
        self.wide = projection(width, 2 * width, draw("encoder.wide"))
        self.out = projection(2 * width, width, draw("encoder.out"))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the states of x [B, l, d] with mask bool [B, l]: [B, l, d]; zero where nothing was yet."""
        kept = mask.unsqueeze(-1)
        count = mask.cumsum(1).clamp(min=1).unsqueeze(-1)
        mean = torch.where(kept, x, 0.0).cumsum(1) / count
        states: Tensor = self.out(self.dropout(torch.relu(self.wide(mean))))
        return torch.where(kept, states, 0.0)
