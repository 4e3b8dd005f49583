"""The reference: the blend written in plain PyTorch, with its gradient by autograd, in any floating-point type.

Small pictures are drawn by brute force, every Gaussian at every pixel. Above `BRUTE_FORCE` pairs the picture is cut
into tiles, and each tile takes the Gaussians whose exact boxes meet it: the result is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from sensorium.lifting.camera import Camera
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.projection import EPS2D, LEAST_ALPHA, Projection, project
from sensorium.lifting.rasterisers.base import (
    LEAST_LIGHT,
    MOST_ALPHA,
    Background,
    RenderOut,
    background,
    check_wanted,
    try_two,
)

BRUTE_FORCE = 200_000  # pairs of pixel and Gaussian; from about there on tiles are faster
TILE = 16


class TorchRasteriser:
    """Plain PyTorch, on any device.

    Args:
        tiled: Whether to cut pictures into tiles; None decides by their size.
    """

    name: ClassVar[str] = "torch"
    device_types: ClassVar[frozenset[str]] = frozenset({"cpu", "cuda"})
    differentiable: ClassVar[bool] = True
    has_depth: ClassVar[bool] = True

    def __init__(self, tiled: bool | None = None) -> None:
        self.tiled = tiled

    @staticmethod
    def available() -> tuple[bool, str]:
        """Draw two Gaussians."""
        return try_two(TorchRasteriser(), "cpu")

    def render(
        self,
        cloud: GaussianCloud,
        camera: Camera,
        *,
        bg: Background,
        sh_degree: int = 0,
        near: float | None = None,
        eps2d: float = EPS2D,
        antialias: bool = False,
        want: Sequence[str] = ("rgb", "alpha"),
    ) -> RenderOut:
        """Draw a cloud; see `RasterBackend.render`."""
        check_wanted(self.name, want, has_depth=True)
        projected = project(cloud, camera, sh_degree=sh_degree, near=near, eps2d=eps2d, antialias=antialias)
        order = torch.argsort(projected.depths, stable=True)
        order = order[projected.visible[order]]
        tiled = self.tiled
        if tiled is None:
            tiled = len(order) * camera.height * camera.width > BRUTE_FORCE
        if tiled:
            picture, entries = _tiled(projected, order, camera)
        else:
            picture, entries = _blend(projected, order, 0, camera.height, 0, camera.width), 0
        alpha = picture[..., 4]
        return RenderOut(
            rgb=picture[..., :3] + (1 - picture[..., 4:]) * background(bg, cloud),
            alpha=alpha,
            depth=picture[..., 3] if "depth" in want else None,
            means2d=projected.means,
            radii=projected.radii,
            visible=projected.visible,
            n_isect=entries,
        )


def _tiled(projected: Projection, order: Tensor, camera: Camera) -> tuple[Tensor, int]:
    """Draw tile by tile; return the picture [H, W, 5] and the number of pairs of Gaussian and tile."""
    first_column, last_column, first_row, last_row = projected.boxes[order].unbind(-1)
    rows, entries = [], 0
    for top in range(0, camera.height, TILE):
        bottom = min(top + TILE, camera.height)
        in_rows = (first_row < bottom) & (last_row >= top)
        row = []
        for left in range(0, camera.width, TILE):
            right = min(left + TILE, camera.width)
            chosen = order[in_rows & (first_column < right) & (last_column >= left)]
            entries += len(chosen)
            row.append(_blend(projected, chosen, top, bottom, left, right))
        rows.append(torch.cat(row, 1))
    return torch.cat(rows), entries


def _blend(projected: Projection, order: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    """Blend Gaussians, nearest first, over a rectangle of pixels: colour, depth and coverage, [h, w, 5]."""
    means = projected.means[order]
    dx = means[:, :1] - (_whole(left, right, means) + 0.5)  # [n, w]
    dy = means[:, 1:] - (_whole(top, bottom, means) + 0.5)  # [n, h]
    a, b, c = (part[:, None, None] for part in projected.conics[order].unbind(-1))
    dx, dy = dx[:, None, :], dy[:, :, None]
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy  # [n, h, w]
    alpha = (projected.opacities[order][:, None, None] * torch.exp(-sigma)).clamp_max(MOST_ALPHA)
    alpha = torch.where((sigma >= 0) & (alpha >= LEAST_ALPHA), alpha, 0.0)
    after = torch.cumprod(1 - alpha, 0)
    before = torch.cat([torch.ones_like(after[:1]), after])[:-1]
    # The light falls with every Gaussian, so "stopped before this one" is a property of the light after it.
    weight = torch.where(after >= LEAST_LIGHT, alpha * before, 0.0)
    values = torch.cat([projected.colours[order], projected.depths[order][:, None], torch.ones_like(means[:, :1])], 1)
    return torch.einsum("nhw,nc->hwc", weight, values)


def _whole(first: int, end: int, like: Tensor) -> Tensor:
    return torch.arange(first, end, dtype=like.dtype, device=like.device)
