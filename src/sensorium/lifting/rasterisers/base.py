"""What a rasteriser is: one protocol, four back ends behind it, and anybody's own.

A back end registers at the entry point `sensorium.rasterisers` and passes
`sensorium.testing.rasterisers.check_rasteriser`. All of them blend alike, exactly as follows. For each pixel p,
Gaussians in order of depth, equal depths in order of index, with d = mean - p:

    sigma = (A dx^2 + C dy^2) / 2 + B dx dy          skipped where sigma < 0
    alpha = min(0.99, o exp(-sigma))                 skipped where alpha < 1/255
    stop before this one where T (1 - alpha) < 1e-4  (T, the light that is left, begins at 1)
    rgb += colour alpha T;  depth += z alpha T;  T *= 1 - alpha

and at the end rgb += T background, alpha = 1 - T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from sensorium.core.errors import ConfigError, DataError
from sensorium.lifting.camera import Camera, orbit
from sensorium.lifting.cloud import GaussianCloud

GROUP = "sensorium.rasterisers"
MOST_ALPHA = 0.99
LEAST_LIGHT = 1e-4
BLACK = (0.0, 0.0, 0.0)
WHITE = (1.0, 1.0, 1.0)

Background = Tensor | Sequence[float]


@dataclass(frozen=True, eq=False)
class RenderOut:
    """One picture of a cloud of N Gaussians; all but the last three fields follow the cloud's floating-point type.

    Attributes:
        rgb: [H, W, 3], with the background; not limited to 1.
        alpha: How much of the background is covered, [H, W], within [0, 1].
        depth: Sum of z alpha T, [H, W], world units, not divided by alpha; None unless wanted.
        means2d: Centres in pixels, [N, 2]; after `backward` its `grad` is in pixels too.
        radii: Three standard deviations in pixels, int32 [N]; 0 where nothing is drawn.
        visible: Which Gaussians can reach a pixel, bool [N].
        n_isect: Pairs of Gaussian and tile that were walked; 0 for a back end without tiles.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor | None
    means2d: Tensor
    radii: Tensor
    visible: Tensor
    n_isect: int


class RasterBackend(Protocol):
    """Draws clouds.

    Attributes:
        name: As registered.
        device_types: "cpu", "cuda": where it can draw.
        differentiable: Whether gradients reach the cloud.
        has_depth: Whether it gives depth.
    """

    name: ClassVar[str]
    device_types: ClassVar[frozenset[str]]
    differentiable: ClassVar[bool]
    has_depth: ClassVar[bool]

    @staticmethod
    def available() -> tuple[bool, str]:
        """Say whether it works here, and why not. It must have drawn something to say yes: a package that can be
        imported proves nothing."""
        ...

    def render(
        self,
        cloud: GaussianCloud,
        camera: Camera,
        *,
        bg: Background,
        sh_degree: int = 0,
        near: float | None = None,
        eps2d: float = 0.3,
        antialias: bool = False,
        want: Sequence[str] = ("rgb", "alpha"),
    ) -> RenderOut:
        """Draw a cloud.

        Args:
            cloud: N >= 0 Gaussians on a device of `device_types`.
            camera: Who looks.
            bg: Background colour, [3]; a tensor may gather a gradient.
            sh_degree: Degree of spherical harmonics that is used.
            near: Depth at or below which nothing is drawn; None takes the camera's.
            eps2d: Squared pixels that are added to both variances.
            antialias: Dim what `eps2d` widened.
            want: Of "rgb", "alpha" and "depth"; depth is None unless named.
        """
        ...


def background(bg: Background, cloud: GaussianCloud) -> Tensor:
    """Return a background colour as a tensor like the cloud's, [3].

    Raises:
        ConfigError: It is no colour.
    """
    colour = bg if isinstance(bg, Tensor) else torch.tensor(list(bg), dtype=cloud.means.dtype)
    if tuple(colour.shape) != (3,):
        raise ConfigError(f"a background is a colour of three numbers, not of shape {[*colour.shape]}")
    return colour.to(device=cloud.means.device, dtype=cloud.means.dtype)


def check_wanted(name: str, want: Sequence[str], *, has_depth: bool) -> None:
    """Refuse what a back end cannot give.

    Raises:
        ConfigError: An unknown output, or depth of a back end that has none.
    """
    if unknown := [output for output in want if output not in ("rgb", "alpha", "depth")]:
        raise ConfigError(f"want: '{unknown[0]}' is no output of a rasteriser (known: rgb, alpha, depth)")
    if "depth" in want and not has_depth:
        raise ConfigError(f"the rasteriser '{name}' gives no depth: leave it out of want, or choose another back end")


def check_device(name: str, cloud: GaussianCloud, device_types: frozenset[str]) -> None:
    """Refuse a cloud on a device that a back end cannot draw on.

    Raises:
        DataError: The cloud lies elsewhere.
    """
    if cloud.means.device.type not in device_types:
        raise DataError(
            f"the rasteriser '{name}' draws on {', '.join(sorted(device_types))}, the cloud lies on "
            f"{cloud.means.device.type}: move it with cloud.to(...) or choose another back end"
        )


def nothing(cloud: GaussianCloud, camera: Camera, bg: Background, want: Sequence[str]) -> RenderOut:
    """Return the picture of a cloud without Gaussians, for back ends that cannot draw one."""
    alpha = cloud.means.new_zeros(camera.height, camera.width)
    return RenderOut(
        rgb=background(bg, cloud).expand(camera.height, camera.width, 3),
        alpha=alpha,
        depth=torch.zeros_like(alpha) if "depth" in want else None,
        means2d=cloud.means.new_zeros(0, 2),
        radii=torch.zeros(0, dtype=torch.int32, device=alpha.device),
        visible=torch.zeros(0, dtype=torch.bool, device=alpha.device),
        n_isect=0,
    )


def try_two(backend: RasterBackend, device: str) -> tuple[bool, str]:
    """Draw two Gaussians and their gradient: the proof that `available` asks for. Never raises."""
    try:
        cloud = GaussianCloud(
            means=torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.1, 0.1]]),
            log_scales=torch.full((2, 3), -2.0),
            quats=torch.tensor([[1.0, 0, 0, 0], [1.0, 0, 0, 0]]),
            opacity_logit=torch.zeros(2),
            sh_dc=torch.ones(2, 3),
        )
        leaves = cloud.to(device).leaves()
        out = backend.render(leaves, orbit(0, 0, height=16, width=16), bg=BLACK)
        centre = out.alpha[8, 8].item()
        if not 0.4 < centre < 1:
            return False, f"it draws, but wrongly: the middle of two Gaussians has alpha {centre:.3g}"
        if backend.differentiable:
            (gradient,) = torch.autograd.grad(out.rgb.sum(), leaves.means)
            if not bool(gradient.isfinite().all()):
                return False, "it draws, but gives no finite gradient"
    except Exception as error:  # noqa: BLE001 - compilers, drivers and foreign kernels fail in any way; the reason is passed on
        return False, " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return True, ""
