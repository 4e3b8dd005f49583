"""Signed distances of primitives, many points at a time: what `kernels` says of one, in torch, on any device.

Functions take points of one kind of primitive, each with its own row of the table: coordinates [n] in the primitive's
frame, sizes [n, 6]. The smooth union stands in `batched`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sensorium.lifting.prior import kernels

ABSENT = -1.0  # kind of a row that pads an outline


def distance(kind: int, sizes: Tensor, profile: Tensor, outline: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return the distances [n] of points to primitives of one kind.

    Args:
        kind: As in the first column of a primitive.
        sizes: [n, 6].
        profile: Segments of the lathes that the points belong to, [n, s, 6]; padded with rows that begin at infinity.
        outline: Shapes of their cut-outs, [n, m, 19]; padded with rows of kind `ABSENT`.
        x: In the primitive's frame, [n].
        y: Likewise.
        z: Likewise.
    """
    a, b, c, d, e, _ = sizes.unbind(1)
    if kind == kernels.ELLIPSOID:
        k0 = ((x / a).square() + (y / b).square() + (z / c).square()).sqrt()
        k1 = ((x / (a * a)).square() + (y / (b * b)).square() + (z / (c * c)).square()).sqrt()
        return torch.where(k1 > 1e-9, k0 * (k0 - 1) / k1.clamp_min(1e-9), -torch.minimum(torch.minimum(a, b), c))
    if kind == kernels.BOX:
        return _box(x, y, z, a, b, c, d)
    if kind == kernels.CYLINDER:
        out, up = _length(x, z) - a + c, y.abs() - b + c
        return _length(out.clamp_min(0), up.clamp_min(0)) + torch.maximum(out, up).clamp_max(0) - c
    if kind == kernels.CAPSULE:
        along = torch.maximum(torch.minimum(y, a), -a)
        return (x * x + (y - along).square() + z * z).sqrt() - b
    if kind == kernels.TORUS:
        return _length(_length(x, z) - a, y) - b
    if kind == kernels.CONE:
        return _cone(x, y, z, a, b, c)
    if kind == kernels.LATHE:
        return _lathe(x, y, z, profile)
    if kind == kernels.CUTOUT:
        return 0.5 * (_outline(x, y, outline) + z * z / (2 * a))
    if kind == kernels.SUPERELLIPSOID:
        flat = ((x / a).abs() ** (2 / e) + (z / c).abs() ** (2 / e)) ** (e / d)
        least = torch.minimum(torch.minimum(a, b), c)
        return 0.6 * least * ((flat + (y / b).abs() ** (2 / d)) ** (d / 2) - 1)
    if kind == kernels.TWISTED_BOX:
        cos, sin = (e * y).cos(), (e * y).sin()
        return 0.6 * _box(cos * x - sin * z, y, sin * x + cos * z, a, b, c, d)
    nothing = torch.zeros_like(a)  # BENT
    below, above = _to_segment(x, y, nothing, -a, b, nothing), _to_segment(x, y, b, nothing, nothing, a)
    return (torch.minimum(below, above) + z * z).sqrt() - c


def _length(x: Tensor, y: Tensor) -> Tensor:
    return (x * x + y * y).sqrt()


def _box(x: Tensor, y: Tensor, z: Tensor, a: Tensor, b: Tensor, c: Tensor, rounding: Tensor) -> Tensor:
    x, y, z = x.abs() - a + rounding, y.abs() - b + rounding, z.abs() - c + rounding
    outside = (x.clamp_min(0).square() + y.clamp_min(0).square() + z.clamp_min(0).square()).sqrt()
    return outside + torch.maximum(torch.maximum(x, y), z).clamp_max(0) - rounding


def _to_segment(x: Tensor, y: Tensor, ax: Tensor, ay: Tensor, bx: Tensor, by: Tensor) -> Tensor:
    """Squared distance in the plane to the segment from a to b."""
    px, py, dx, dy = x - ax, y - ay, bx - ax, by - ay
    along = ((px * dx + py * dy) / (dx * dx + dy * dy)).clamp(0, 1)
    return (px - along * dx).square() + (py - along * dy).square()


def _cone(x: Tensor, y: Tensor, z: Tensor, bottom: Tensor, top: Tensor, half: Tensor) -> Tensor:
    out = _length(x, z)
    ax, ay = out - torch.minimum(out, torch.where(y < 0, bottom, top)), y.abs() - half
    kx, ky = top - bottom, 2 * half
    share = (((top - out) * kx + (half - y) * ky) / (kx * kx + ky * ky)).clamp(0, 1)
    bx, by = out - top + kx * share, y - half + ky * share
    nearest = torch.minimum(ax * ax + ay * ay, bx * bx + by * by).sqrt()
    return torch.where((bx < 0) & (ay < 0), -nearest, nearest)


def _lathe(x: Tensor, y: Tensor, z: Tensor, profile: Tensor) -> Tensor:
    begins, ends = profile[:, :, 0], profile[:, :, 1]
    low = begins[:, 0]
    high = torch.where(begins.isinf(), -math.inf, ends).amax(1)
    inside = torch.maximum(torch.minimum(y, high), low)
    row = (inside[:, None] > torch.where(begins.isinf(), math.inf, ends)).sum(1)
    segment = profile[torch.arange(len(row), device=row.device), row]
    u = inside - segment[:, 0]
    radius = ((segment[:, 2] * u + segment[:, 3]) * u + segment[:, 4]) * u + segment[:, 5]
    side, cap = 0.7 * (_length(x, z) - radius), torch.maximum(low - y, y - high)
    return torch.where((cap < 0) | (side < 0), torch.maximum(side, cap), _length(side, cap))


def _outline(x: Tensor, y: Tensor, outline: Tensor) -> Tensor:
    """Distance in the plane to a union. Rows: kind, corners, radius, then numbers of the kind."""
    found = torch.full_like(x, math.inf)
    for row in range(outline.shape[1]):
        kinds = outline[:, row, 0]
        for kind in (kernels.DISC, kernels.STROKE, kernels.POLYGON):
            some = (kinds == kind).nonzero()[:, 0]  # a polygon costs sixteen times what a disc does
            if not len(some):
                continue
            entry, u, v = outline[some, row], x[some], y[some]
            if kind == kernels.DISC:
                g = _length(u - entry[:, 3], v - entry[:, 4])
            elif kind == kernels.STROKE:
                g = _to_segment(u, v, *entry[:, 3:7].unbind(1)).sqrt()
            else:
                g = _polygon(u, v, entry)
            found[some] = torch.minimum(found[some], g - entry[:, 2])
    return found


def _polygon(x: Tensor, y: Tensor, entry: Tensor) -> Tensor:
    count = entry[:, 1].long()
    nearest, inside = torch.full_like(x, math.inf), torch.zeros_like(x, dtype=torch.bool)
    last = entry.gather(1, torch.stack([1 + 2 * count, 2 + 2 * count], 1))
    bx, by = last.unbind(1)
    for i in range(int(count.max())):
        known = i < count
        ax, ay = entry[:, 3 + 2 * i], entry[:, 4 + 2 * i]
        nearest = torch.where(known, torch.minimum(nearest, _to_segment(x, y, ax, ay, bx, by)), nearest)
        crosses = ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
        inside = inside ^ (crosses & known)
        bx, by = ax, ay
    return torch.where(inside, -nearest.sqrt(), nearest.sqrt())
