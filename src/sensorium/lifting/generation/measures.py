"""What can be measured of an asset: how well it shows the photo, and, where the truth is known, its other sides.

PSNR rewards blur: a grey mean beats a sharp picture that is slightly turned. So LPIPS and the overlap of outlines stand
beside it, always. Pictures lie on white and are cut to [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.core.errors import require
from sensorium.encoders.lpips import LPIPS
from sensorium.lifting.camera import Camera
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.guidance.base import Pose
from sensorium.lifting.guidance.oracle import BEHIND, Truth
from sensorium.lifting.meshrender import render_mesh
from sensorium.lifting.photo.cutout import on_background
from sensorium.lifting.rasterisers import BLACK, render
from sensorium.lifting.views import Asset, ring

LPIPS_SIDE = 128  # smaller pictures are enlarged to it
_AZIMUTHS, _ELEVATIONS = 8, (-20.0, 0.0, 20.0)

Drawer = Callable[[Pose, int], Tensor]  # a pose and a side to premultiplied RGBA [4, side, side] in [0, 1]


@dataclass(frozen=True)
class Likeness:
    """How alike two pictures are.

    Attributes:
        psnr: dB.
        ssim: At most 1.
        lpips: At least 0.
        iou: Overlap of the outlines over their union.
    """

    psnr: float
    ssim: float
    lpips: float
    iou: float

    def as_dict(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)


def drawer(asset: Asset) -> Drawer:
    """Return what draws an asset from a pose, on the CPU."""
    draw = camera_drawer(asset)
    return lambda pose, side: draw(pose.camera(side))


def camera_drawer(asset: Asset) -> Callable[[Camera], Tensor]:
    """Return what draws an asset from a camera, on the CPU: premultiplied RGBA [4, H, W] in [0, 1]."""
    if isinstance(asset, GaussianCloud):
        cloud = asset.detach()

        def splats(camera: Camera) -> Tensor:
            with torch.no_grad():
                out = render(cloud, camera, bg=BLACK)
            return torch.cat([out.rgb.movedim(-1, 0), out.alpha[None]]).clamp(0, 1).cpu()

        return splats
    mesh = asset

    def surface(camera: Camera) -> Tensor:
        with torch.no_grad():
            out = render_mesh(mesh, camera, background=BLACK)
        return torch.cat([out.rgb.movedim(-1, 0), out.alpha[None]]).clamp(0, 1)

    return surface


def likeness(found: Tensor, wanted: Tensor, lpips: LPIPS) -> Likeness:
    """Compare two premultiplied RGBA pictures [4, side, side] in [0, 1]."""
    metrics: Any = require("skimage.metrics", extra="lift", purpose="SSIM")
    one, other = on_background(found), on_background(wanted)
    error = (one.double() - other.double()).square().mean().item()
    ssim = metrics.structural_similarity(
        one.movedim(0, -1).numpy(),
        other.movedim(0, -1).numpy(),
        channel_axis=2,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    inside, wished = found[3] > 0.5, wanted[3] > 0.5
    union = int((inside | wished).sum())
    return Likeness(
        psnr=-10 * math.log10(max(error, 1e-12)),
        ssim=float(ssim),
        lpips=perceptual_distance(one[None], other[None], lpips).item(),
        iou=int((inside & wished).sum()) / union if union else 1.0,
    )


def perceptual_distance(first: Tensor, second: Tensor, lpips: LPIPS) -> Tensor:
    """Return LPIPS of pictures [B, 3, s, s] in [0, 1], at 128 pixels or more, [B]."""
    side = max(first.shape[-1], LPIPS_SIDE)
    pair = [
        torch.nn.functional.interpolate(value, (side, side), mode="bilinear", align_corners=False)
        if value.shape[-1] < side
        else value
        for value in (first, second)
    ]
    with torch.no_grad():
        found: Tensor = lpips(2 * pair[0] - 1, 2 * pair[1] - 1)
    return found


def reference_likeness(draw: Drawer, reference: Tensor, elevation: float, lpips: LPIPS) -> Likeness:
    """Compare an asset with the photo [4, side, side] from its camera."""
    return likeness(draw(Pose(elevation, 0.0), reference.shape[-1]), reference.cpu(), lpips)


@dataclass(frozen=True)
class NovelMeasures:
    """Likeness to the truth from other sides.

    Attributes:
        mean: Over all of them.
        behind_psnr: Mean PSNR over those more than 90 degrees away from the photo, dB; None where there are none.
        janus: Mean over those of LPIPS to the truth minus LPIPS to the photo: positive where a side looks more like the
            front than like itself; None where there are none.
        views: How many there are.
    """

    mean: Likeness
    behind_psnr: float | None
    janus: float | None
    views: int

    def as_dict(self) -> dict[str, float | None]:
        """Return the numbers by name."""
        return {**self.mean.as_dict(), "behind_psnr": self.behind_psnr, "janus": self.janus, "views": self.views}


def measured_poses(
    elevations: Sequence[float] = _ELEVATIONS, azimuths: int = _AZIMUTHS, *, front: Pose | None = None
) -> list[Pose]:
    """Return the poses that are measured: a ring at each elevation, without the photo's own."""
    poses = [Pose(elevation, azimuth) for elevation in elevations for azimuth in ring(azimuths)]
    return [pose for pose in poses if front is None or pose.angle_to(front) > 1]


def against_truth(
    draw: Drawer, truth: Truth, elevation: float, lpips: LPIPS, *, side: int = 64, poses: Sequence[Pose] | None = None
) -> NovelMeasures:
    """Compare an asset with the truth from other sides.

    Args:
        draw: The asset.
        truth: Of the object.
        elevation: Of the photo's camera, degrees.
        lpips: The perceptual distance.
        side: Pixels along the pictures.
        poses: Where from; None takes 8 azimuths at elevations -20, 0 and 20, without the photo's own.
    """
    front = Pose(elevation, 0.0)
    poses = measured_poses(front=front) if poses is None else poses
    photo = on_background(truth(front, side))[None]
    found, behind, janus = [], [], []
    for pose in poses:
        picture, wanted = draw(pose, side), truth(pose, side)
        found.append(likeness(picture, wanted, lpips))
        if pose.angle_to(front) > BEHIND:
            behind.append(found[-1].psnr)
            janus.append(found[-1].lpips - perceptual_distance(on_background(picture)[None], photo, lpips).item())
    means = {name: float(np.mean([value.as_dict()[name] for value in found])) for name in found[0].as_dict()}
    behind_psnr, janus_index = (float(np.mean(values)) if values else None for values in (behind, janus))
    return NovelMeasures(Likeness(**means), behind_psnr, janus_index, len(found))
