"""Clouds of Gaussians: an object as points with a shape, an opacity and a colour (Kerbl et al., 3D Gaussian splatting
for real-time radiance field rendering, 2023).

What is stored is what an optimiser moves: logarithms of scales, logits of opacities, quaternions of any length,
coefficients of spherical harmonics. The properties `scales`, `opacities` and `colours` are what they stand for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.core.seeds import numpy_generator

SH_C0 = 0.28209479177387814  # the constant spherical harmonic, 1 / (2 sqrt(pi))
HARMONICS = (3, 8, 15)  # coefficients of `sh_rest` for degree 1, 2 and 3
START_OPACITY = 0.1
_SMALLEST_SPREAD = 1e-7  # squared world units: neighbours in one place still give a scale
_SHAPES = {"means": (3,), "log_scales": (3,), "quats": (4,), "opacity_logit": (), "sh_dc": (3,)}


@dataclass(frozen=True, eq=False)
class GaussianCloud:
    """N Gaussians, one row each. All tensors share one device and one floating-point type: float32, but for tests.

    Attributes:
        means: Centres, [N, 3], world units.
        log_scales: Natural logarithms of the standard deviations along the own axes, [N, 3].
        quats: Rotations as quaternions (w, x, y, z), [N, 4]; brought to length 1 where they are used.
        opacity_logit: Logits of the opacities, [N].
        sh_dc: Colour: rgb = max(0.5 + SH_C0 sh_dc, 0), [N, 3].
        sh_rest: Coefficients of higher spherical harmonics, [N, K, 3] with K = 3, 8 or 15 (degree 1, 2 or 3); None for
            a colour that is the same from all sides.

    Raises:
        DataError: A tensor's shape, type or device does not fit the others'.
    """

    means: Tensor
    log_scales: Tensor
    quats: Tensor
    opacity_logit: Tensor
    sh_dc: Tensor
    sh_rest: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.means)
        for name, shape in _SHAPES.items():
            value: Tensor = getattr(self, name)
            if tuple(value.shape) != (count, *shape):
                raise DataError(
                    f"a cloud of {count} Gaussians has {name} of shape {[count, *shape]}, not {[*value.shape]}"
                )
            if value.dtype != self.means.dtype or value.device != self.means.device or not value.is_floating_point():
                raise DataError(
                    f"{name} is {value.dtype} on {value.device}, means are {self.means.dtype} on {self.means.device}"
                )
        rest = self.sh_rest
        if rest is not None and (
            rest.ndim != 3 or len(rest) != count or rest.shape[1] not in HARMONICS or rest.shape[2] != 3
        ):
            raise DataError(f"sh_rest has shape [{count}, K, 3] with K = 3, 8 or 15, not {[*rest.shape]}")

    def __len__(self) -> int:
        return len(self.means)

    # --- what the numbers stand for ---------------------------------------------------------------------------------

    @property
    def scales(self) -> Tensor:
        """Standard deviations along the own axes, [N, 3], world units."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Tensor:
        """Opacities at the centres, [N], within (0, 1)."""
        return self.opacity_logit.sigmoid()

    @property
    def rotations(self) -> Tensor:
        """Rotation matrices from own axes to the world, [N, 3, 3]."""
        return rotation_matrices(self.quats)

    @property
    def colours(self) -> Tensor:
        """Colours without what depends on the side they are seen from, [N, 3], at least 0."""
        return (0.5 + SH_C0 * self.sh_dc).clamp_min(0)

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics that are stored, 0 to 3."""
        return 0 if self.sh_rest is None else math.isqrt(self.sh_rest.shape[1] + 1) - 1

    # --- the cloud as its tensors -----------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Return what is stored, by attribute; `sh_rest` only where there is one."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if value is not None}

    def map(self, change: Callable[[Tensor], Tensor]) -> GaussianCloud:
        """Return the cloud with each tensor changed by a function that keeps rows rows."""
        return GaussianCloud(**{name: change(value) for name, value in self.tensors().items()})

    def __getitem__(self, rows: Tensor | slice) -> GaussianCloud:
        """Return the Gaussians of a mask, of indices or of a slice."""
        return self.map(lambda value: value[rows])

    def to(self, target: torch.device | str | torch.dtype) -> GaussianCloud:
        """Return the cloud on another device or in another floating-point type."""
        return self.map(lambda value: value.to(target))

    def detach(self) -> GaussianCloud:
        """Return the cloud cut from the graph that computed it; the numbers are shared."""
        return self.map(Tensor.detach)

    def leaves(self) -> GaussianCloud:
        """Return a copy whose tensors are leaves that gather gradients."""
        return self.map(lambda value: value.detach().clone().requires_grad_())


def concatenate(first: GaussianCloud, second: GaussianCloud) -> GaussianCloud:
    """Return the Gaussians of both, the first's first.

    Raises:
        DataError: One has spherical harmonics of a degree that the other lacks.
    """
    if first.sh_degree != second.sh_degree:
        raise DataError(f"clouds of degree {first.sh_degree} and {second.sh_degree} cannot be joined")
    others = second.tensors()
    return GaussianCloud(**{name: torch.cat([value, others[name]]) for name, value in first.tensors().items()})


def from_tensors(tensors: Mapping[str, Tensor], *, prefix: str = "") -> GaussianCloud:
    """Return the cloud of stored tensors, such as those of a checkpoint.

    Raises:
        DataError: An attribute is missing.
    """
    names: dict[str, Any] = {name: tensors.get(f"{prefix}{name}") for name in (*_SHAPES, "sh_rest")}
    if missing := [name for name in _SHAPES if names[name] is None]:
        raise DataError(f"no cloud without {', '.join(missing)}")
    return GaussianCloud(**names)


def rotation_matrices(quats: Tensor) -> Tensor:
    """Return the rotation matrices [N, 3, 3] of quaternions (w, x, y, z) of any length, [N, 4]."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1, eps=1e-12).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)


# --- clouds to begin with -------------------------------------------------------------------------------------------


def ball(count: int, *, seed: int, radius: float = 0.5) -> GaussianCloud:
    """Return grey Gaussians spread evenly in a ball around the origin: where an optimisation begins that knows nothing.

    Args:
        count: How many.
        seed: Of the draw.
        radius: Of the ball, world units.
    """
    draw = numpy_generator(seed, "gaussians in a ball")
    turn = draw.uniform(0, 2 * math.pi, count)
    height = draw.uniform(-1, 1, count)
    distance = radius * np.cbrt(draw.uniform(0, 1, count))
    across = np.sqrt(1 - height**2)
    points = distance[:, None] * np.stack([across * np.cos(turn), across * np.sin(turn), height], 1)
    return from_points(points.astype(np.float32))


def from_points(
    points: npt.NDArray[np.floating[Any]],
    colours: npt.NDArray[np.floating[Any]] | None = None,
    *,
    opacity: float = START_OPACITY,
) -> GaussianCloud:
    """Return round Gaussians at given points, each as wide as its three nearest neighbours are away.

    Args:
        points: [N, 3], world units.
        colours: [N, 3] in [0, 1]; None is grey.
        opacity: Of all of them, within (0, 1).

    Returns:
        float32, on the CPU.
    """
    count = len(points)
    log_scales = torch.from_numpy(np.log(_neighbour_distance(points))).float()
    shade = np.full((count, 3), 0.5) if colours is None else np.asarray(colours)
    return GaussianCloud(
        means=torch.from_numpy(np.array(points, dtype=np.float32)),
        log_scales=log_scales[:, None].repeat(1, 3),
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        opacity_logit=torch.full((count,), math.log(opacity / (1 - opacity))),
        sh_dc=torch.from_numpy(((shade - 0.5) / SH_C0).astype(np.float32)),
    )


def _neighbour_distance(points: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Root of the mean squared distance to the three nearest neighbours, [N]; with fewer, to those that there are."""
    count = len(points)
    if count < 2:
        return np.full(count, math.sqrt(_SMALLEST_SPREAD))
    found = np.asarray(cKDTree(points).query(points, k=min(4, count))[0], dtype=np.float64)
    spread: npt.NDArray[np.float64] = np.sqrt(np.mean(found[:, 1:] ** 2, axis=1).clip(_SMALLEST_SPREAD))
    return spread
