"""Procedural objects as tables of numbers, how they are put in front of the reference camera, and their pictures.

    made = draw_object(7)                         # the same object on every machine
    pictures = made.render([0, -30], [0, 120])    # uint8 [2, 64, 64, 4], premultiplied RGBA

An object is scaled and shifted so that its silhouette from the reference camera fills 0.8 of the frame and is centred,
as lifting prepares photographs. Light stays where it is, relative to the reference camera, from all sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sensorium.lifting.camera import RADIUS, orbit
from sensorium.lifting.prior import kernels
from sensorium.lifting.prior.draws import Draws
from sensorium.lifting.prior.kernels import F64, U8

GENERATOR_VERSION = 1  # grows whenever a seed gives other pictures
TRAINING_SEEDS = range(900_000_000)  # others are for evaluation

FRAME = 0.8  # longer side of the reference's silhouette, share of the picture
PASSES = (32, 32, 64)  # pixels of the silhouettes that framing looks at
OFF_FRAME = 1.5  # pixels of 64 by which the longer side may miss it
OTHER_SIDES = ((0.0, 90.0), (-80.0, 0.0))  # degrees: from there, too, all of the object is in the picture
SMALLEST = 0.03  # share of the reference picture that an object covers at least
ATTEMPTS = 50


@dataclass(frozen=True)
class ProceduralObject:
    """One object; `kernels.draw` says what stands in the tables.

    Attributes:
        seed: Gives all of it.
        family: Its kind, see `families`.
        primitives: [n, PRIMITIVE], object units.
        blend: Width of the smooth union, object units.
        profile: [s, 6].
        outline: [m, 19].
        textures: [p, 14].
        decal: [14].
        spots: [q, 7].
        picture: Whether its textures are those of a cut-out.
        elevation: Of the reference camera, degrees.
        light: Direction to the light in the world, and the ambient share, [4].
        place: Scale and origin in the world, [4].
    """

    seed: int
    family: str
    primitives: F64
    blend: float
    profile: F64
    outline: F64
    textures: F64
    decal: F64
    spots: F64
    picture: bool
    elevation: float
    light: F64
    place: F64

    @property
    def reach(self) -> float:
        """Radius of a ball around the object's origin that holds it, object units."""
        centres = np.linalg.norm(self.primitives[:, 1:4], axis=1)
        return float((centres + self.primitives[:, kernels.REACH]).max()) + self.blend

    def render(self, elevations: Sequence[float], azimuths: Sequence[float], side: int = 64) -> U8:
        """Draw the object; azimuth 0 is the reference camera's.

        Args:
            elevations: Degrees, negative above.
            azimuths: Degrees.
            side: Pixels.

        Returns:
            Premultiplied RGBA, uint8 [V, side, side, 4].
        """
        pairs = zip(elevations, azimuths, strict=True)
        cameras = np.array([camera_row(rise, turn, side) for rise, turn in pairs])
        out = np.empty((len(cameras), side, side, 4), np.uint8)
        kernels.draw(
            self.primitives,
            self.blend,
            self.profile,
            self.outline,
            self.place,
            self.textures,
            self.decal,
            self.spots,
            self.picture,
            self.light,
            cameras,
            out,
        )
        return out

    def silhouette(self, elevation: float, azimuth: float, side: int) -> npt.NDArray[np.bool_]:
        """Return where the object is seen, one ray per pixel: bool [side, side]."""
        out = np.empty((side, side), np.uint8)
        camera = camera_row(elevation, azimuth, side)
        kernels.silhouette(self.primitives, self.blend, self.profile, self.outline, self.place, camera, out)
        return out.astype(bool)

    def _inside(self, elevation: float, azimuth: float) -> bool:
        """Whether all of the object is in the picture from there."""
        seen = self.silhouette(elevation, azimuth, PASSES[0])
        return bool(seen.any() and not seen[[0, -1]].any() and not seen[:, [0, -1]].any())


def draw_object(seed: int, family: str | None = None) -> ProceduralObject:
    """Return the object of a seed.

    Args:
        seed: At least 0; see `TRAINING_SEEDS`.
        family: Its family, such as one that is held out; by default drawn by the families' shares.

    Raises:
        UnknownNameError: There is no such family.
    """
    from sensorium.lifting.prior.families import FAMILIES, compose, draw_family

    chosen = draw_family(seed) if family is None else family
    for attempt in range(ATTEMPTS):
        draws = Draws(seed, "object", attempt)
        made = _framed(compose(seed, chosen, draws))
        if made is not None:
            return made
    raise AssertionError(f"seed {seed} gave no usable object in {ATTEMPTS} attempts of {len(FAMILIES)} families")


def _framed(made: ProceduralObject) -> ProceduralObject | None:
    """Return the object where its reference fills the frame, or None where it is too long, too small or not seen."""
    camera = orbit(made.elevation, 0, height=1, width=1)
    right, up = camera.c2w[:3, 0], camera.c2w[:3, 1]
    reach = camera.tangents[1]
    made = replace(made, place=np.array([FRAME * reach / made.reach, 0.0, 0.0, 0.0]))
    for side in PASSES:
        seen = made.silhouette(made.elevation, 0, side)
        if not seen.any():
            return None
        top, bottom, left, right_end = _box(seen)
        # Half a picture is `reach` times the distance wide at the object's middle.
        per_pixel = 2 * reach * RADIUS / side
        across = ((left + right_end) / 2 - side / 2) * per_pixel
        upwards = (side / 2 - (top + bottom) / 2) * per_pixel
        grow = FRAME * side / max(bottom - top, right_end - left)
        shifted = grow * (made.place[1:] - across * right - upwards * up)
        made = replace(made, place=np.array([made.place[0] * grow, *shifted]))
        if side == PASSES[1] and not all(made._inside(*pose) for pose in OTHER_SIDES):
            return None
    seen = made.silhouette(made.elevation, 0, PASSES[-1])
    if seen.mean() < SMALLEST:
        return None
    top, bottom, left, right_end = _box(seen)
    longest = max(bottom - top, right_end - left)
    return made if abs(longest - FRAME * PASSES[-1]) <= OFF_FRAME else None


def _box(seen: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return the first row, the one after the last, and the same of columns."""
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def camera_row(elevation: float, azimuth: float, side: int) -> F64:
    """Return a camera as `kernels.draw` takes it, [13]; degrees, and pixels along a square picture."""
    camera = orbit(elevation, azimuth, height=side, width=side)
    return np.concatenate([camera.position, *camera.c2w[:3, :3].T, [camera.tangents[1]]])
