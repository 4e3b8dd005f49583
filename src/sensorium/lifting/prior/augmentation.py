"""What happens to a photograph before it reaches the prior, done to references in training: blur, JPEG, another gamma,
an alpha that is a pixel too wide or too narrow. Targets stay as they are.

Half of the references get each. All is arithmetic on batches; JPEG is its lossy part alone: blocks of 8 x 8, the
discrete cosine transform, the rounding by the tables of ITU-T T.81 (annex K), without thinning out colour.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

SHARE = 0.5
BLUR = (0.3, 1.0)  # pixels
QUALITY = (60.0, 95.0)
GAMMA = (0.8, 1.25)

_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99, 99, 99, 99, 99, 99, 99, 99),) * 4,
)
_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def augment(rgba: Tensor, generator: torch.Generator) -> Tensor:
    """Return references as photographs might show them.

    Args:
        rgba: Premultiplied, float32 [B, 4, S, S] in 0..1; S a multiple of 8.
        generator: Of the CPU; draws which reference gets what.

    Returns:
        The same shape, premultiplied.
    """
    draws = torch.rand(8, len(rgba), generator=generator).to(rgba.device)
    chosen = (draws[:4] < SHARE)[:, :, None, None, None]
    between = [low + (high - low) * draw for (low, high), draw in zip((BLUR, QUALITY, GAMMA), draws[4:7], strict=True)]
    rgba = torch.where(chosen[0], blurred(rgba, between[0]), rgba)
    rgba = torch.where(chosen[1], _with_alpha(rgba, draws[7] < 0.5), rgba)
    colour, alpha = rgba[:, :3], rgba[:, 3:]
    straight = (colour / alpha.clamp(min=1e-3)).clamp(0, 1)
    straight = torch.where(chosen[2], straight.clamp(min=1e-4) ** between[2][:, None, None, None], straight)
    straight = torch.where(chosen[3], jpeg(straight, between[1]), straight)
    return torch.cat([straight * alpha, alpha], 1)


def blurred(pictures: Tensor, sigma: Tensor) -> Tensor:
    """Return pictures [B, C, S, S] after a Gaussian blur of sigma [B] pixels, with zeros beyond the edge."""
    offsets = torch.arange(-3, 4, device=pictures.device)
    kernel = torch.exp(-0.5 * (offsets / sigma[:, None]).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(pictures.shape[1], 0)[:, None]  # [B C, 1, 7]
    rows = pictures.flatten(0, 1)[None]
    rows = functional.conv2d(rows, kernel[:, :, None], padding=(0, 3), groups=len(kernel))
    rows = functional.conv2d(rows, kernel[:, :, :, None], padding=(3, 0), groups=len(kernel))
    return rows[0].reshape(pictures.shape)


def _with_alpha(rgba: Tensor, wider: Tensor) -> Tensor:
    """Return pictures whose alpha is about a pixel wider, with the colours beside, or narrower, by a choice [B]."""
    grown = functional.max_pool2d(rgba, 3, 1, 1)
    shrunk = -functional.max_pool2d(-rgba[:, 3:], 3, 1, 1)
    narrow = torch.cat([rgba[:, :3] * (shrunk / rgba[:, 3:].clamp(min=1e-3)).clamp(max=1), shrunk], 1)
    wide = torch.where(rgba[:, 3:] > 0, torch.cat([rgba[:, :3], grown[:, 3:]], 1), grown)
    wide = torch.cat([torch.minimum(wide[:, :3], wide[:, 3:]), wide[:, 3:]], 1)
    return torch.where(wider[:, None, None, None], wide, narrow)


def jpeg(colours: Tensor, quality: Tensor) -> Tensor:
    """Return pictures [B, 3, S, S] in 0..1 as JPEG of a quality [B] (50 to 100) gives them back."""
    count, _, side, _ = colours.shape
    to_ycbcr = torch.tensor(_YCBCR, device=colours.device)
    cosines = _cosines(colours.device)
    tables = torch.tensor((_LUMINANCE, _CHROMINANCE, _CHROMINANCE), device=colours.device, dtype=torch.float32)
    steps = (tables * ((200 - 2 * quality) / 100)[:, None, None, None]).round().clamp(min=1)[:, :, None, None]
    ycbcr = torch.einsum("kc,bchw->bkhw", to_ycbcr, (colours * 255).round() - 128).round()
    blocks = ycbcr.reshape(count, 3, side // 8, 8, side // 8, 8).transpose(3, 4)  # [B, 3, rows, columns, 8, 8]
    rounded = torch.round(cosines @ blocks @ cosines.T / steps) * steps
    ycbcr = (cosines.T @ rounded @ cosines).transpose(3, 4).reshape(count, 3, side, side)
    ycbcr = ycbcr.round().clamp(-128, 127)
    return (torch.einsum("ck,bkhw->bchw", torch.linalg.inv(to_ycbcr), ycbcr) + 128).div(255).clamp(0, 1)


def _cosines(device: torch.device) -> Tensor:
    """Return the orthonormal discrete cosine transform of 8 values, [8, 8]."""
    place = torch.arange(8, device=device)
    matrix = torch.cos(math.pi / 8 * (place[None] + 0.5) * place[:, None]) / 2
    matrix[0] /= math.sqrt(2)
    return matrix
