"""NextItNet's encoder: residual blocks of dilated causal convolutions.

Yuan, Karatzoglou, Arapakis, Jose, He: A Simple Convolutional Generative Network for Next Item Recommendation. WSDM
2019. 2 * blocks residual blocks with dilations 1, 4, 1, 4, ..., kernel 3:

    h1 = ReLU(LN(Conv(x; dilation)))
    h2 = ReLU(LN(Conv(h1; 2 dilation)))
    x' = x + h2

Padding is zeroed before every convolution and after every block: biases and layer norms would turn it into signal.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.nn.across import BatchDropout
from sensorium.recommenders.towers.base import Draw

KERNEL = 3
DILATIONS = (1, 4)


class NextItNetEncoder(nn.Module):
    """Residual blocks."""

    def __init__(self, width: int, draw: Draw, *, blocks: int = 2, dropout: float = 0.1) -> None:
        """Make the blocks.

        Args:
            width: d.
            draw: Of the first values.
            blocks: Pairs of residual blocks, dilations 1 and 4.
            dropout: Of the input.
        """
        super().__init__()
        self.dropout = BatchDropout(dropout)
        self.blocks = nn.ModuleList(
            _Residual(width, dilation, draw, f"encoder.{place}") for place, dilation in enumerate(DILATIONS * blocks)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the states of x [B, l, d] with mask bool [B, l]: [B, l, d]."""
        kept = mask.unsqueeze(-1)
        x = torch.where(kept, self.dropout(x), 0.0)
        for block in self.blocks:
            x = torch.where(kept, block(x, kept), 0.0)
        return x


class _Residual(nn.Module):
    def __init__(self, width: int, dilation: int, draw: Draw, name: str) -> None:
        super().__init__()
        self.first = _Convolution(width, dilation, draw, f"{name}.first")
        self.second = _Convolution(width, 2 * dilation, draw, f"{name}.second")

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        """Return x plus two convolutions of it, [B, l, d]; kept bool [B, l, 1]."""
        found: Tensor = x + self.second(torch.where(kept, self.first(x), 0.0))
        return found


class _Convolution(nn.Module):
    def __init__(self, width: int, dilation: int, draw: Draw, name: str) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, width, KERNEL, dilation=dilation)
        nn.init.xavier_normal_(self.convolution.weight, generator=draw(name))
        assert self.convolution.bias is not None
        nn.init.zeros_(self.convolution.bias)
        self.norm = nn.LayerNorm(width, eps=1e-8)
        self.before = (KERNEL - 1) * dilation

    def forward(self, x: Tensor) -> Tensor:
        """Return ReLU(LN(Conv(x))), [B, l, d]: place j sees j, j - dilation, j - 2 dilation."""
        padded = functional.pad(x.transpose(1, 2), (self.before, 0))
        out: Tensor = self.norm(self.convolution(padded).transpose(1, 2)).relu()
        return out
