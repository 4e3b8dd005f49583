"""How far a view and the photo are apart.

The default compares means over cells of the object, so that a view that is turned by some degrees is not far away, and
counts the object alone: both on white, with M = 1 - (1 - A_ref)(1 - A), no gradient, P the mean over a cell, m = P(M),

    d(a, x) = sqrt( sum over cells of m || P(M a)/m - P(M x)/m ||^2 / (3 sum of m) + 1e-8 )      in [0, 1]

Views come with their coverage, so that whatever else they are laid on does not matter here: what stands where neither
shows the object counts nothing. Where the one shows it and the other does not, the object stands against the common
white; on another common shade such pixels, and they alone, would count differently.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from sensorium.lifting.photo.cutout import on_background

RELEASED_SIDE = 1024
_ROOM = 1e-8  # under the root, whose slope at 0 is infinite


def pooled(reference: Tensor, rgba: Tensor, cells: int) -> Tensor:
    """Return the distance of each view, [B].

    Args:
        reference: The photo, premultiplied RGBA [4, s, s].
        rgba: Views, premultiplied RGBA [B, 4, s, s].
        cells: Along a side; 0 for pixels.
    """
    anchor, views = on_background(reference[None]), on_background(rgba)
    mask = 1 - (1 - reference[None, 3:]) * (1 - rgba.detach()[:, 3:])  # [B, 1, s, s]

    def mean(values: Tensor) -> Tensor:
        return adaptive_avg_pool2d(values, cells) if cells else values

    amount = mean(mask)
    apart = (mean(mask * views) - mean(mask * anchor)).square().sum(1, keepdim=True)
    weighted = torch.where(amount > 0, apart / amount.clamp_min(1e-12), 0.0)  # m || a/m - x/m ||^2
    total = 3 * amount.flatten(1).sum(1)
    return (weighted.flatten(1).sum(1) / total.clamp_min(1e-12) + _ROOM).sqrt()


def l2_sum(anchor: Tensor, views: Tensor) -> Tensor:
    """Return the norm of the difference over all values of each view, [B] (released program).

    The released margins are those of 1024 x 1024 pixels: a pixel of a smaller picture counts as the many that it is
    there.

    Args:
        anchor: The photo on its background, [3, s, s].
        views: On theirs, [B, 3, s, s].
    """
    return (views - anchor).square().flatten(1).sum(1).add(1e-12).sqrt() * (RELEASED_SIDE / anchor.shape[-1])
