"""From evidence to a weight: how likely each train row is meant, given the share that is not.

lambda = log f(phi) / f0(phi)     density ratio of observed rows against null pairs, by a logistic regression
pi0    = share of rows below the null's 5 % quantile of lambda, divided by 5 %      (an upper bound)
w      = sigmoid(l - b),  b such that the mean of w is 1 - pi0
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from sensorium.core.seeds import numpy_generator

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

LOW_QUANTILE = 0.05
NEWTON_STEPS = 50
USER_PRIOR_ROUNDS = 3
RESAMPLES = 1000


class DensityRatio(NamedTuple):
    """A fitted log density ratio: `intercept + coefficients @ (phi - mean) / sd`.

    Attributes:
        mean: float64 [k], of the null's features.
        sd: float64 [k], of the null's features.
        coefficients: float64 [k].
        intercept: A number.
    """

    mean: Floats
    sd: Floats
    coefficients: Floats
    intercept: float

    def of(self, phi: Floats) -> Floats:
        """Return lambda in nats, float64 [n], of features [n, k]."""
        return self.intercept + (phi - self.mean) @ (self.coefficients / self.sd)


def fit_density_ratio(observed: Floats, null: Floats, *, not_negative: int, penalty: float = 1.0) -> DensityRatio:
    """Fit observed rows (1) against null pairs (0), both classes of equal total weight, ridge on standardised features.

    Args:
        observed: float64 [n, k].
        null: float64 [m, k].
        not_negative: So many of the first features must not count against a row: a negative coefficient becomes 0, and
            the others are fitted again.
        penalty: Of the squared coefficients; the intercept has none. As 1 / C of the usual C.
    """
    mean, sd = null.mean(0), null.std(0)
    sd[sd == 0] = 1.0
    x = (np.concatenate([observed, null]) - mean) / sd
    y = np.concatenate([np.ones(len(observed)), np.zeros(len(null))])
    weight = len(y) / 2 / np.concatenate([np.full(len(observed), len(observed)), np.full(len(null), len(null))])
    used = np.arange(x.shape[1])
    while True:
        intercept, fitted = _newton(x[:, used], y, weight, penalty)
        kept = (fitted >= 0) | (used >= not_negative)
        if kept.all():
            break
        used = used[kept]
    coefficients = np.zeros(x.shape[1])
    coefficients[used] = fitted
    return DensityRatio(mean, sd, coefficients, intercept)


def _newton(x: Floats, y: Floats, weight: Floats, penalty: float) -> tuple[float, Floats]:
    """Return intercept and coefficients of a weighted logistic regression, by Newton steps that never overshoot."""
    x = np.column_stack([np.ones(len(x)), x])
    ridge = np.full(x.shape[1], penalty)
    ridge[0] = 0.0
    theta = np.zeros(x.shape[1])

    def value(at: Floats) -> float:
        score = x @ at
        return float(weight @ (np.logaddexp(0.0, score) - y * score) + 0.5 * ridge @ at**2)

    current = value(theta)
    for _ in range(NEWTON_STEPS):
        probability = expit(x @ theta)
        gradient = x.T @ (weight * (probability - y)) + ridge * theta
        curvature = weight * probability * (1 - probability)
        step = np.linalg.solve((x * curvature[:, None]).T @ x + np.diag(ridge + 1e-9), gradient)
        size = 1.0
        while value(theta - size * step) > current and size > 1e-6:
            size /= 2
        theta = theta - size * step
        current = value(theta)
        if np.abs(size * step).max() < 1e-8:
            break
    return float(theta[0]), theta[1:]


class NoiseShare(NamedTuple):
    """An estimate of the share of rows that are noise, an upper bound, with its 95 % interval over users."""

    share: float
    low: float
    high: float


def estimate_share(observed: Floats, null: Floats, user: Integers) -> NoiseShare:
    """Return the share of rows below the null's 5 % quantile, divided by 5 %; at most 1.

    If a share pi0 of the rows is noise and taste never falls that low, the expectation is pi0; taste that does makes it
    more. The interval draws users, since rows of one user are no independent witnesses.

    Args:
        observed: lambda of the train rows, float64 [E].
        null: lambda of the null pairs, float64 [m].
        user: int64 [E], the rows' users.
    """
    below = observed < np.quantile(null, LOW_QUANTILE)
    users, place = np.unique(user, return_inverse=True)
    rows = np.bincount(place).astype(np.float64)
    low_rows = np.bincount(place, below)
    generator = numpy_generator(0, "noise share", len(users))
    shares = []
    for _ in range(RESAMPLES):
        times = np.bincount(generator.integers(0, len(users), len(users)), minlength=len(users))
        shares.append(times @ low_rows / (times @ rows))
    low, high = np.quantile(shares, [0.025, 0.975])
    values = np.minimum(np.array([below.mean(), low, high]) / LOW_QUANTILE, 1.0)
    return NoiseShare(*(float(value) for value in values))


def weights(evidence: Floats, share: float, user: Integers, *, user_prior: float | None = None) -> Floats:
    """Return w in (0, 1) with mean 1 - share: float64 [E].

    Args:
        evidence: l, float64 [E].
        share: pi0.
        user: int64 [E].
        user_prior: alpha: each user gets a share of noise of the own, (alpha pi0 + sum (1 - w)) / (alpha + n_u), for
            data where some accounts are noisy as a whole; None = one share for all.
    """
    w: Floats = expit(evidence - _offset(evidence, share))
    if user_prior is None or not 0 < share < 1:
        return w
    count = np.bincount(user)
    for _ in range(USER_PRIOR_ROUNDS):
        own = (user_prior * share + np.bincount(user, 1 - w)) / (user_prior + count)
        own = np.clip(own, 1e-6, 1 - 1e-6)
        shifted = evidence - (_logit(own) - _logit(share))[user]
        w = expit(shifted - _offset(shifted, share))
    return w


def _logit(share: float | Floats) -> Floats:
    return np.asarray(np.log(share) - np.log1p(-np.asarray(share)), dtype=np.float64)


def _offset(evidence: Floats, share: float) -> float:
    """Return b by bisection."""
    low, high = float(evidence.min()) - 40.0, float(evidence.max()) + 40.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if expit(evidence - middle).mean() > 1 - share else (low, middle)
    return (low + high) / 2


def clean_rows(evidence: Floats, w: Floats, user: Integers) -> Booleans:
    """Return which rows count as clean: w >= 1/2, and of each user at least the better half by evidence: bool [E].

    Args:
        evidence: l, float64 [E].
        w: float64 [E].
        user: int64 [E], ascending.
    """
    order = np.lexsort((-evidence, user))
    count = np.bincount(user, minlength=int(user.max(initial=-1)) + 1)
    start = np.concatenate([[0], np.cumsum(count)])
    rank = np.empty(len(user), dtype=np.int64)
    rank[order] = np.arange(len(user)) - start[user[order]]
    clean: Booleans = (w >= 0.5) | (rank < -(-count[user] // 2))
    return clean
