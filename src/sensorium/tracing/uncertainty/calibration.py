"""Scaling by one temperature: it divides the logit, is fitted on validation answers and applied to others (Guo et al.,
ICML 2017). The numbers and bins of calibration itself are in `tracing.evaluation.metrics`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from sensorium.core.errors import DataError

Floats = npt.NDArray[np.float64]

CLIP = 1e-6


def fit_temperature(p: npt.ArrayLike, response: npt.ArrayLike) -> float:
    """Return the temperature that gives validation answers their highest likelihood.

    Args:
        p: float [n].
        response: [n] of 0 and 1.

    Raises:
        DataError: There are no answers.
    """
    chances, right = np.asarray(p, dtype=np.float64), np.asarray(response)
    if not len(chances):
        raise DataError("a temperature is fitted on validation answers, and there are none")
    logits = logit(np.clip(chances, CLIP, 1 - CLIP))
    signs = np.where(right == 1, 1.0, -1.0)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signs * logits / np.exp(log_temperature)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-6}).x))


def scaled(p: npt.ArrayLike, temperature: float) -> Floats:
    """Return probabilities at a temperature, float64 [n]."""
    return np.asarray(expit(logit(np.clip(np.asarray(p, dtype=np.float64), CLIP, 1 - CLIP)) / temperature))
