"""How to look at an object of any size: a frame around it, cameras on a sphere, and pictures of clouds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.lifting.camera import FOVY, Camera, orbit
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.mesh import Mesh, TexturedMesh
from sensorium.lifting.rasterisers import BLACK, render

Asset = GaussianCloud | TexturedMesh

VISIBLE = 0.05  # opacity from which a Gaussian counts for the frame
STRAYS = 0.005  # share of Gaussians that may lie outside on either side of an axis
SLACK = 1.1  # between the object's sphere and the picture's edge


@dataclass(frozen=True)
class Frame:
    """A sphere around an object.

    Attributes:
        target: Its middle, world units.
        radius: World units.
    """

    target: tuple[float, float, float]
    radius: float

    def camera(self, elevation: float, azimuth: float, *, size: int) -> Camera:
        """Return a camera that sees the whole sphere.

        Args:
            elevation: Degrees; negative is above.
            azimuth: Degrees, from +z to +x.
            size: Pixels along both sides.
        """
        distance = SLACK * self.radius / math.sin(math.radians(FOVY) / 2)
        return orbit(
            elevation,
            azimuth,
            distance,
            target=self.target,
            height=size,
            width=size,
            near=distance / 10,
            far=distance * 10,
        )


def frame(asset: Asset | Mesh) -> Frame:
    """Return the frame of a mesh, or of what is visible of a cloud without its strays.

    Raises:
        DataError: There is nothing to look at.
    """
    if isinstance(asset, GaussianCloud):
        cloud = asset.detach().to("cpu")
        chosen = cloud.opacities > VISIBLE
        cloud = cloud[chosen] if bool(chosen.any()) else cloud
        if not len(cloud):
            raise DataError("an empty cloud: there is nothing to look at")
        points = cloud.means.double().numpy()
        width = float(np.median(cloud.scales.numpy().max(1)))
        inside = _without_strays(points)
    else:
        if not len(asset.f):
            raise DataError("a mesh without faces: there is nothing to look at")
        points, width = asset.v[np.unique(asset.f)].astype(np.float64), 0.0
        inside = np.ones(len(points), dtype=bool)
    lowest, highest = points[inside].min(0), points[inside].max(0)
    target = (lowest + highest) / 2
    radius = float(np.linalg.norm(points[inside] - target, axis=1).max()) + 2 * width
    x, y, z = (float(value) for value in target)
    return Frame((x, y, z), max(radius, 1e-6))


def _without_strays(points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which points lie between the outer quantiles of every axis, with a margin of a tenth of the way between them."""
    lowest, highest = np.quantile(points, [STRAYS, 1 - STRAYS], axis=0)
    margin = (highest - lowest) / 10
    inside: npt.NDArray[np.bool_] = ((points >= lowest - margin) & (points <= highest + margin)).all(1)
    return inside if inside.any() else np.ones(len(points), dtype=bool)


def splat(
    cloud: GaussianCloud, camera: Camera, *, background: tuple[float, float, float] = BLACK, backend: str | None = None
) -> tuple[Tensor, Tensor]:
    """Return a picture of a cloud with all its harmonics: rgb [H, W, 3], not limited to 1, and alpha [H, W]."""
    out = render(cloud, camera, bg=background, backend=backend, sh_degree=cloud.sh_degree)
    return out.rgb, out.alpha


def ring(count: int) -> list[float]:
    """Return evenly spaced azimuths in degrees, from 0 on."""
    return [360 * k / count for k in range(count)]
