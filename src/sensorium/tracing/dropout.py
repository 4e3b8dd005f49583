"""Dropout of the tracers: that of PyTorch, with a cheaper draw on a CPU.

There, `bernoulli_` of [B, H, T, T] attention weights took a quarter of a training step. Here one 64-bit draw of the
generator decides four numbers, each kept where its 16 bits lie above p · 2^16: p is exact to 1 / 131,072.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = 2**16
_PER_DRAW = 4  # 16-bit numbers in one draw


class Dropout(nn.Dropout):
    """Zeroes numbers with probability p in training and divides the others by 1 - p. See `torch.nn.Dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with some numbers dropped; itself in evaluation or at p = 0."""
        if not self.training or not self.p or self.p == 1 or input.device.type != "cpu":
            return super().forward(input)
        return input * kept(input.shape, self.p).to(input.dtype).mul_(1 / (1 - self.p))


def kept(shape: torch.Size, p: float) -> Tensor:
    """Draw which numbers stay, bool of a shape, from PyTorch's generator of the CPU."""
    n = shape.numel()
    draws = torch.empty(-(-n // _PER_DRAW), dtype=torch.int64).random_(-(2**63), None)
    return (draws.view(torch.int16)[:n] >= round(p * _LEVELS) - _LEVELS // 2).view(shape)
