"""Families of procedural objects and how often each is drawn.

composite   25 %   a few primitives that touch
figurine    25 %   head, body, limbs; left and right alike; a face in front
lathe       15 %   a turned profile, some with a handle
built       15 %   furniture and vehicles of boxes and cylinders, left and right alike
cutout      12 %   an inflated outline, its picture mirrored and blurred at the back
cluster      8 %   many small pieces around an axis: plants, bunches
superellipsoid, twisted: held out, for evaluation only
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sensorium.core.errors import UnknownNameError
from sensorium.lifting.camera import orbit
from sensorium.lifting.prior import kernels
from sensorium.lifting.prior.draws import Draws
from sensorium.lifting.prior.objects import ProceduralObject
from sensorium.lifting.prior.parts import Parts, about_y

SHARES = {"composite": 25, "figurine": 25, "lathe": 15, "built": 15, "cutout": 12, "cluster": 8}
HELD_OUT = ("superellipsoid", "twisted")

REFERENCE_ELEVATION = (-30.0, 10.0)  # degrees
DECALS, UNLIT = 0.3, 0.4  # shares of objects


def draw_family(seed: int) -> str:
    """Return the family that a seed's object has."""
    return Draws(seed, "family").choice(list(SHARES), list(SHARES.values()))


def compose(seed: int, family: str, draws: Draws) -> ProceduralObject:
    """Return an object that isn't framed yet.

    Raises:
        UnknownNameError: There is no such family.
    """
    if family not in FAMILIES:
        raise UnknownNameError(f"there is no family '{family}' of procedural objects: choose {', '.join(FAMILIES)}")
    parts = FAMILIES[family](draws)
    if draws.flag(DECALS) and not parts.picture:
        parts.add_decal()
    elevation = draws.uniform(*REFERENCE_ELEVATION)
    light = np.array([draws.uniform(-0.8, 0.8), draws.uniform(0, 1), draws.uniform(0.3, 1)])
    light = orbit(elevation, 0, height=1, width=1).c2w[:3, :3] @ (light / np.linalg.norm(light))
    ambient = draws.uniform(0.55, 1)
    return ProceduralObject(
        seed=seed,
        family=family,
        blend=parts.blend,
        picture=parts.picture,
        elevation=elevation,
        light=np.array([*light, 1.0 if draws.flag(UNLIT) else ambient]),
        place=np.array([1.0, 0.0, 0.0, 0.0]),
        **parts.tables(),
    )


def _yaw(draws: Draws) -> float:
    """Degrees that an object with a front is turned by: towards the camera more often than not."""
    return draws.uniform(-35, 35) if draws.flag(0.65) else draws.uniform(-180, 180)


def _blend(draws: Draws) -> float:
    return draws.uniform(0.01, 0.09)


# --- families -------------------------------------------------------------------------------------------------------


def _composite(draws: Draws) -> Parts:
    parts = Parts(draws, blend=_blend(draws), turn=about_y(draws.uniform(-180, 180)))
    middle = np.zeros(3)
    for number in range(draws.integer(1, 5)):
        a, b, c = draws.uniforms(0.12, 0.42)
        if number:
            middle = middle + draws.direction() * draws.uniform(0.6, 1.0) * (min(a, b, c) + 0.12)
        part = parts.texture()
        turn = draws.rotation() if draws.flag(0.5) else about_y(90 * draws.integer(0, 3))
        kind = draws.integer(0, 5)
        if kind == 0:
            parts.ellipsoid(middle, (a, b, c), part, turn)
        elif kind == 1:
            parts.box(middle, (a, b, c), part, turn, rounding=draws.uniform(0, 0.1))
        elif kind == 2:
            parts.cylinder(middle, a, b, part, turn)
        elif kind == 3:
            parts.capsule(middle - turn[:, 1] * b, middle + turn[:, 1] * b, 0.6 * a, part)
        elif kind == 4:
            parts.torus(middle, a, min(0.45 * b, 0.8 * a), part, turn)
        else:
            parts.cone(middle, a, a * draws.uniform(0, 0.6), b, part, turn)
    return parts


def _figurine(draws: Draws) -> Parts:
    parts = Parts(draws, blend=draws.uniform(0.01, 0.05), turn=about_y(_yaw(draws)))
    skin, cloth = (
        parts.texture(kernels.SOLID),
        parts.texture(draws.choice((kernels.SOLID, kernels.STRIPES, kernels.SPOTS))),
    )
    limb = parts.texture(kernels.SOLID) if draws.flag(0.5) else skin
    wide, tall, deep = draws.uniform(0.16, 0.3), draws.uniform(0.2, 0.34), draws.uniform(0.13, 0.24)
    parts.ellipsoid((0, 0, 0), (wide, tall, deep), cloth)
    head = draws.uniform(0.15, 0.27)
    shape = np.array([head * draws.uniform(0.9, 1.2), head, head * draws.uniform(0.85, 1.05)])
    at = np.array([0, tall * 0.8 + head * 0.8, draws.uniform(0, 0.06)])
    parts.ellipsoid(at, shape, skin)
    thick = draws.uniform(0.045, 0.09)
    reach, drop, forth = draws.uniform(0.1, 0.26), draws.uniform(-0.25, 0.15), draws.uniform(-0.05, 0.15)
    apart, legs = wide * draws.uniform(0.4, 0.7), draws.uniform(0.08, 0.28)
    foot = draws.uniform(0.06, 0.11)
    ears = draws.choice(("none", "round", "pointed", "hat"))
    ear = draws.uniform(0.06, 0.12)
    for side in (-1, 1):
        shoulder = np.array([side * wide * 0.75, tall * 0.5, 0])
        parts.capsule(shoulder, shoulder + np.array([side * reach, drop, forth]), thick, limb)
        hip = np.array([side * apart, -tall * 0.7, 0])
        parts.capsule(hip, hip - np.array([0, legs, 0]), thick * 1.2, limb)
        parts.ellipsoid(hip + np.array([0, -legs - 0.02, 0.04]), (foot, foot * 0.6, foot * 1.5), limb)
        side_of_head = at + np.array([side * shape[0] * 0.72, shape[1] * 0.72, 0])
        if ears == "round":
            parts.ellipsoid(side_of_head, (ear, ear, ear * 0.6), skin)
        elif ears == "pointed":
            parts.cone(side_of_head + np.array([0, ear * 0.4, 0]), ear * 0.7, 0.01, ear, skin)
    if ears == "hat":
        hat = parts.texture()
        parts.cone(at + np.array([0, shape[1] * 1.1, 0]), head * 0.8, head * draws.uniform(0, 0.7), head * 0.45, hat)
    _face(parts, at, shape)
    return parts


def _face(parts: Parts, at: np.ndarray, shape: np.ndarray) -> None:
    """Paint eyes and a mouth on the front of a head, and perhaps a nose and a belly."""
    draws = parts.draws
    dark = draws.colour() * 0.3
    eye, spread, rise = draws.uniform(0.1, 0.2), draws.uniform(0.3, 0.45), draws.uniform(0.05, 0.3)
    size = float(min(shape))
    for side in (-1, 1):
        parts.spot(at + shape * _unit(side * spread, rise, 0.85), eye * size, dark)
    mouth = draws.uniform(0.1, 0.25)
    colour = draws.colour() if draws.flag(0.5) else dark
    for across in (-mouth, 0.0, mouth):
        parts.spot(at + shape * _unit(across, -0.35 + 0.6 * across * across, 0.9), 0.12 * size, colour)
    if draws.flag(0.4):
        nose = parts.texture(kernels.SOLID)
        parts.ellipsoid(at + shape * np.array([0, -0.05, 1.0]), np.full(3, 0.16 * size), nose)


def _unit(x: float, y: float, z: float) -> np.ndarray:
    vector = np.array([x, y, z])
    return np.asarray(vector / np.linalg.norm(vector))


def _lathe(draws: Draws) -> Parts:
    parts = Parts(draws, blend=draws.uniform(0.01, 0.03))
    part = parts.texture()
    knots, half = draws.integer(4, 7), draws.uniform(0.2, 0.5)
    heights = np.linspace(-half, half, knots)
    radii = draws.uniforms(0.06, 0.42, knots)
    parts.lathe(heights, radii, part)
    if draws.flag(0.35):
        handle = parts.texture() if draws.flag(0.5) else part
        ring, out = draws.uniform(0.08, 0.16), float(radii[knots // 2])
        turn = about_y(draws.uniform(-180, 180))
        middle = turn @ np.array([out + 0.4 * ring, 0, 0])
        tipped = turn @ np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
        parts.torus(middle, ring, draws.uniform(0.02, 0.04), handle, tipped)
    return parts


def _built(draws: Draws) -> Parts:
    parts = Parts(draws, blend=draws.uniform(0.01, 0.02), turn=about_y(_yaw(draws)))
    body, trim = parts.texture(), parts.texture(kernels.SOLID)
    wide, deep = draws.uniform(0.2, 0.42), draws.uniform(0.2, 0.45)
    kind = draws.choice(("table", "seat", "vehicle", "cabinet"))
    if kind == "vehicle":
        tall, wheel = draws.uniform(0.09, 0.18), draws.uniform(0.08, 0.15)
        wide = wide * 0.7
        parts.box((0, 0, 0), (wide, tall, deep), body, rounding=draws.uniform(0.01, 0.08))
        cabin, shift = draws.uniform(0.3, 0.9) * deep, draws.uniform(-0.4, 0.4) * deep
        glass = parts.texture(kernels.SOLID)
        parts.box((0, tall * 1.7, shift), (wide * 0.85, tall * 0.9, cabin * 0.7), glass, rounding=0.04)
        lamp = draws.colour()
        axle = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])
        for side in (-1, 1):
            for end in (-0.62, 0.62):
                parts.cylinder((side * wide, -tall, end * deep), wheel, 0.04, trim, axle)
            parts.spot((side * wide * 0.6, 0, deep), 0.05, lamp)
        return parts
    thick, legs, leg = draws.uniform(0.025, 0.07), draws.uniform(0.15, 0.4), draws.uniform(0.02, 0.05)
    parts.box((0, 0, 0), (wide, thick, deep), body)
    if kind == "cabinet":
        tall = draws.uniform(0.2, 0.5)
        parts.box((0, -tall - thick, 0), (wide * 0.9, tall, deep * 0.9), trim)
        for drawer in range(draws.integer(1, 3)):
            parts.ellipsoid((0, -thick - tall * (0.4 + 0.6 * drawer), deep * 0.92), (0.04, 0.03, 0.03), body)
        return parts
    round_legs = draws.flag(0.5)
    for side in (-1, 1):
        for end in (-0.85, 0.85):
            foot = (side * wide * 0.85, -legs, end * deep)
            if round_legs:
                parts.cylinder(foot, leg, legs, trim)
            else:
                parts.box(foot, (leg, legs, leg), trim)
    if kind == "seat":
        tall = draws.uniform(0.15, 0.4)
        parts.box((0, tall, -deep + thick), (wide, tall, thick), body)
        if draws.flag(0.4):
            for side in (-1, 1):
                parts.box((side * wide, tall * 0.5, 0), (thick, tall * 0.5, deep * 0.9), trim)
    return parts


def _cutout(draws: Draws) -> Parts:
    parts = Parts(draws, blend=0.01)
    parts.picture = True
    part = parts.texture(draws.choice((kernels.SOLID, kernels.GRADIENT, kernels.NOISE, kernels.STRIPES)))
    rows = np.zeros((draws.integer(1, 6), 19))
    middle = np.zeros(2)
    for number, row in enumerate(rows):
        if number:
            turn = draws.uniform(-math.pi, math.pi)
            middle = middle * 0.5 + draws.uniform(0.15, 0.35) * np.array([math.cos(turn), math.sin(turn)])
        kind = draws.choice((kernels.DISC, kernels.STROKE, kernels.POLYGON), (2, 1, 2))
        if kind == kernels.DISC:
            row[:3], row[3:] = (kind, 1, draws.uniform(0.1, 0.3)), np.tile(middle, 8)
        elif kind == kernels.STROKE:
            end = middle + draws.direction()[:2] * draws.uniform(0.2, 0.45)
            row[:3], row[3:] = (kind, 2, draws.uniform(0.04, 0.1)), np.tile([*middle, *end], 4)
        else:
            count, begin = draws.integer(3, 8), draws.uniform(0, 2 * math.pi)
            spokes = begin + 2 * math.pi * np.arange(count) / count
            lengths = draws.uniforms(0.15, 0.4, count)
            corners = middle + np.column_stack([np.cos(spokes), np.sin(spokes)]) * lengths[:, None]
            row[:3], row[3:] = (kind, count, 0.02), np.resize(corners.ravel(), 16)
    parts.cutout(rows, draws.uniform(0.1, 0.4), part)
    for _ in range(draws.integer(2, 8)):
        place = [draws.uniform(-0.35, 0.35), draws.uniform(-0.35, 0.35), 0.0]
        parts.spot(place, draws.uniform(0.04, 0.16), draws.colour())
    return parts


def _cluster(draws: Draws) -> Parts:
    parts = Parts(draws, blend=draws.uniform(0.01, 0.03))
    colours = [parts.texture() for _ in range(draws.integer(1, 3))]
    leafy, count = draws.flag(0.5), draws.integer(6, 20)
    tall = draws.uniform(0.1, 0.45)
    for number in range(count):
        turn = about_y(137.5 * number + draws.uniform(-30, 30))
        height, out = draws.uniform(-tall, tall), draws.uniform(0.03, 0.22)
        middle = turn @ np.array([out, height, 0])
        part = draws.choice(colours)
        if leafy:
            half, bend = draws.uniform(0.1, 0.22), draws.uniform(0.03, 0.12)
            lean = math.radians(draws.uniform(10, 70))
            tipped = np.array([[math.cos(lean), math.sin(lean), 0], [-math.sin(lean), math.cos(lean), 0], [0, 0, 1]])
            parts.bent(middle, half, bend, draws.uniform(0.025, 0.05), part, turn @ tipped)
        else:
            parts.ellipsoid(middle, draws.uniforms(0.06, 0.15), part, draws.rotation())
    if draws.flag(0.6):
        pot = draws.uniform(0.1, 0.2)
        parts.cone((0, -tall - pot, 0), pot, pot * draws.uniform(0.9, 1.5), pot, parts.texture())
    return parts


def _superellipsoid(draws: Draws) -> Parts:
    parts = Parts(draws, blend=0.01)
    turn = draws.rotation() if draws.flag(0.5) else about_y(draws.uniform(-180, 180))
    parts.superellipsoid(draws.uniforms(0.18, 0.42), draws.uniforms(0.35, 1.6, 2), parts.texture(), turn)
    return parts


def _twisted(draws: Draws) -> Parts:
    parts = Parts(draws, blend=0.01)
    turn = draws.rotation() if draws.flag(0.3) else about_y(draws.uniform(-180, 180))
    halves = np.array([draws.uniform(0.1, 0.25), draws.uniform(0.25, 0.45), draws.uniform(0.1, 0.25)])
    twist = draws.uniform(1, 4) * draws.choice((-1, 1))
    parts.twisted_box(halves, twist, parts.texture(), turn)
    return parts


FAMILIES: dict[str, Callable[[Draws], Parts]] = {
    "composite": _composite,
    "figurine": _figurine,
    "lathe": _lathe,
    "built": _built,
    "cutout": _cutout,
    "cluster": _cluster,
    "superellipsoid": _superellipsoid,
    "twisted": _twisted,
}
