"""A small 3D convolutional network for clips: three stages of space and time, each a residual block, then a mean.

Stage k halves height and width, from the second one on time as well: [3, T, H, W] -> [16, T, H/2, W/2] -> [32, T/2,
H/4, W/4] -> [64, T/4, H/8, W/8]. Group norms, so that no clip depends on its batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.encoders.conv3d import WIDTHS


class Stage(nn.Module):
    """y = relu(norm(conv(x))); y + norm(conv(y))."""

    def __init__(self, channels: int, width: int, *, halves_time: bool) -> None:
        super().__init__()
        stride = (2 if halves_time else 1, 2, 2)
        self.down = nn.Conv3d(channels, width, 3, stride, 1, bias=False)
        self.down_norm = nn.GroupNorm(4, width)
        self.mix = nn.Conv3d(width, width, 3, 1, 1, bias=False)
        self.mix_norm = nn.GroupNorm(4, width)

    def forward(self, states: Tensor) -> Tensor:
        """[n, C, T, h, w] -> [n, C', T', h/2, w/2]."""
        narrowed = torch.relu(self.down_norm(self.down(states)))
        mixed: Tensor = torch.relu(narrowed + self.mix_norm(self.mix(narrowed)))
        return mixed


class Conv3DNetwork(nn.Module):
    """The stages; `blocks` is what `tune: top_k` trains from the top."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *WIDTHS)
        self.blocks = nn.ModuleList(
            Stage(before, width, halves_time=place > 0)
            for place, (before, width) in enumerate(zip(widths, WIDTHS, strict=False))
        )

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Return the output of every stage for clips [n, T, 3, H, W]: [n, C, T', h, w] each."""
        states, found = pixels.transpose(1, 2), []
        for block in self.blocks:
            states = block(states)
            found.append(states)
        return found

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the mean of the last stage over time and space, float32 [n, 64]."""
        return self.maps(pixels)[-1].mean((2, 3, 4))
