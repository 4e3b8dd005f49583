"""The back end for CUDA through gswarp (Apache-2.0), whose kernels NVIDIA Warp compiles in the process: no nvcc.

It knows one `eps2d` and one near depth, and draws a Gaussian within three standard deviations only, which leaves out up
to 0.011 of alpha at the rim of opaque ones (opacities up to 0.35 lose nothing).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from sensorium.core.errors import ConfigError, require
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

_NEAR = 0.2  # compiled into its kernels, as EPS2D is


class GswarpRasteriser:
    """gswarp's kernels, compiled at first use in seconds."""

    name: ClassVar[str] = "gswarp"
    device_types: ClassVar[frozenset[str]] = frozenset({"cuda"})
    differentiable: ClassVar[bool] = True
    has_depth: ClassVar[bool] = True

    @staticmethod
    def available() -> tuple[bool, str]:
        """Draw two Gaussians; on a machine without CUDA, say so before anything is compiled."""
        if not torch.cuda.is_available():
            return False, "there is no CUDA device"
        return try_two(GswarpRasteriser(), "cuda")

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
        """Draw a cloud; see `RasterBackend.render`.

        Raises:
            ConfigError: `near`, `eps2d` or `antialias` other than it knows.
        """
        check_wanted(self.name, want, has_depth=True)
        check_device(self.name, cloud, self.device_types)
        if (camera.near if near is None else near) != _NEAR or eps2d != EPS2D or antialias:
            raise ConfigError(
                f"the rasteriser 'gswarp' draws with near {_NEAR}, eps2d {EPS2D} and without antialias only: choose "
                "another back end"
            )
        if not len(cloud):
            return nothing(cloud, camera, bg, want)
        gswarp = require(
            "gswarp", extra="cuda", purpose="the rasteriser 'gswarp'", instead="use the rasteriser 'torch'"
        )
        with torch.no_grad():
            projected = project(cloud.detach(), camera)
        # It takes no account of the values of its `means2D`, and gives their gradient in units of half the picture:
        # these factors make it pixels.
        means2d = projected.means.requires_grad_()
        scale = torch.tensor([2 / camera.width, 2 / camera.height], device=means2d.device)
        colour, _, details = gswarp.GaussianRasterizer(_settings(gswarp, camera, cloud.means.device))(
            means3D=cloud.means,
            means2D=torch.nn.functional.pad(means2d * scale, (0, 1)),
            opacities=cloud.opacities[:, None],
            colors_precomp=seen_colours(cloud, camera, sh_degree),
            scales=cloud.scales,
            rotations=torch.nn.functional.normalize(cloud.quats, dim=-1, eps=1e-12),
        )
        alpha: Tensor = details.alpha[0]
        return RenderOut(
            rgb=colour.permute(1, 2, 0) + (1 - alpha[..., None]) * background(bg, cloud),
            alpha=alpha,
            depth=details.depth[0] if "depth" in want else None,
            means2d=means2d,
            radii=projected.radii,
            visible=projected.visible,
            n_isect=0,
        )


def _settings(gswarp: Any, camera: Camera, device: torch.device) -> Any:
    """Return the camera in the form of the first CUDA rasteriser: transposed matrices, black ground."""
    view = torch.tensor(camera.view, dtype=torch.float64)
    tangent_x, tangent_y = camera.tangents
    near, far = camera.near, camera.far
    lens = torch.tensor(
        [
            [1 / tangent_x, 0, 0, 0],
            [0, 1 / tangent_y, 0, 0],
            [0, 0, far / (far - near), -far * near / (far - near)],
            [0, 0, 1, 0],
        ],
        dtype=torch.float64,
    )
    return gswarp.GaussianRasterizationSettings(
        image_height=camera.height,
        image_width=camera.width,
        tanfovx=tangent_x,
        tanfovy=tangent_y,
        bg=torch.zeros(3, device=device),
        scale_modifier=1.0,
        viewmatrix=view.T.contiguous().to(device, torch.float32),
        projmatrix=(lens @ view).T.contiguous().to(device, torch.float32),
        sh_degree=0,
        campos=torch.tensor(camera.position, dtype=torch.float32, device=device),
        prefiltered=False,
        auto_tune_verbose=False,
    )
