"""Objects whose every picture is known: a cube, a sphere and a torus, traced along exact distances.

They are unlit, so that a surface has the same colour from all sides, and fit the default camera of `lifting.camera`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from sensorium.lifting.camera import Camera, orbit
from sensorium.lifting.fitting import View

Array = npt.NDArray[np.float64]

CUBE_HALF, SPHERE_RADIUS, TORUS_RADII = 0.35, 0.5, (0.4, 0.16)
SUPERSAMPLING = 2  # samples along each side of a pixel
_STEPS, _HIT = 128, 1e-4
_FACES = np.array(
    [[0.9, 0.2, 0.2], [0.2, 0.8, 0.3], [0.2, 0.3, 0.9], [0.95, 0.85, 0.2], [0.7, 0.3, 0.8], [0.2, 0.8, 0.85]]
)


def _cube(points: Array) -> Array:
    outside = np.abs(points) - CUBE_HALF
    return np.asarray(np.linalg.norm(np.maximum(outside, 0), axis=-1) + np.minimum(outside.max(-1), 0))


def _cube_colours(points: Array) -> Array:
    """One colour a face."""
    axis = np.abs(points).argmax(-1)
    back = np.take_along_axis(points, axis[:, None], 1)[:, 0] < 0
    return np.asarray(_FACES[2 * axis + back])


def _sphere(points: Array) -> Array:
    return np.asarray(np.linalg.norm(points, axis=-1) - SPHERE_RADIUS)


def _sphere_colours(points: Array) -> Array:
    """Smooth in all directions."""
    return np.asarray(0.5 + 0.4 * np.sin(4 * points / SPHERE_RADIUS))


def _torus(points: Array) -> Array:
    """Its axis leans towards the viewer, so that the hole is seen from the front."""
    around, tube = TORUS_RADII
    return np.hypot(np.hypot(points[:, 0], points[:, 1]) - around, points[:, 2]) - tube


def _torus_colours(points: Array) -> Array:
    """Eight stripes of two colours."""
    stripe = np.sin(4 * np.arctan2(points[:, 1], points[:, 0])) > 0
    return np.where(stripe[:, None], [0.95, 0.55, 0.15], [0.15, 0.35, 0.6])


Scene = tuple[Callable[[Array], Array], Callable[[Array], Array]]
SCENES: dict[str, Scene] = {
    "cube": (_cube, _cube_colours),
    "sphere": (_sphere, _sphere_colours),
    "torus": (_torus, _torus_colours),
}


def photograph(name: str, camera: Camera) -> View:
    """Return the picture of an object on white.

    Args:
        name: "cube", "sphere" or "torus".
        camera: Who looks.
    """
    distance, colours = SCENES[name]
    fine = camera.resized(SUPERSAMPLING * camera.height, SUPERSAMPLING * camera.width)
    points, hit = _trace(distance, fine)
    rgba = np.zeros((fine.height * fine.width, 4))
    rgba[hit, :3], rgba[hit, 3] = colours(points[hit]), 1
    blocks = rgba.reshape(camera.height, SUPERSAMPLING, camera.width, SUPERSAMPLING, 4).mean((1, 3))
    alpha = blocks[..., 3]
    return View(camera, (blocks[..., :3] + 1 - alpha[..., None]).astype(np.float32), alpha.astype(np.float32))


def photographs(name: str, directions: Sequence[tuple[float, float]], side: int) -> list[View]:
    """Return square pictures from directions (elevation, azimuth) in degrees."""
    return [photograph(name, orbit(elevation, azimuth, height=side, width=side)) for elevation, azimuth in directions]


def _trace(distance: Callable[[Array], Array], camera: Camera) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Walk along every pixel's ray as far as nothing can lie; return where it ends, and whether it hit."""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    centre_x, centre_y = camera.centre
    local = np.stack([(x - centre_x) / camera.focal, -(y - centre_y) / camera.focal, -np.ones_like(x)], -1).reshape(
        -1, 3
    )
    rays = local @ camera.c2w[:3, :3].T
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    points = np.broadcast_to(camera.position, rays.shape).copy()
    hit = np.zeros(len(rays), dtype=bool)
    walking = np.arange(len(rays))
    for _ in range(_STEPS):
        step = distance(points[walking])
        hit[walking[step < _HIT]] = True
        on = (step >= _HIT) & (step < 4)  # further away than the object was ever: the ray has passed it
        walking, step = walking[on], step[on]
        points[walking] += step[:, None] * rays[walking]
    return points, hit
