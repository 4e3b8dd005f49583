"""Colours of procedural objects, many points at a time: what `kernels` paints one by one, in torch, on any device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sensorium.lifting.prior import kernels


def paint(texture: Tensor, decal: Tensor, spots: Tensor, picture: Tensor, points: Tensor) -> Tensor:
    """Return the albedo of points, [n, 3] in 0..1.

    Args:
        texture: Of the part that each point lies on, [n, 14].
        decal: Of its object, [n, 14]; none where its kind is SOLID.
        spots: Of its object, [n, q, 7]; padded with balls of radius 0.
        picture: Whether textures are those of a cut-out, whose back is its front, mirrored and blurred: bool [n].
        points: In object coordinates, [n, 3].
    """
    blurred = picture & (points[:, 2] < 0)
    x, y, z = points[:, 0], points[:, 1], torch.where(picture, 0.0, points[:, 2])
    share = _pattern(texture, x, y, z, blurred)[:, None]
    colour = (1 - share) * texture[:, 1:4] + share * texture[:, 4:7]
    share = torch.where(decal[:, 0] > kernels.SOLID, _pattern(decal, x, y, z, blurred), 0.0)[:, None]
    colour = (1 - share) * colour + share * decal[:, 4:7]
    for spot in spots.unbind(1):
        away = _length(x - spot[:, 0], y - spot[:, 1], z - spot[:, 2]) / spot[:, 3]
        share = torch.where(blurred, ((1.3 - away) / 0.6).clamp(0, 1), (away < 1).to(away))
        share = torch.where(spot[:, 3] > 0, share, 0.0)[:, None]
        colour = (1 - share) * colour + share * spot[:, 4:7]
    return colour


def _length(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return (x * x + y * y + z * z).sqrt()


def _pattern(row: Tensor, x: Tensor, y: Tensor, z: Tensor, blurred: Tensor) -> Tensor:
    """Share of the second colour, [n]. Columns are those of `kernels`: kind, colours (6), frequency, direction (3),
    phase, size, salt."""
    kind, frequency, phase, salt = row[:, 0], row[:, 7], row[:, 11], row[:, 13].long()
    along = row[:, 8] * x + row[:, 9] * y + row[:, 10] * z
    wave = (2 * math.pi * frequency * along + phase).sin()
    stripes = torch.where(blurred, 0.5 + 0.5 * wave, (wave > 0).to(wave))
    u, v, w = frequency * x + phase, frequency * y + phase, frequency * z + phase
    i, j, k = (value.floor().long() for value in (u, v, w))
    checker = torch.where(blurred, 0.5, ((i + j + k) & 1).to(wave))
    centre = [at + 0.5 + 0.4 * (_lattice(i, j, k, salt + axis).to(wave) - 0.5) for axis, at in enumerate((i, j, k))]
    away = _length(u - centre[0], v - centre[1], w - centre[2])
    size = row[:, 12]
    spots = torch.where(blurred, ((size + 0.25 - away) / 0.5).clamp(0, 1), (away < size).to(away))
    gradient = (0.5 + frequency * along).clamp(0, 1)
    found = torch.zeros_like(x)
    for number, values in (
        (kernels.STRIPES, stripes),
        (kernels.CHECKER, checker),
        (kernels.SPOTS, spots),
        (kernels.GRADIENT, gradient),
    ):
        found = torch.where(kind == number, values, found)
    noisy = (kind == kernels.NOISE).nonzero()[:, 0]  # the dear one, where it is asked for alone
    if len(noisy):
        told = [value[noisy] for value in (frequency, x, y, z, salt, blurred)]
        found = found.index_put((noisy,), _noise(*told))
    return found


def _noise(frequency: Tensor, x: Tensor, y: Tensor, z: Tensor, salt: Tensor, blurred: Tensor) -> Tensor:
    total, size = torch.zeros_like(x), 1.0
    for octave in range(3):
        scaled = frequency / size
        part = size * (_value_noise(scaled * x, scaled * y, scaled * z, salt + octave) - 0.5)
        total = total + (torch.where(blurred, 0.0, part) if octave else part)
        size /= 2
    return (0.5 + 1.8 * total).clamp(0, 1)


def _value_noise(x: Tensor, y: Tensor, z: Tensor, salt: Tensor) -> Tensor:
    i, j, k = x.floor(), y.floor(), z.floor()
    u, v, w = (value * value * (3 - 2 * value) for value in (x - i, y - j, z - k))
    i, j, k = i.long(), j.long(), k.long()
    total = torch.zeros_like(x)
    for corner in range(8):
        a, b, c = corner & 1, (corner >> 1) & 1, corner >> 2
        share = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
        total = total + share * _lattice(i + a, j + b, k + c, salt).to(x)
    return total


def _lattice(i: Tensor, j: Tensor, k: Tensor, salt: Tensor) -> Tensor:
    """A number in 0..1 for a corner of the grid, float64: a hash of 32-bit integers, in 64 bits that wrap around."""
    h = (i * 374761393 + j * 668265263 + k * 2147483647 + salt * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 2246822519) & 0xFFFFFFFF
    return ((h ^ (h >> 15)) & 0xFFFFFF).double() / 16777216.0
