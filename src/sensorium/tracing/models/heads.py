"""The last layers that several tracers share, and the shift that keeps an answer out of its own prediction."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """From what is known of a learner and a question to a logit: [h; x] -> widths -> 1, ReLU and dropout between.

    Args:
        dim: Width d of h and of x.
        widths: Of the hidden layers.
        dropout: After each of them.
    """

    def __init__(self, dim: int, widths: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 2 * dim
        for width in widths:
            layers += [nn.Linear(before, width), nn.ReLU(), nn.Dropout(dropout)]
            before = width
        self.layers = nn.Sequential(*layers, nn.Linear(before, 1))

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        """Return logits [B, T] for h and x [B, T, d]."""
        logit: Tensor = self.layers(torch.cat([h, x], dim=-1))
        return logit.squeeze(-1)


def shifted(states: Tensor) -> Tensor:
    """Return states [B, T, d] one place later: place t holds what was known after t - 1 answers, place 0 holds 0."""
    return torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], dim=1)
