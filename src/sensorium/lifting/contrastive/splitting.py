"""Which views look like the photo: positive, negative, or neither.

By LPIPS a correct view within about 50 degrees of the photo is nearer than 0.3, and farther ones are not. One from
behind that is as near is either a symmetric object, or the front shown again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

POSITIVE, NEGATIVE, NEITHER = 1, -1, 0
FRONT = 90.0  # degrees of the angle of view up to which a view that looks like the photo is a good one


def split(
    distances: Tensor, angles: Sequence[float], threshold: float, ambiguous: Literal["ignore", "negative", "positive"]
) -> Tensor:
    """Return 1, -1 or 0 for each view: positive, negative or neither, int64 [B].

    Args:
        distances: Perceptual, to the photo, [B].
        angles: Between the directions of view, degrees [B].
        threshold: Below, a view looks like the photo.
        ambiguous: What one is that does so from over 90 degrees away.
    """
    alike = distances.detach() < threshold
    behind = torch.tensor([angle > FRONT for angle in angles], device=alike.device)
    unclear = {"ignore": NEITHER, "negative": NEGATIVE, "positive": POSITIVE}[ambiguous]
    labels = torch.where(alike, POSITIVE, NEGATIVE)
    return torch.where(alike & behind, unclear, labels)
