"""From a cloud to a textured mesh: density, level, surface, texture coordinates, texture, and what can be said of it.

    Tang et al., DreamGaussian: generative Gaussian splatting for efficient 3D content creation, 2024

Nothing is learned here; the same cloud and configuration give the same mesh.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from sensorium.core.config import Config
from sensorium.core.errors import DataError
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.density import density
from sensorium.lifting.level import Outlines, automatic_level, outlines, silhouette_agreement
from sensorium.lifting.mesh import Mesh, TexturedMesh, signed_volume
from sensorium.lifting.surface import check_level, clean, extract, merged, topology
from sensorium.lifting.texture import Baked, Merge, Observation, bake
from sensorium.lifting.uv import Unwrapped, unwrap
from sensorium.lifting.views import Frame, frame, splat

logger = logging.getLogger(__name__)

REFERENCE_IMPORTANCE = 8.0
AZIMUTHS = (0, 45, -45, 90, -90, 135, -135, 180)
TOP = 89.9
SEEN_ALPHA = 0.5  # of a splat's pixel, from which its colour is the object's


class MeshConfig(Config):
    """How a mesh is made of a cloud."""

    resolution: int = Field(128, ge=8, le=1024, description="samples of the density along each side")
    level: float | Literal["auto"] = Field("auto", description="density at the surface; auto: by the outlines")
    max_faces: int = Field(20_000, ge=100, description="decimate down to this many faces")
    smooth: bool = Field(True, description="smooth the surface by Taubin's filter")
    texture: int = Field(1024, ge=64, le=8192, description="texels along each side, a multiple of 4")
    view_size: int = Field(
        512, ge=16, le=4096, description="pixels along each side of the 26 views that are carried back"
    )
    merge: Merge = Field("blend", description="how views meet: blend or first")

    @field_validator("texture")
    @classmethod
    def _divisible(cls, value: int) -> int:
        if value % 4:
            raise ValueError("a texture's side is a multiple of 4")
        return value


@dataclass(frozen=True)
class Measures:
    """What can be counted on a mesh.

    Attributes:
        watertight: Every edge belongs to exactly two faces.
        winding_consistent: All faces look to the same side.
        components: Connected parts.
        euler: Euler number, 2 for a sphere and 0 for a torus.
        volume: Inside the surface, cubic world units; positive when the faces look outwards.
        faces: Count.
        silhouette_iou: Agreement with the outlines of the cloud; None where there is no cloud.
        texture_coverage: Share of the texels inside charts that a view saw; None where that is not known.
    """

    watertight: bool
    winding_consistent: bool
    components: int
    euler: int
    volume: float
    faces: int
    silhouette_iou: float | None = None
    texture_coverage: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the measures by name."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Meshed:
    """A cloud's mesh.

    Attributes:
        mesh: With its texture.
        measures: What can be said of it.
        level: The density at its surface.
        agreement: By level that was tried, how well outlines agree; empty for a level that was given.
        seconds: By step.
    """

    mesh: TexturedMesh
    measures: Measures
    level: float
    agreement: dict[float, float]
    seconds: dict[str, float]


def make_mesh(
    cloud: GaussianCloud, config: MeshConfig | None = None, *, reference: Observation | None = None
) -> Meshed:
    """Make a textured mesh of a cloud.

    Args:
        cloud: The Gaussians.
        config: How.
        reference: A photo of the object, with its camera: counts eight times as much as each picture of the splats.

    Raises:
        ConfigError: No surface at the level; said before any meshing starts.
        DataError: The cloud has no surface.
    """
    config = config or MeshConfig()
    clock = _Clock()
    field = density(cloud, config.resolution)
    if config.level != "auto":
        check_level(field, config.level)
    wanted = outlines(cloud)
    clock.done("density")
    if config.level == "auto":
        chosen = automatic_level(field, wanted)
        level, raw, agreement = chosen.value, chosen.mesh, chosen.agreement
    else:
        level, raw, agreement = config.level, extract(field, config.level), {}
    clock.done("level and marching cubes")
    surface = clean(raw, max_faces=config.max_faces, smooth=config.smooth)
    clock.done("cleaning")
    unwrapped, side = _roomy(surface, config.texture)
    clock.done("texture coordinates")
    views = splat_views(cloud, frame(surface), config.view_size, reference)
    baked = bake(unwrapped, views, side, merge=config.merge)
    clock.done("texture")
    return Meshed(baked.mesh, measure(surface, wanted, baked), level, agreement, clock.seconds)


def _roomy(surface: Mesh, side: int) -> tuple[Unwrapped, int]:
    """Texture coordinates, on a texture of twice or four times the side where a ragged surface has too many charts."""
    for times in (1, 2):
        try:
            return unwrap(surface, side * times), side * times
        except DataError:
            logger.info("the charts do not fit a texture of %d pixels: twice as many are taken", side * times)
    return unwrap(surface, side * 4), side * 4


def measure(mesh: Mesh | TexturedMesh, wanted: Outlines | None = None, baked: Baked | None = None) -> Measures:
    """Count what can be counted on a mesh; vertices in one place count once."""
    joined = merged(Mesh(mesh.v, mesh.f))
    found = topology(joined)
    return Measures(
        watertight=found.watertight,
        winding_consistent=found.consistent,
        components=found.components,
        euler=found.euler,
        volume=signed_volume(joined),
        faces=len(joined.f),
        silhouette_iou=None if wanted is None else silhouette_agreement(mesh, wanted),
        texture_coverage=None if baked is None else baked.coverage,
    )


def splat_views(
    cloud: GaussianCloud, around: Frame, size: int, reference: Observation | None = None
) -> Iterator[Observation]:
    """Yield the pictures that a texture is made of: the reference, then 26 of the splats from all around.

    A splat's pixel counts where it covers half of the light, and its colour is taken without any background, so that
    translucent Gaussians don't tint the texture.

    Args:
        cloud: The Gaussians.
        around: The frame of the surface.
        size: Pixels along both sides.
        reference: A photo; its importance is raised to eight.
    """
    if reference is not None:
        yield Observation(reference.camera, reference.rgb, reference.valid, REFERENCE_IMPORTANCE * reference.importance)
    places = [(elevation, azimuth) for elevation in (0.0, -45.0, 45.0) for azimuth in AZIMUTHS]
    for elevation, azimuth in [*places, (-TOP, 0), (TOP, 0)]:
        camera = around.camera(elevation, azimuth, size=size)
        rgb, alpha = splat(cloud, camera)
        colour = (rgb / alpha.clamp_min(1e-6)[..., None]).clamp(0, 1)
        yield Observation(camera, colour.cpu().numpy().astype(np.float32), (alpha > SEEN_ALPHA).cpu().numpy())


class _Clock:
    """Seconds between the steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def done(self, step: str) -> None:
        """Note the seconds since the last step and say them."""
        now = time.perf_counter()
        self.seconds[step], self._last = now - self._last, now
        logger.debug("%s: %.1f s", step, self.seconds[step])
