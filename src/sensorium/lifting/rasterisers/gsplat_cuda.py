"""The back end for CUDA through gsplat (Apache-2.0): its kernels, this room's conventions.

gsplat 1.5 caps alpha at 0.999 where this room caps it at 0.99: Gaussians of an opacity above 0.99 cover a little more
there, by at most 0.009 of the light that reaches them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from sensorium.core.errors import require
from sensorium.lifting.camera import Camera
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.harmonics import seen_colours
from sensorium.lifting.projection import EPS2D, project
from sensorium.lifting.rasterisers.base import (
    Background,
    RenderOut,
    background,
    check_device,
    check_wanted,
    nothing,
    try_two,
)


class GsplatRasteriser:
    """gsplat's kernels, which it compiles at first use unless its wheel holds them."""

    name: ClassVar[str] = "gsplat"
    device_types: ClassVar[frozenset[str]] = frozenset({"cuda"})
    differentiable: ClassVar[bool] = True
    has_depth: ClassVar[bool] = True

    @staticmethod
    def available() -> tuple[bool, str]:
        """Draw two Gaussians; on a machine without CUDA, say so before anything is compiled."""
        if not torch.cuda.is_available():
            return False, "there is no CUDA device"
        return try_two(GsplatRasteriser(), "cuda")

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
        check_device(self.name, cloud, self.device_types)
        if not len(cloud):
            return nothing(cloud, camera, bg, want)
        gsplat = require(
            "gsplat", extra="cuda", purpose="the rasteriser 'gsplat'", instead="use the rasteriser 'torch'"
        )
        rasterization: Callable[..., Any] = gsplat.rasterization
        device = cloud.means.device
        near = camera.near if near is None else near
        colours, alphas, details = rasterization(
            cloud.means,
            cloud.quats,
            cloud.scales,
            cloud.opacities,
            seen_colours(cloud, camera, sh_degree),
            torch.tensor(camera.view, dtype=torch.float32, device=device)[None],
            torch.tensor(camera.intrinsics, dtype=torch.float32, device=device)[None],
            camera.width,
            camera.height,
            near_plane=near,
            eps2d=eps2d,
            packed=False,
            render_mode="RGB+D" if "depth" in want else "RGB",
            rasterize_mode="antialiased" if antialias else "classic",
        )
        with torch.no_grad():  # its radii are extents of another definition
            projected = project(cloud.detach(), camera, near=near, eps2d=eps2d, antialias=antialias)
        alpha: Tensor = alphas[0, ..., 0]
        return RenderOut(
            rgb=colours[0, ..., :3] + (1 - alpha[..., None]) * background(bg, cloud),
            alpha=alpha,
            depth=colours[0, ..., 3] if "depth" in want else None,
            means2d=_centres(details["means2d"]),
            radii=projected.radii,
            visible=projected.visible,
            n_isect=len(details["flatten_ids"]),
        )


def _centres(batch: Tensor) -> Tensor:
    """Return the centres [N, 2] of a batch of one [1, N, 2], to whose `grad` that of the batch is passed on."""
    centres = batch[0].detach()

    def pass_on(gradient: Tensor) -> None:
        centres.grad = gradient[0] if centres.grad is None else centres.grad + gradient[0]

    if batch.requires_grad:
        centres.requires_grad_()
        batch.register_hook(pass_on)  # type: ignore[no-untyped-call]
    return centres
