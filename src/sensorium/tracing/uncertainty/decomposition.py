"""What a spread of predictions says: how uncertain, and how much of it is the model's own doubt.

    total H(E p) = aleatory E H(p) + epistemic (their difference, BALD);  variance = Var p

over draws of a state, passes with dropout, or members of an ensemble: the same definitions for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SMALLEST = 1e-12


@dataclass(frozen=True)
class Decomposed:
    """Predictions and their uncertainty, float64 [...] each; entropies in nats.

    Attributes:
        p: E p.
        variance: Var p, epistemic.
        total: H(E p).
        aleatory: E H(p): what remains were the state known.
    """

    p: Floats
    variance: Floats
    total: Floats
    aleatory: Floats

    @property
    def epistemic(self) -> Floats:
        """The part of the entropy that knowing the state would remove (BALD)."""
        return self.total - self.aleatory

    @property
    def confidence(self) -> Floats:
        """|p - .5|: the order in which a calibrated model is best deferred."""
        return np.abs(self.p - 0.5)


def entropy(p: Floats) -> Floats:
    """Return the entropy of right or wrong, float64 [...], nats."""
    p = np.clip(p, SMALLEST, 1 - SMALLEST)
    return np.asarray(-p * np.log(p) - (1 - p) * np.log1p(-p))


def decompose(draws: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Decomposed:
    """Decompose K predictions of everything.

    Args:
        draws: float [K, ...], probabilities.
        weights: float [K] that sum to 1 (nodes of a quadrature); None weighs all alike.
    """
    p = np.asarray(draws, dtype=np.float64)
    shares = np.full(len(p), 1 / len(p)) if weights is None else np.asarray(weights, dtype=np.float64)
    mean = np.tensordot(shares, p, 1)
    return Decomposed(
        mean, np.tensordot(shares, (p - mean) ** 2, 1), entropy(mean), np.tensordot(shares, entropy(p), 1)
    )


def gaussian_nodes(logit: Floats, logit_variance: Floats, nodes: int = 9) -> tuple[Floats, Floats]:
    """Return probabilities at the Gauss–Hermite nodes of a Gaussian logit, float64 [nodes, ...], and their weights."""
    places, weights = np.polynomial.hermite_e.hermegauss(nodes)
    shape = (-1, *([1] * np.ndim(logit)))
    at = logit[None] + np.sqrt(logit_variance)[None] * places.reshape(shape)
    return 1 / (1 + np.exp(-at)), weights / weights.sum()
