"""What the model is told about a camera: a ray through every pixel, and a few sines of its angles.

Cameras are those of `lifting.camera.orbit` around the origin. The world turns so that the reference camera stands at
azimuth 0: an azimuth here is always the difference to it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sensorium.lifting.camera import FOVY, RADIUS

RAYS = 6
ANGLES = 8


def plucker(elevation: Tensor, azimuth: Tensor, side: int) -> Tensor:
    """Return the rays of cameras as Plücker coordinates: the direction d, of length one, and o x d for the place o.

    Args:
        elevation: Degrees [B], negative above the object.
        azimuth: Degrees [B], relative to the reference camera.
        side: Pixels along a picture.

    Returns:
        float32 [B, 6, side, side].
    """
    rise, turn = torch.deg2rad(elevation.float()), torch.deg2rad(azimuth.float())
    zero = torch.zeros_like(rise)
    backward = torch.stack([rise.cos() * turn.sin(), -rise.sin(), rise.cos() * turn.cos()], -1)
    right = torch.stack([turn.cos(), zero, -turn.sin()], -1)
    up = torch.linalg.cross(backward, right)
    reach = math.tan(math.radians(FOVY) / 2)
    grid = ((torch.arange(side, device=rise.device) + 0.5) * 2 / side - 1) * reach
    ray = (
        right[:, None, None] * grid[None, None, :, None]
        - up[:, None, None] * grid[None, :, None, None]
        - backward[:, None, None]
    )
    ray = torch.nn.functional.normalize(ray, dim=-1)  # [B, side, side, 3]
    moment = torch.linalg.cross((RADIUS * backward)[:, None, None].expand_as(ray), ray)
    return torch.cat([ray, moment], -1).permute(0, 3, 1, 2)


def angles(reference_elevation: Tensor, elevation: Tensor, azimuth: Tensor) -> Tensor:
    """Return sines and cosines of both elevations, the azimuth and its double: degrees [B] to float32 [B, 8]."""
    values = torch.deg2rad(torch.stack([reference_elevation, elevation, azimuth, 2 * azimuth], -1).float())
    return torch.stack([values.sin(), values.cos()], -1).flatten(1)
