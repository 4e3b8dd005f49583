"""The number right among the next m answers: its distribution, its band, and whether truth falls where it should.

Given a state, answers are independent, so the number right is Poisson-binomial; over draws of the state it is the mean
of those distributions, which is wider. A band for a discrete number is checked by the randomised probability integral
transform (Czado, Gneiting and Held 2009), which is uniform where the distribution is right, and by the CRPS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensorium.core.seeds import numpy_generator

Floats = npt.NDArray[np.float64]

BAND = 0.8


def poisson_binomial(p: npt.ArrayLike) -> Floats:
    """Return the distribution of the number of successes: float [..., m] to float64 [..., m + 1]."""
    chances = np.asarray(p, dtype=np.float64)
    pmf = np.zeros((*chances.shape[:-1], chances.shape[-1] + 1))
    pmf[..., 0] = 1
    for place in range(chances.shape[-1]):  # over the m answers of a block, all blocks at once
        chance = chances[..., place, None]
        pmf[..., 1:] = pmf[..., 1:] * (1 - chance) + pmf[..., :-1] * chance
        pmf[..., 0] *= 1 - chance[..., 0]
    return pmf


def score_distribution(draws: npt.ArrayLike) -> Floats:
    """Return the distribution of the number right under draws of the state: float [K, n, m] to float64 [n, m + 1]."""
    return np.asarray(poisson_binomial(draws).mean(axis=0))


@dataclass(frozen=True)
class Bands:
    """How good distributions of scores are, float64 [n] each.

    Attributes:
        pit: Randomised probability integral transform, uniform on [0, 1] where the distribution is right.
        covered: Whether it falls in the central band, 1 or 0.
        width: Of the central band, in answers.
        crps: Continuous ranked probability score, in answers; smaller is better.
    """

    pit: Floats
    covered: Floats
    width: Floats
    crps: Floats


def judge_bands(pmf: Floats, right: npt.ArrayLike, *, level: float = BAND, seed: int = 0) -> Bands:
    """Compare distributions of scores with what came.

    Args:
        pmf: float64 [n, m + 1].
        right: int [n], the number that was right.
        level: Of the central band.
        seed: Of the randomisation within the steps of a distribution.
    """
    number = np.asarray(right)
    cdf = np.minimum(np.cumsum(pmf, axis=1), 1.0)
    rows = np.arange(len(pmf))
    below = np.where(number > 0, cdf[rows, np.maximum(number - 1, 0)], 0.0)
    pit = below + numpy_generator(seed, "randomised pit", len(pmf)).random(len(pmf)) * pmf[rows, number]
    low, high = (1 - level) / 2, (1 + level) / 2
    places = np.arange(pmf.shape[1])
    ends = [(cdf < edge - 1e-12).sum(axis=1) for edge in (low, high)]
    crps = ((cdf - (places >= number[:, None])) ** 2).sum(axis=1)
    return Bands(pit, ((pit >= low) & (pit <= high)).astype(np.float64), (ends[1] - ends[0]).astype(np.float64), crps)
