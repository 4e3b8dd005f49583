"""The back end for CPUs: projection in PyTorch, the blend and its gradient in compiled kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from sensorium.core.errors import ConfigError
from sensorium.lifting.camera import Camera
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.projection import EPS2D, Projection, project
from sensorium.lifting.rasterisers.base import Background, RenderOut, background, check_device, check_wanted, try_two


class NumbaRasteriser:
    """Compiled tiles on a CPU, float32, bit for bit the same in every run."""

    name: ClassVar[str] = "numba"
    device_types: ClassVar[frozenset[str]] = frozenset({"cpu"})
    differentiable: ClassVar[bool] = True
    has_depth: ClassVar[bool] = True

    @staticmethod
    def available() -> tuple[bool, str]:
        """Draw two Gaussians: the first time on a machine this compiles."""
        return try_two(NumbaRasteriser(), "cpu")

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
            ConfigError: The cloud is not float32.
        """
        check_wanted(self.name, want, has_depth=True)
        check_device(self.name, cloud, self.device_types)
        if cloud.means.dtype != torch.float32:
            raise ConfigError(f"the rasteriser 'numba' draws float32, not {cloud.means.dtype}: use 'torch' for others")
        projected = project(cloud, camera, sh_degree=sh_degree, near=near, eps2d=eps2d, antialias=antialias)
        with torch.no_grad():
            order = torch.argsort(projected.depths, stable=True)
            order = order[projected.visible[order]]
        lists = _Lists(projected, order, camera)
        blend: Callable[..., Tensor] = _Blend.apply
        picture = blend(
            projected.means, projected.conics, projected.depths, projected.opacities, projected.colours, lists
        )
        colour, depth, alpha = picture[..., :3], picture[..., 3], picture[..., 4:]
        return RenderOut(
            rgb=colour + (1 - alpha) * background(bg, cloud),
            alpha=alpha[..., 0],
            depth=depth if "depth" in want else None,
            means2d=projected.means,
            radii=projected.radii,
            visible=projected.visible,
            n_isect=len(lists.ranks),
        )


class _Lists:
    """Which Gaussians each tile draws; see `numba_kernels.list_tiles`."""

    def __init__(self, projected: Projection, order: Tensor, camera: Camera) -> None:
        from sensorium.lifting.rasterisers import compiling  # only here is numba needed
        from sensorium.lifting.rasterisers import numba_kernels as kernels

        self.kernels, self.in_portions = kernels, compiling.in_portions
        self.height, self.width = camera.height, camera.width
        self.columns = -(-camera.width // kernels.SIDE)
        self.tiles = self.columns * -(-camera.height // kernels.SIDE)
        self.order = order.numpy()
        boxes = projected.boxes.numpy()
        read = (projected.means, projected.conics, projected.depths, projected.opacities, projected.colours)
        self.packed = kernels.pack(self.order, *(value.detach().contiguous().numpy() for value in read))
        self.starts = kernels.count_tiles(self.order, boxes, self.packed)
        self.tile_starts, self.ranks, self.places, self.spans = kernels.list_tiles(
            self.order, boxes, self.packed, self.starts, self.columns, self.tiles
        )


class _Blend(torch.autograd.Function):
    """The picture [H, W, 5] (colour, depth, alpha) of what was projected."""

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, conics: Tensor, depths: Tensor, opacities: Tensor, colours: Tensor, lists: _Lists
    ) -> Tensor:
        picture = torch.empty(lists.height, lists.width, 5)
        lights, lasts = torch.empty(lists.tiles, lists.kernels.PIXELS), torch.empty(lists.tiles, lists.kernels.PIXELS)
        lists.in_portions(
            lists.kernels.blend,
            lists.tiles,
            lists.tile_starts,
            lists.ranks,
            lists.spans,
            lists.packed,
            lists.columns,
            picture.numpy(),
            lights.numpy(),
            lasts.numpy(),
        )
        ctx.lists, ctx.count = lists, len(means)
        ctx.save_for_backward(lights, lasts)
        return picture

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        lists, (lights, lasts), count = ctx.lists, ctx.saved_tensors, ctx.count
        entries = torch.empty(len(lists.ranks), lists.kernels.GRADIENTS)
        lists.in_portions(
            lists.kernels.blend_backward,
            lists.tiles,
            lists.tile_starts,
            lists.ranks,
            lists.places,
            lists.spans,
            lists.packed,
            lists.columns,
            lights.numpy(),
            lasts.numpy(),
            upstream[0].contiguous().numpy(),
            entries.numpy(),
        )
        found = [torch.zeros(count, 2), torch.zeros(count, 3), torch.zeros(count), torch.zeros(count)]
        found.append(torch.zeros(count, 3))
        lists.kernels.gather(
            lists.order, lists.starts, lists.packed, entries.numpy(), *(value.numpy() for value in found)
        )
        return (*found, None)
