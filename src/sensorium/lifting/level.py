"""Which level of a density is the object's surface: the one whose outline is the outline of the splats.

A level of 1 (DreamGaussian, Tang et al., 2024) needs two Gaussians over one another, so that it leaves nothing of a
sparse cloud. Here a few levels are meshed, and the one wins whose silhouettes agree best with where the splats cover
half of the light, in eight views.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensorium.lifting.camera import Camera
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.density import Density
from sensorium.lifting.mesh import Mesh, TexturedMesh
from sensorium.lifting.meshrender import silhouette
from sensorium.lifting.surface import extract
from sensorium.lifting.views import frame, ring, splat

logger = logging.getLogger(__name__)

LEVELS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
VIEWS, SIZE = 8, 128
ELEVATIONS = (-20.0, 20.0)  # in turn
HALF = 0.5


@dataclass(frozen=True, eq=False)
class Outlines:
    """Where a cloud covers at least half of the light, from several sides.

    Attributes:
        cameras: Who looks.
        covered: bool [H, W] for each camera.
    """

    cameras: tuple[Camera, ...]
    covered: tuple[npt.NDArray[np.bool_], ...]


@dataclass(frozen=True, eq=False)
class Level:
    """A level that was chosen.

    Attributes:
        value: The density at the surface.
        mesh: The surface at it, not cleaned.
        agreement: By level that was tried: mean intersection over union of the outlines. Empty where the cloud is so
            faint that half its highest density was taken.
    """

    value: float
    mesh: Mesh
    agreement: dict[float, float]


def outlines(cloud: GaussianCloud, *, views: int = VIEWS, size: int = SIZE, backend: str | None = None) -> Outlines:
    """Return the outlines of a cloud from a ring of cameras, from above and below in turn."""
    around = frame(cloud)
    cameras = [around.camera(ELEVATIONS[k % 2], azimuth, size=size) for k, azimuth in enumerate(ring(views))]
    covered = [(splat(cloud, camera, backend=backend)[1] > HALF).cpu().numpy() for camera in cameras]
    return Outlines(tuple(cameras), tuple(covered))


def silhouette_agreement(mesh: Mesh | TexturedMesh, wanted: Outlines) -> float:
    """Return the mean intersection over union of a mesh's silhouettes and outlines; 1 where both are empty."""
    values = []
    for camera, covered in zip(wanted.cameras, wanted.covered, strict=True):
        drawn = silhouette(mesh, camera)
        union = int((drawn | covered).sum())
        values.append(int((drawn & covered).sum()) / union if union else 1.0)
    return float(np.mean(values))


def automatic_level(density: Density, wanted: Outlines) -> Level:
    """Return the level whose surface has the outlines of the cloud; of equal ones the largest.

    Args:
        density: The density of the cloud.
        wanted: The outlines of the same cloud.
    """
    best: Level | None = None
    agreement: dict[float, float] = {}
    for value in LEVELS:
        if value >= density.highest:
            break
        mesh = extract(density, value)
        agreement[value] = silhouette_agreement(mesh, wanted)
        if best is None or agreement[value] >= agreement[best.value]:
            best = Level(value, mesh, agreement)
    if best is not None:
        return best
    value = density.highest / 2
    logger.info(
        "the highest density of this cloud is %.3g, below every level that is tried: half of it is taken",
        density.highest,
    )
    return Level(value, extract(density, value), {})
