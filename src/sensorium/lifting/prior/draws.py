"""Random draws of a procedural object: the same numbers on every platform.

Philox, a counter-based generator (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011), whose key is
made of the seed and what the draws are for. Only its uniform numbers of 53 bits are used: NumPy promises that stream,
while the algorithms of its other distributions may change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from sensorium.core.seeds import derive
from sensorium.lifting.prior.kernels import F64

T = TypeVar("T")


class Draws:
    """A stream of draws for one purpose."""

    def __init__(self, seed: int, *keys: int | str) -> None:
        self._source = np.random.Generator(np.random.Philox(key=derive(seed, *keys)))

    def unit(self) -> float:
        """Return a number in [0, 1)."""
        return float(self._source.random())

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self.unit()

    def uniforms(self, low: float, high: float, count: int = 3) -> F64:
        """Return numbers in [low, high), float64 [count]."""
        return np.array([self.uniform(low, high) for _ in range(count)])

    def integer(self, low: int, high: int) -> int:
        """Return a whole number from low to high, both included."""
        return low + int(self.unit() * (high - low + 1))

    def flag(self, probability: float) -> bool:
        """Return True with a probability."""
        return self.unit() < probability

    def choice(self, options: Sequence[T], shares: Sequence[float] | None = None) -> T:
        """Return one of the options, equally likely or by shares of any sum."""
        edges = np.cumsum([1.0] * len(options) if shares is None else shares)
        place = int(np.searchsorted(edges, self.unit() * edges[-1], side="right"))
        return options[min(place, len(options) - 1)]

    def direction(self) -> F64:
        """Return a direction in space, evenly spread, [3]."""
        height, turn = self.uniform(-1, 1), self.uniform(-math.pi, math.pi)
        out = math.sqrt(max(0.0, 1 - height * height))
        return np.array([out * math.cos(turn), height, out * math.sin(turn)])

    def rotation(self) -> F64:
        """Return a rotation, evenly spread, [3, 3] (Shoemake, Uniform random rotations, 1992)."""
        share, one, two = self.unit(), self.uniform(0, 2 * math.pi), self.uniform(0, 2 * math.pi)
        a, b = math.sqrt(1 - share), math.sqrt(share)
        x, y, z, w = a * math.sin(one), a * math.cos(one), b * math.sin(two), b * math.cos(two)
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )

    def colour(self) -> F64:
        """Return an RGB colour whose value is at least 0.3, [3] in 0..1."""
        hue, saturation, value = self.uniform(0, 6), self.uniform(0, 1), self.uniform(0.3, 1)
        ramp = np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
        return np.asarray(value * (1 - saturation * (1 - np.clip(ramp, 0, 1))))
