"""Procedural objects drawn by sphere tracing (Hart, 1996), compiled for the CPU.

An object is a smooth union of primitives with signed distances f_i:  f = -k log sum_i exp(-f_i / k). A ray steps by
0.9 f, at most 0.3 forward and 0.1 back, 40 times; it has hit where |f| < 0.01. Distances of ellipsoids, lathes and
inflated outlines are approximate, which the factor and the limits make up for.

Everything is float64 without reordered sums, and a picture is drawn by one thread: the number of threads changes
nothing. Tables of numbers describe an object; `objects` says what stands in them.
"""

from __future__ import annotations

from math import cos, exp, floor, inf, log, pi, sin, sqrt

import numpy as np
import numpy.typing as npt

from sensorium.lifting.rasterisers.compiling import compiled

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

STEPS, FACTOR, BACKWARD, FORWARD, HIT = 40, 0.9, -0.1, 0.3, 0.01
NEGLIGIBLE = 8.0  # in units of k: exp(-8) of a primitive is left out
NEAR = 5.0  # likewise, of primitives that a pixel's rays don't come near to
PIXEL = 0.05  # world units: more than half the diagonal of a pixel of 32 at any distance that objects have
SLOPE = 1e-3  # step of the differences that make a normal

(ELLIPSOID, BOX, CYLINDER, CAPSULE, TORUS, CONE, LATHE, CUTOUT, SUPERELLIPSOID, TWISTED_BOX, BENT) = range(11)
DISC, STROKE, POLYGON = range(3)
SOLID, STRIPES, CHECKER, SPOTS, GRADIENT, NOISE = range(6)

# Columns of a primitive: kind, centre (3), world to local by rows (9), its sizes (6), radius of a ball around it, part.
SIZES, REACH, PART, PRIMITIVE = 13, 19, 20, 21


# --- distances ------------------------------------------------------------------------------------------------------


@compiled(nogil=True)
def _length(x: float, y: float) -> float:
    return sqrt(x * x + y * y)  # hypot minds overflow, which takes it ten times as long


@compiled(nogil=True)
def _box(x: float, y: float, z: float, a: float, b: float, c: float, rounding: float) -> float:
    x, y, z = abs(x) - a + rounding, abs(y) - b + rounding, abs(z) - c + rounding
    outside = sqrt(max(x, 0.0) ** 2 + max(y, 0.0) ** 2 + max(z, 0.0) ** 2)
    return outside + min(max(x, y, z), 0.0) - rounding


@compiled(nogil=True)
def _to_segment(x: float, y: float, ax: float, ay: float, bx: float, by: float) -> float:
    """Squared distance in the plane to the segment from a to b."""
    px, py, dx, dy = x - ax, y - ay, bx - ax, by - ay
    along = min(max((px * dx + py * dy) / (dx * dx + dy * dy), 0.0), 1.0)
    px, py = px - along * dx, py - along * dy
    return px * px + py * py


@compiled(nogil=True)
def _cone(x: float, y: float, z: float, bottom: float, top: float, half: float) -> float:
    out = _length(x, z)
    ax, ay = out - min(out, bottom if y < 0 else top), abs(y) - half
    kx, ky = top - bottom, 2 * half
    share = min(max(((top - out) * kx + (half - y) * ky) / (kx * kx + ky * ky), 0.0), 1.0)
    bx, by = out - top + kx * share, y - half + ky * share
    sign = -1.0 if bx < 0 and ay < 0 else 1.0
    return sign * sqrt(min(ax * ax + ay * ay, bx * bx + by * by))


@compiled(nogil=True)
def _lathe(x: float, y: float, z: float, profile: F64) -> float:
    """0.7 (distance to the axis - r(y)), cut at both ends; r is a cubic per segment of `profile`."""
    low, high = profile[0, 0], profile[-1, 1]
    inside = min(max(y, low), high)
    row = 0
    while row < profile.shape[0] - 1 and inside > profile[row, 1]:
        row += 1
    u = inside - profile[row, 0]
    radius = ((profile[row, 2] * u + profile[row, 3]) * u + profile[row, 4]) * u + profile[row, 5]
    side, cap = 0.7 * (_length(x, z) - radius), max(low - y, y - high)
    return max(side, cap) if cap < 0 or side < 0 else _length(side, cap)


@compiled(nogil=True)
def _polygon(x: float, y: float, corners: F64, count: int) -> float:
    nearest, sign = inf, 1.0
    for i in range(count):
        j = i - 1 if i else count - 1
        ax, ay, bx, by = corners[2 * i], corners[2 * i + 1], corners[2 * j], corners[2 * j + 1]
        nearest = min(nearest, _to_segment(x, y, ax, ay, bx, by))
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            sign = -sign
    return sign * sqrt(nearest)


@compiled(nogil=True)
def _outline(x: float, y: float, outline: F64) -> float:
    """Distance in the plane to a union. Rows: kind, corners, radius, then numbers of the kind."""
    found = inf
    for row in range(outline.shape[0]):
        entry = outline[row]
        if entry[0] == DISC:
            g = _length(x - entry[3], y - entry[4]) - entry[2]
        elif entry[0] == STROKE:
            g = sqrt(_to_segment(x, y, entry[3], entry[4], entry[5], entry[6])) - entry[2]
        else:
            g = _polygon(x, y, entry[3:], int(entry[1])) - entry[2]
        found = min(found, g)
    return found


@compiled(nogil=True)
def _primitive(p: F64, profile: F64, outline: F64, dx: float, dy: float, dz: float) -> float:
    """Distance of a point, given relative to the primitive's centre."""
    x = p[4] * dx + p[5] * dy + p[6] * dz
    y = p[7] * dx + p[8] * dy + p[9] * dz
    z = p[10] * dx + p[11] * dy + p[12] * dz
    a, b, c, d, e = float(p[13]), float(p[14]), float(p[15]), float(p[16]), float(p[17])
    kind = p[0]
    if kind == ELLIPSOID:
        k0 = sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
        k1 = sqrt((x / (a * a)) ** 2 + (y / (b * b)) ** 2 + (z / (c * c)) ** 2)
        return k0 * (k0 - 1) / k1 if k1 > 1e-9 else -min(a, b, c)
    if kind == BOX:
        return _box(x, y, z, a, b, c, d)
    if kind == CYLINDER:
        out, up = _length(x, z) - a + c, abs(y) - b + c
        return float(_length(max(out, 0.0), max(up, 0.0)) + min(max(out, up), 0.0) - c)
    if kind == CAPSULE:
        return sqrt(x * x + (y - min(max(y, -a), a)) ** 2 + z * z) - b
    if kind == TORUS:
        return _length(_length(x, z) - a, y) - b
    if kind == CONE:
        return _cone(x, y, z, a, b, c)
    if kind == LATHE:
        return _lathe(x, y, z, profile)
    if kind == CUTOUT:
        return float(0.5 * (_outline(x, y, outline) + z * z / (2 * a)))
    if kind == SUPERELLIPSOID:
        flat = (abs(x / a) ** (2 / e) + abs(z / c) ** (2 / e)) ** (e / d)
        return float(0.6 * min(a, b, c) * ((flat + abs(y / b) ** (2 / d)) ** (d / 2) - 1))
    if kind == TWISTED_BOX:
        turn = e * y
        return 0.6 * _box(cos(turn) * x - sin(turn) * z, y, sin(turn) * x + cos(turn) * z, a, b, c, d)
    return sqrt(min(_to_segment(x, y, 0.0, -a, b, 0.0), _to_segment(x, y, b, 0.0, 0.0, a)) + z * z) - c  # BENT


@compiled(nogil=True)
def _distance(primitives: F64, k: float, profile: F64, outline: F64, x: float, y: float, z: float) -> tuple[float, int]:
    """Return the distance of the union, and which primitive is nearest."""
    least, weight, nearest = inf, 0.0, 0
    for row in range(primitives.shape[0]):
        p = primitives[row]
        dx, dy, dz = x - p[1], y - p[2], z - p[3]
        # Half of the distance to a ball around it: approximate distances are at least 0.5 of the true ones.
        if 0.5 * (sqrt(dx * dx + dy * dy + dz * dz) - p[REACH]) > least + NEGLIGIBLE * k:
            continue
        f = _primitive(p, profile, outline, dx, dy, dz)
        if f < least:
            weight = 1.0 + (weight * exp((f - least) / k) if weight > 0 and least - f < NEGLIGIBLE * k else 0.0)
            least, nearest = f, row
        elif f - least < NEGLIGIBLE * k:
            weight += exp((least - f) / k)
    return least - k * log(weight), nearest


# --- colours --------------------------------------------------------------------------------------------------------


@compiled(nogil=True)
def _lattice(i: int, j: int, k: int, salt: int) -> float:
    """A number in 0..1 for a corner of the grid: a hash of 32-bit integers."""
    h = (i * 374761393 + j * 668265263 + k * 2147483647 + salt * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 2246822519) & 0xFFFFFFFF
    return ((h ^ (h >> 15)) & 0xFFFFFF) / 16777216.0


@compiled(nogil=True)
def _value_noise(x: float, y: float, z: float, salt: int) -> float:
    i, j, k = floor(x), floor(y), floor(z)
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    total = 0.0
    for corner in range(8):
        a, b, c = corner & 1, (corner >> 1) & 1, corner >> 2
        share = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
        total += share * _lattice(i + a, j + b, k + c, salt)
    return total


@compiled(nogil=True)
def _pattern(row: F64, x: float, y: float, z: float, blurred: bool) -> float:
    """Return the share of the second colour. Columns: kind, colours (6), frequency, direction (3), phase, size,
    salt."""
    kind, frequency = row[0], row[7]
    if kind == STRIPES:
        wave = sin(2 * pi * frequency * (row[8] * x + row[9] * y + row[10] * z) + row[11])
        return 0.5 + 0.5 * wave if blurred else (1.0 if wave > 0 else 0.0)
    if kind == CHECKER:
        cells = floor(frequency * x + row[11]) + floor(frequency * y + row[11]) + floor(frequency * z + row[11])
        return 0.5 if blurred else float(cells & 1)
    if kind == SPOTS:
        x, y, z = frequency * x + row[11], frequency * y + row[11], frequency * z + row[11]
        i, j, k, salt = floor(x), floor(y), floor(z), int(row[13])
        cx = i + 0.5 + 0.4 * (_lattice(i, j, k, salt) - 0.5)
        cy = j + 0.5 + 0.4 * (_lattice(i, j, k, salt + 1) - 0.5)
        cz = k + 0.5 + 0.4 * (_lattice(i, j, k, salt + 2) - 0.5)
        away = sqrt((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2)
        return min(max((row[12] + 0.25 - away) / 0.5, 0.0), 1.0) if blurred else (1.0 if away < row[12] else 0.0)
    if kind == GRADIENT:
        return float(min(max(0.5 + frequency * (row[8] * x + row[9] * y + row[10] * z), 0.0), 1.0))
    if kind == NOISE:
        total, size, salt = 0.0, 1.0, int(row[13])
        for octave in range(1 if blurred else 3):
            scaled = frequency / size
            total += size * (_value_noise(scaled * x, scaled * y, scaled * z, salt + octave) - 0.5)
            size /= 2
        return min(max(0.5 + 1.8 * total, 0.0), 1.0)
    return 0.0  # SOLID


@compiled(nogil=True)
def _paint(
    colour: F64, primitive: F64, textures: F64, decal: F64, spots: F64, picture: bool, x: float, y: float, z: float
) -> None:
    """Write the albedo of a point in object coordinates. The back of a picture is its front, mirrored and blurred."""
    blurred = picture and z < 0
    if picture:
        z = 0.0
    row = textures[int(primitive[PART])]
    share = _pattern(row, x, y, z, blurred)
    for channel in range(3):
        colour[channel] = (1 - share) * row[1 + channel] + share * row[4 + channel]
    if decal[0] > SOLID:
        share = _pattern(decal, x, y, z, blurred)
        for channel in range(3):
            colour[channel] = (1 - share) * colour[channel] + share * decal[4 + channel]
    for spot in range(spots.shape[0]):
        away = sqrt((x - spots[spot, 0]) ** 2 + (y - spots[spot, 1]) ** 2 + (z - spots[spot, 2]) ** 2) / spots[spot, 3]
        share = min(max((1.3 - away) / 0.6, 0.0), 1.0) if blurred else (1.0 if away < 1 else 0.0)
        for channel in range(3):
            colour[channel] = (1 - share) * colour[channel] + share * spots[spot, 4 + channel]


# --- pictures -------------------------------------------------------------------------------------------------------


@compiled(nogil=True)
def _gather(primitives: F64, k: float, scale: float, origin: F64, ray: F64, near: F64) -> tuple[int, float, float]:
    """Copy the primitives that a pixel's rays come near to; return how many, and between which places along the ray."""
    count, low, high = 0, inf, 0.0
    margin = 2 * NEAR * k + PIXEL / scale
    for row in range(primitives.shape[0]):
        p = primitives[row]
        dx, dy, dz = p[1] - origin[0], p[2] - origin[1], p[3] - origin[2]
        middle = dx * ray[0] + dy * ray[1] + dz * ray[2]
        gap = (p[REACH] + margin) ** 2 - (dx * dx + dy * dy + dz * dz - middle * middle)
        if gap > 0:
            low, high = min(low, max(middle - sqrt(gap), 0.0)), max(high, middle + sqrt(gap))
            near[count] = p
            count += 1
    return count, low, high


@compiled(nogil=True)
def _trace(
    near: F64, k: float, profile: F64, outline: F64, scale: float, origin: F64, ray: F64, low: float, high: float
) -> float:
    """Return where a ray first meets the object, in object units along it, or -1."""
    t = low
    for _ in range(STEPS):
        f, _nearest = _distance(
            near, k, profile, outline, origin[0] + t * ray[0], origin[1] + t * ray[1], origin[2] + t * ray[2]
        )
        if abs(f) * scale < HIT:
            return t
        t += min(max(FACTOR * f, BACKWARD / scale), FORWARD / scale)
        if t > high:
            return -1.0
    return -1.0


@compiled(nogil=True)
def silhouette(primitives: F64, k: float, profile: F64, outline: F64, place: F64, camera: F64, out: U8) -> None:
    """Write where an object is seen, uint8 [side, side], one ray per pixel. See `draw` for the arguments."""
    origin, ray, scale, side = np.empty(3), np.empty(3), place[0], out.shape[0]
    near = np.empty_like(primitives)
    for axis in range(3):
        origin[axis] = (camera[axis] - place[1 + axis]) / scale
    for i in range(side):
        for j in range(side):
            _aim(ray, camera, (j + 0.5) * 2 / side - 1, 1 - (i + 0.5) * 2 / side)
            count, low, high = _gather(primitives, k, scale, origin, ray, near)
            seen = count > 0 and _trace(near[:count], k, profile, outline, scale, origin, ray, low, high) >= 0
            out[i, j] = seen


@compiled(nogil=True)
def _aim(ray: F64, camera: F64, u: float, v: float) -> None:
    """Write the direction of a place in the picture; u to the right and v upwards, -1..1."""
    for axis in range(3):
        ray[axis] = camera[12] * (u * camera[3 + axis] + v * camera[6 + axis]) - camera[9 + axis]
    length = sqrt(ray[0] ** 2 + ray[1] ** 2 + ray[2] ** 2)
    for axis in range(3):
        ray[axis] /= length


@compiled(nogil=True)
def draw(
    primitives: F64,
    k: float,
    profile: F64,
    outline: F64,
    place: F64,
    textures: F64,
    decal: F64,
    spots: F64,
    picture: bool,
    light: F64,
    cameras: F64,
    out: U8,
) -> None:
    """Draw an object from several cameras, with four rays per pixel.

    Args:
        primitives: [n, PRIMITIVE].
        k: Width of the smooth union, object units.
        profile: Segments of the lathe, [s, 6]: y from, y to, cubic coefficients, highest first.
        outline: Shapes of the cut-out, [m, 19].
        place: Scale, then where the object's origin lies in the world (3).
        textures: Of the parts, [p, 14].
        decal: A pattern over all parts, [14]; none where its kind is SOLID.
        spots: Painted balls, [q, 7]: centre, radius, colour.
        picture: Whether textures are those of a cut-out.
        light: Direction to it in the world (3), ambient share.
        cameras: [V, 13]: position, right, up, backward, tangent of half the field of view.
        out: Written: premultiplied RGBA, [V, side, side, 4].
    """
    side, scale, ambient = out.shape[1], place[0], light[3]
    origin, ray, colour, total, normal = np.empty(3), np.empty(3), np.empty(3), np.empty(4), np.empty(3)
    near = np.empty_like(primitives)
    for view in range(cameras.shape[0]):
        camera = cameras[view]
        for axis in range(3):
            origin[axis] = (camera[axis] - place[1 + axis]) / scale
        for pixel in range(side * side):
            i, j = pixel // side, pixel % side
            _aim(ray, camera, (j + 0.5) * 2 / side - 1, 1 - (i + 0.5) * 2 / side)
            count, low, high = _gather(primitives, k, scale, origin, ray, near)
            if count == 0:
                out[view, i, j] = 0
                continue
            union = near[:count]
            total[:] = 0.0
            for sample in range(4):
                right, down = j + 0.25 + 0.5 * (sample & 1), i + 0.25 + 0.5 * (sample >> 1)
                _aim(ray, camera, right * 2 / side - 1, 1 - down * 2 / side)
                t = _trace(union, k, profile, outline, scale, origin, ray, low, high)
                if t < 0:
                    continue
                x, y, z = origin[0] + t * ray[0], origin[1] + t * ray[1], origin[2] + t * ray[2]
                f, nearest = _distance(union, k, profile, outline, x, y, z)
                _paint(colour, union[nearest], textures, decal, spots, picture, x, y, z)
                shade = 1.0
                if ambient < 1:
                    for axis in range(3):
                        dx, dy, dz = SLOPE * (axis == 0), SLOPE * (axis == 1), SLOPE * (axis == 2)
                        beside, _nearest = _distance(union, k, profile, outline, x + dx, y + dy, z + dz)
                        normal[axis] = beside - f
                    length = sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2) + 1e-12
                    facing = (normal[0] * light[0] + normal[1] * light[1] + normal[2] * light[2]) / length
                    shade = ambient + (1 - ambient) * 1.2 * max(facing, 0.0)
                for channel in range(3):
                    total[channel] += min(colour[channel] * shade, 1.0)
                total[3] += 1.0
            for channel in range(4):
                out[view, i, j, channel] = np.uint8(floor(total[channel] / 4 * 255 + 0.5))
