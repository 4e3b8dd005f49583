"""Building an object part by part: primitives with their textures, in object units of about one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.interpolate import PchipInterpolator

from sensorium.lifting.prior import kernels
from sensorium.lifting.prior.draws import Draws
from sensorium.lifting.prior.kernels import F64

UPRIGHT: F64 = np.eye(3)
PLAIN: F64 = np.zeros(14)


def about_y(degrees: float) -> F64:
    """Return the rotation that turns +z towards +x, [3, 3]."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


class Parts:
    """The tables of an object while it is built.

    Attributes:
        turn: Rotation of the whole object, applied to each part as it is added, [3, 3].
        blend: Width of the smooth union.
        picture: Whether textures are those of a cut-out.
        decal: A pattern over all parts, [14].
    """

    def __init__(self, draws: Draws, *, blend: float, turn: F64 = UPRIGHT) -> None:
        self.draws, self.blend, self.turn = draws, blend, turn
        self.picture, self.decal = False, PLAIN
        self._primitives: list[F64] = []
        self._textures: list[F64] = []
        self._spots: list[F64] = []
        self._profile, self._outline = np.zeros((0, 6)), np.zeros((0, 19))

    # --- textures ---------------------------------------------------------------------------------------------------

    def texture(
        self,
        kind: int | None = None,
        first: F64 | None = None,
        second: F64 | None = None,
        direction: F64 | None = None,
        frequency: float | None = None,
    ) -> int:
        """Add a texture, drawn where nothing is given; return its place."""
        draws = self.draws
        if kind is None:
            kinds = (
                kernels.SOLID,
                kernels.STRIPES,
                kernels.CHECKER,
                kernels.SPOTS,
                kernels.GRADIENT,
                kernels.NOISE,
            )
            kind = draws.choice(kinds, (5, 1, 0.7, 1, 1, 1.3))
        first, second = (draws.colour() if colour is None else colour for colour in (first, second))
        drawn = draws.direction() if draws.flag(0.4) else np.array([0.0, 1.0, 0.0])
        along = self.turn @ (drawn if direction is None else direction)
        steps = draws.uniform(2, 7) if kind != kernels.GRADIENT else draws.uniform(0.8, 2)
        numbers = [steps if frequency is None else frequency, *along, draws.uniform(0, 6)]
        self._textures.append(
            np.array([kind, *first, *second, *numbers, draws.uniform(0.25, 0.42), draws.integer(0, 1 << 20)])
        )
        return len(self._textures) - 1

    def add_decal(self) -> None:
        """Put a pattern over all parts."""
        kind = self.draws.choice((kernels.STRIPES, kernels.SPOTS, kernels.NOISE))
        self.texture(kind)
        self.decal = self._textures.pop()

    def spot(self, centre: Sequence[float] | F64, radius: float, colour: F64) -> None:
        """Paint what lies in a ball."""
        self._spots.append(np.array([*(self.turn @ np.asarray(centre)), radius, *colour]))

    # --- primitives -------------------------------------------------------------------------------------------------

    def ellipsoid(
        self, centre: Sequence[float] | F64, radii: Sequence[float] | F64, part: int, turn: F64 = UPRIGHT
    ) -> None:
        """Add an ellipsoid with three radii."""
        self._add(kernels.ELLIPSOID, centre, radii, max(radii), part, turn)

    def box(
        self,
        centre: Sequence[float] | F64,
        halves: Sequence[float] | F64,
        part: int,
        turn: F64 = UPRIGHT,
        rounding: float = 0.02,
    ) -> None:
        """Add a box of three half lengths with rounded edges."""
        rounding = min(rounding, 0.9 * min(halves))
        self._add(kernels.BOX, centre, [*halves, rounding], math.hypot(*halves), part, turn)

    def cylinder(
        self, centre: Sequence[float] | F64, radius: float, half: float, part: int, turn: F64 = UPRIGHT
    ) -> None:
        """Add a cylinder along its y with slightly rounded rims."""
        rounding = 0.2 * min(radius, half, 0.1)
        self._add(kernels.CYLINDER, centre, [radius, half, rounding], math.hypot(radius, half), part, turn)

    def capsule(self, start: Sequence[float] | F64, end: Sequence[float] | F64, radius: float, part: int) -> None:
        """Add a capsule from one point to another."""
        start, end = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        half = float(np.linalg.norm(end - start)) / 2
        turn = _towards(end - start)
        self._add(kernels.CAPSULE, (start + end) / 2, [half, radius], half + radius, part, turn)

    def torus(self, centre: Sequence[float] | F64, ring: float, tube: float, part: int, turn: F64 = UPRIGHT) -> None:
        """Add a torus around its y."""
        self._add(kernels.TORUS, centre, [ring, tube], ring + tube, part, turn)

    def cone(
        self, centre: Sequence[float] | F64, bottom: float, top: float, half: float, part: int, turn: F64 = UPRIGHT
    ) -> None:
        """Add a capped cone along its y with two radii."""
        self._add(kernels.CONE, centre, [bottom, top, half], math.hypot(max(bottom, top), half), part, turn)

    def bent(
        self, centre: Sequence[float] | F64, half: float, bend: float, radius: float, part: int, turn: F64 = UPRIGHT
    ) -> None:
        """Add a capsule along its y with a knee in the middle."""
        self._add(kernels.BENT, centre, [half, bend, radius], math.hypot(half, bend) + radius, part, turn)

    def superellipsoid(self, radii: F64, powers: F64, part: int, turn: F64) -> None:
        """Add a superellipsoid at the origin; powers from 0.3 (box) over 1 (ellipsoid) to 1.7 (pinched)."""
        reach = float(np.linalg.norm(radii)) if min(powers) < 1 else max(radii) * 1.05
        self._add(kernels.SUPERELLIPSOID, (0, 0, 0), [*radii, *powers], reach, part, turn)

    def twisted_box(self, halves: F64, twist: float, part: int, turn: F64) -> None:
        """Add a box at the origin whose section turns along its y, radians per unit."""
        self._add(kernels.TWISTED_BOX, (0, 0, 0), [*halves, 0.02, twist], math.hypot(*halves), part, turn)

    def lathe(self, heights: F64, radii: F64, part: int) -> None:
        """Add a solid of revolution around y through knots of its profile; an object has at most one."""
        curve = PchipInterpolator(heights, radii)
        self._profile = np.column_stack([curve.x[:-1], curve.x[1:], curve.c.T])
        reach = math.hypot(float(np.abs(heights).max()), float(radii.max()))
        self._add(kernels.LATHE, (0, 0, 0), [], reach, part, UPRIGHT)

    def cutout(self, outline: F64, depth: float, part: int) -> None:
        """Add an outline that is inflated along z; depth is rho of f = (g + z^2 / (2 rho)) / 2."""
        self._outline = outline
        corners = outline[:, 3:].reshape(len(outline), -1, 2)
        reach = float(np.linalg.norm(corners, axis=-1).max() + outline[:, 2].max())
        self._add(kernels.CUTOUT, (0, 0, 0), [depth], reach + depth, part, UPRIGHT)

    def _add(
        self, kind: int, centre: Sequence[float] | F64, sizes: Sequence[float] | F64, reach: float, part: int, turn: F64
    ) -> None:
        row = np.zeros(kernels.PRIMITIVE)
        whole = self.turn @ turn
        row[0], row[1:4], row[4:13] = kind, self.turn @ np.asarray(centre, dtype=np.float64), whole.T.ravel()
        row[kernels.SIZES : kernels.SIZES + len(sizes)] = sizes
        row[kernels.REACH], row[kernels.PART] = reach, part
        self._primitives.append(row)

    def tables(self) -> dict[str, F64]:
        """Return what a `ProceduralObject` keeps."""
        tables = {
            "primitives": np.stack(self._primitives),
            "profile": self._profile,
            "outline": self._outline,
            "textures": np.stack(self._textures),
            "decal": self.decal,
            "spots": np.stack(self._spots) if self._spots else np.zeros((0, 7)),
        }
        # One memory layout: kernels are compiled once per kind of array.
        return {name: np.ascontiguousarray(table, dtype=np.float64) for name, table in tables.items()}


def _towards(direction: F64) -> F64:
    """Return a rotation that turns +y to a direction, [3, 3]."""
    y = direction / np.linalg.norm(direction)
    helper = np.array([1.0, 0.0, 0.0]) if abs(y[0]) < 0.9 else np.array([0.0, 0.0, 1.0])
    z = np.cross(helper, y)
    z /= np.linalg.norm(z)
    return np.column_stack([np.cross(y, z), y, z])
