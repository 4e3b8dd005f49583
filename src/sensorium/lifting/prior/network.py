"""The denoiser: a U-Net for the view that is asked for, and an encoder of the reference whose features it attends to.

A target picture x is RGBA with premultiplied colour in -1..1. Of each level of the reference encoder the U-Net's
attention takes keys and values, beside its own: where on the reference a pixel is seen is learnt, helped by the rays
that both inputs carry. `patch` folds squares of pixels into channels before the first convolution, which makes a
picture of 64 x 64 as cheap as one of 32 x 32; 1 leaves them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.config import Config
from sensorium.lifting.prior.poses import ANGLES, RAYS

RGBA = 4
GROUPS = 8


class NetworkConfig(Config):
    """The size of the denoiser."""

    channels: tuple[int, ...] = Field((40, 80, 120, 160), description="channels per level, finest first")
    patch: int = Field(1, ge=1, le=4, description="side of the squares of pixels that are folded into channels")
    attention: tuple[int, ...] = Field((2, 3), description="levels with attention")
    heads: int = Field(4, ge=1, description="of each attention")
    embedding: int = Field(160, ge=8, multiple_of=2, description="size of the vector of time and pose")
    pose_gain: float = Field(
        1.0, gt=0, description="factor of the embedded pose, whose vector is small beside the one of time"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(level not in range(len(self.channels)) for level in self.attention):
            raise ValueError(f"attention {self.attention}: levels are 0 to {len(self.channels) - 1}")
        if any(width % GROUPS or width % self.heads for width in self.channels):
            raise ValueError(f"channels {self.channels}: multiples of {GROUPS} groups and of {self.heads} heads")
        return self


class ResidualBlock(nn.Module):
    """Two convolutions whose sum is added to the input; time and pose scale and shift between them."""

    def __init__(self, before: int, after: int, embedding: int | None) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(GROUPS, before), nn.GroupNorm(GROUPS, after)
        self.conv1, self.conv2 = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)
        self.skip = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        self.modulation = nn.Linear(embedding, 2 * after) if embedding else None
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Return [B, after, h, w] of [B, before, h, w] and an embedding [B, E], where the block takes one."""
        h = self.norm2(self.conv1(functional.silu(self.norm1(x))))
        if self.modulation is not None and embedding is not None:
            scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, 1)
            h = h * (1 + scale) + shift
        return self.skip(x) + self.conv2(functional.silu(h))  # type: ignore[no-any-return]


class JointAttention(nn.Module):
    """Attention from the target to itself and to the reference's features of that level."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_reference = nn.GroupNorm(GROUPS, channels), nn.GroupNorm(GROUPS, channels)
        self.query, self.keys_values = nn.Linear(channels, channels), nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:
        """Return [B, C, h, w] of the target's and the reference's features, both of that shape."""
        batch, channels, height, width = x.shape
        own = self.norm(x).flatten(2).transpose(1, 2)  # [B, n, C]
        seen = torch.cat([own, self.norm_reference(reference).flatten(2).transpose(1, 2)], 1)
        query = self.query(own).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        keys, values = self.keys_values(seen).unflatten(-1, (2 * self.heads, -1)).transpose(1, 2).chunk(2, 1)
        mixed = functional.scaled_dot_product_attention(query, keys, values).transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).reshape(batch, channels, height, width)  # type: ignore[no-any-return]


class ReferenceEncoder(nn.Module):
    """Features of the reference at every level, and the elevation that it seems to be seen from."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.stem = nn.Conv2d((RGBA + RAYS) * config.patch**2, config.channels[0], 3, padding=1)
        before = (config.channels[0], *config.channels)
        self.blocks = nn.ModuleList(
            ResidualBlock(before[level], width, None) for level, width in enumerate(config.channels)
        )
        self.elevation = nn.Linear(config.channels[-1], 1)

    def forward(self, picture: Tensor, rays: Tensor) -> list[Tensor]:
        """Return features [B, C, h, w] per level of RGBA [B, 4, H, W] in -1..1 and rays [B, 6, H, W]."""
        x = self.stem(functional.pixel_unshuffle(torch.cat([picture, rays], 1), self.patch))
        found = []
        for level, block in enumerate(self.blocks):
            x = block(functional.avg_pool2d(x, 2) if level else x)
            found.append(x)
        return found


class Denoiser(nn.Module):
    """Predicts v of a noisy view, see `CosineSchedule`, given another view of the object.

    Sides are multiples of `patch` times 2 to the number of levels but one; pictures of any such side go through.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width, channels = config.embedding, config.channels
        self.encoder = ReferenceEncoder(config)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.pose = nn.Sequential(nn.Linear(ANGLES, width), nn.SiLU(), nn.Linear(width, width))
        self.stem = nn.Conv2d((2 * RGBA + RAYS) * config.patch**2, channels[0], 3, padding=1)
        before = (channels[0], *channels)
        self.down = nn.ModuleList(ResidualBlock(before[level], now, width) for level, now in enumerate(channels))
        self.middle = nn.ModuleList(ResidualBlock(channels[-1], channels[-1], width) for _ in range(2))
        below = (*channels[1:], channels[-1])
        self.up = nn.ModuleList(ResidualBlock(below[level] + now, now, width) for level, now in enumerate(channels))
        self.attend_down, self.attend_up = (
            nn.ModuleDict({str(level): JointAttention(channels[level], config.heads) for level in config.attention})
            for _ in range(2)
        )
        self.attend_middle = JointAttention(channels[-1], config.heads)
        self.norm = nn.GroupNorm(GROUPS, channels[0])
        self.out = nn.Conv2d(channels[0], RGBA * config.patch**2, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(
        self,
        noisy: Tensor,
        t: Tensor,
        reference: Tensor,
        features: Sequence[Tensor],
        rays: Tensor,
        pose: Tensor,
        known: Tensor | None = None,
    ) -> Tensor:
        """Return v, [B, 4, H, W].

        Args:
            noisy: z_t, [B, 4, H, W].
            t: Times in 0..1, [B].
            reference: RGBA in -1..1, [B, 4, H, W].
            features: What the encoder made of it, [B, C, h, w] per level.
            rays: Of the target's cameras, [B, 6, H, W].
            pose: Angles, [B, 8].
            known: 1 where the condition is given, 0 where it is withheld, [B]; all are given where this is None.
        """
        embedded_pose = self.config.pose_gain * self.pose(pose)
        if known is not None:
            mask = known[:, None, None, None]
            reference, rays, features = reference * mask, rays * mask, [level * mask for level in features]
            embedded_pose = embedded_pose * known[:, None]
        embedding = functional.silu(self.time(_sinusoids(t, self.config.embedding)) + embedded_pose)
        x = self.stem(functional.pixel_unshuffle(torch.cat([noisy, reference, rays], 1), self.config.patch))
        kept = []
        for level, block in enumerate(self.down):
            x = block(functional.avg_pool2d(x, 2) if level else x, embedding)
            x = self._attended(self.attend_down, level, x, features)
            kept.append(x)
        x = self.middle[0](x, embedding)
        x = self.middle[1](self.attend_middle(x, features[-1]), embedding)
        for level in reversed(range(len(kept))):
            if level < len(kept) - 1:
                x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.up[level](torch.cat([x, kept[level]], 1), embedding)
            x = self._attended(self.attend_up, level, x, features)
        return functional.pixel_shuffle(self.out(functional.silu(self.norm(x))), self.config.patch)

    @staticmethod
    def _attended(attentions: nn.ModuleDict, level: int, x: Tensor, features: Sequence[Tensor]) -> Tensor:
        if str(level) not in attentions:
            return x
        attended: Tensor = attentions[str(level)](x, features[level])
        return attended

    def seen_elevation(self, features: Sequence[Tensor]) -> Tensor:
        """Return the elevation in degrees [B] that the encoder reads from its deepest features."""
        return 90 * self.encoder.elevation(features[-1].mean((2, 3))).squeeze(-1)  # type: ignore[no-any-return]


def _sinusoids(t: Tensor, width: int) -> Tensor:
    """Return sines and cosines of 1000 t at geometric frequencies, [B, width] (Vaswani et al., 2017)."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=t.device) / (width // 2))
    phases = 1000 * t.float()[:, None] * frequencies
    return torch.cat([phases.sin(), phases.cos()], -1)
