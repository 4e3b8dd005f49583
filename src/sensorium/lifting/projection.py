"""Gaussians seen by a camera: 2-D means, conics and colours, in plain differentiable PyTorch.

The equations are those of EWA splatting (Zwicker et al., 2002) in the form of Kerbl et al. (2023). One thing is exact
here that other programs round: the box in which a Gaussian counts. Its opacity falls to 1/255, below which nothing is
drawn, where sigma = ln(255 o); the box of that ellipse is used, so that lists of tiles leave out nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.lifting.camera import Camera
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.harmonics import seen_colours

EPS2D = 0.3  # squared pixels added to both variances: no Gaussian falls between the pixels
LEAST_ALPHA = 1 / 255
_CLAMP = 1.3  # the Jacobian is taken within 1.3 times the field of view; beyond, its linearisation explodes
_BOX_MARGIN = 0.01  # pixels: rounding of the box never takes a pixel that the blend would count


@dataclass(frozen=True, eq=False)
class Projection:
    """N Gaussians in the picture, all rows of the cloud in its order. Culled rows hold finite numbers.

    Attributes:
        means: Centres (x, y) in pixels, [N, 2]; gathers a gradient where the cloud does.
        conics: (A, B, C) of sigma = (A dx^2 + C dy^2) / 2 + B dx dy, [N, 3], 1 / squared pixels.
        depths: Along the view axis, [N], world units.
        opacities: [N].
        colours: As seen from here, [N, 3].
        visible: Which ones can reach a pixel, bool [N].
        boxes: First and last column, first and last row of the pixels that each can reach, int32 [N, 4], both
            inclusive and inside the picture; empty (last < first) where not visible.
        radii: Three standard deviations along the longer axis, rounded up, int32 [N]; 0 where not visible. A statistic.
    """

    means: Tensor
    conics: Tensor
    depths: Tensor
    opacities: Tensor
    colours: Tensor
    visible: Tensor
    boxes: Tensor
    radii: Tensor


def project(
    cloud: GaussianCloud,
    camera: Camera,
    *,
    sh_degree: int = 0,
    near: float | None = None,
    eps2d: float = EPS2D,
    antialias: bool = False,
) -> Projection:
    """Project a cloud.

    Args:
        cloud: N Gaussians, of any floating-point type.
        camera: Who looks.
        sh_degree: Up to which degree spherical harmonics are used; what the cloud lacks is taken as 0.
        near: Gaussians at or below this depth are culled; None takes the camera's.
        eps2d: Squared pixels that are added to both variances.
        antialias: Dim each Gaussian by what `eps2d` widened it, so that one smaller than a pixel does not shine as one
            of a pixel's size.
    """
    view = torch.tensor(camera.view, dtype=cloud.means.dtype, device=cloud.means.device)
    turn = view[:3, :3]
    x, y, z = (cloud.means @ turn.T + view[:3, 3]).unbind(-1)
    in_front = z > (camera.near if near is None else near)
    depth = torch.where(in_front, z, 1.0)  # culled rows divide by 1, so that no infinity meets their zero gradient
    across, along = x / depth, y / depth
    focal, (centre_x, centre_y) = camera.focal, camera.centre
    means = torch.stack([focal * across + centre_x, focal * along + centre_y], -1)
    if means.requires_grad:
        means.retain_grad()

    spread = _footprints(cloud, turn, across, along, depth, camera)
    narrow_xx, xy, narrow_yy = (
        (spread[:, 0] ** 2).sum(-1),
        (spread[:, 0] * spread[:, 1]).sum(-1),
        (spread[:, 1] ** 2).sum(-1),
    )
    xx, yy = narrow_xx + eps2d, narrow_yy + eps2d
    determinant = xx * yy - xy * xy
    regular = in_front & (determinant > 0) & torch.isfinite(determinant)
    safe = torch.where(regular, determinant, 1.0)
    conics = torch.stack([yy, -xy, xx], -1) / safe.unsqueeze(-1)
    opacities = cloud.opacities
    if antialias:
        narrow = (narrow_xx * narrow_yy - xy * xy).clamp_min(0)
        opacities = opacities * torch.where(regular, narrow / safe, 0.0).clamp_min(1e-12).sqrt()

    with torch.no_grad():
        boxes = _boxes(means, xx, yy, opacities, regular, camera)
        visible = (boxes[:, 1] >= boxes[:, 0]) & (boxes[:, 3] >= boxes[:, 2])
        middle = (xx + yy) / 2
        longest = middle + (middle * middle - determinant).clamp_min(0.1).sqrt()
        radii = torch.where(visible, (3 * longest.sqrt()).ceil(), 0).to(torch.int32)
    return Projection(
        means, conics, depth, opacities, seen_colours(cloud, camera, sh_degree), visible, boxes, radii
    )  # fmt: skip


def _footprints(
    cloud: GaussianCloud, turn: Tensor, across: Tensor, along: Tensor, depth: Tensor, camera: Camera
) -> Tensor:
    """Return J W R S [N, 2, 3]: the axes of each Gaussian as they lie in the picture, pixels.

    Its product with its own transpose is the 2-D covariance before `eps2d`; taking it from this root keeps it positive.
    """
    tangent_x, tangent_y = camera.tangents
    clamped_x = across.clamp(-_CLAMP * tangent_x, _CLAMP * tangent_x)
    clamped_y = along.clamp(-_CLAMP * tangent_y, _CLAMP * tangent_y)
    scale = (camera.focal / depth).unsqueeze(-1)
    rows = torch.stack(
        [scale * (turn[0] - clamped_x.unsqueeze(-1) * turn[2]), scale * (turn[1] - clamped_y.unsqueeze(-1) * turn[2])],
        1,
    )
    return (rows @ cloud.rotations) * cloud.scales.unsqueeze(1)


def _boxes(means: Tensor, xx: Tensor, yy: Tensor, opacities: Tensor, regular: Tensor, camera: Camera) -> Tensor:
    """Return first and last column, first and last row, int32 [N, 4]; (0, -1, 0, -1) where nothing is reached."""
    reach = 2 * (opacities * 255).log()
    counts = regular & (reach >= 0) & torch.isfinite(means).all(-1)
    reach = torch.where(counts, reach, 0.0).sqrt()
    half = torch.stack([reach * xx.clamp_min(0).sqrt(), reach * yy.clamp_min(0).sqrt()], -1) + _BOX_MARGIN
    size = torch.tensor([camera.width, camera.height], dtype=means.dtype, device=means.device)
    # Clamped before the conversion: a footprint near the camera can be wider than any integer.
    first = torch.minimum((means - half - 0.5).ceil().clamp_min(0), size)
    last = torch.minimum((means + half - 0.5).floor().clamp_min(-1), size - 1)
    boxes = torch.stack([first[:, 0], last[:, 0], first[:, 1], last[:, 1]], -1)
    empty = torch.tensor([0.0, -1.0, 0.0, -1.0], dtype=means.dtype, device=means.device)
    counts = counts & (last >= first).all(-1)
    return torch.where(counts.unsqueeze(-1), boxes, empty).to(torch.int32)
