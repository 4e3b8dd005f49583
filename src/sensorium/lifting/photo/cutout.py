"""Cut-outs: the object alone, cropped to its box, and the same framed as the optimisation sees it.

Colours are premultiplied by coverage before anything is resized: what a picture holds under transparent pixels is
arbitrary and would bleed into the object's edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from sensorium.core.errors import DataError
from sensorium.lifting.mesh import Floats

FULL, EMPTY = 0.97, 0.02  # cut-outs of segmenters rarely reach 1: coverage is stretched, and haze removed
INSIDE = 0.05  # coverage from which a pixel belongs to the object's box
SMALLEST = 16  # pixels of the object's longer side
NEARLY_ALL = 0.995  # share of covered pixels from which a mask has found nothing
FILL = 0.8  # of the frame's side, for the longer side of the object


@dataclass(frozen=True, eq=False)
class Cutout:
    """An object cut out of its photo.

    Attributes:
        rgba: Premultiplied colours and coverage of the object's box, float32 [4, h, w] in [0, 1].
    """

    rgba: Tensor

    @property
    def side(self) -> int:
        """Its longer side, pixels."""
        return max(self.rgba.shape[1:])

    def framed(self, side: int) -> Tensor:
        """Return the object in the middle of a square, its longer side 0.8 of the square's: float32 [4, side, side]."""
        height, width = self.rgba.shape[1:]
        scale = FILL * side / max(height, width)
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        sized = resized(self.rgba, *size)
        top, left = (side - size[0]) // 2, (side - size[1]) // 2
        return pad(sized, (left, side - size[1] - left, top, side - size[0] - top))


def resized(rgba: Tensor, height: int, width: int) -> Tensor:
    """Return premultiplied colours in another size, averaged where they shrink, [4, height, width]."""
    found = interpolate(rgba[None], (height, width), mode="bicubic", antialias=True, align_corners=False)[0]
    alpha = found[3:].clamp(0, 1)
    return torch.cat([found[:3].clamp_min(0).minimum(alpha), alpha])


def on_background(rgba: Tensor, background: float | Tensor = 1.0) -> Tensor:
    """Return premultiplied pictures [..., 4, h, w] on a background, white by default, [..., 3, h, w]."""
    return rgba[..., :3, :, :] + (1 - rgba[..., 3:, :, :]) * background


def repaired(alpha: Floats) -> Floats:
    """Return coverage that reaches 0 and 1, float32 [H, W]."""
    stretched = (alpha / FULL).clip(0, 1)
    return np.where(stretched < EMPTY, 0, stretched).astype(np.float32)


def cut_out(rgb: Floats, alpha: Floats, *, name: str = "the photo") -> Cutout:
    """Cut an object out of a photo.

    Args:
        rgb: float32 [H, W, 3] in [0, 1], not premultiplied.
        alpha: Coverage as it was found, float32 [H, W] in [0, 1].
        name: For messages.

    Raises:
        DataError: Nothing is covered, or everything, or the object is smaller than 16 pixels.
    """
    covered = repaired(alpha)
    rows, columns = (np.flatnonzero((covered > INSIDE).any(axis)) for axis in (1, 0))
    if not len(rows):
        raise DataError(f"{name}: the mask is empty, no pixel shows the object. Give another mask")
    if (covered > INSIDE).mean() > NEARLY_ALL:
        raise DataError(f"{name}: the mask covers the whole picture, nothing is cut out. Give another mask")
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    height, width = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    if max(height, width) < SMALLEST:
        raise DataError(
            f"{name}: the object is {width} x {height} pixels, its longer side must be at least {SMALLEST}: "
            "give a larger photo"
        )
    coverage = covered[box]
    rgba = np.concatenate([rgb[box] * coverage[..., None], coverage[..., None]], 2).transpose(2, 0, 1)
    return Cutout(torch.from_numpy(np.ascontiguousarray(rgba, dtype=np.float32)))
