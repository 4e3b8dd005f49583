"""The noise protocol: histories with slips and guesses, targets as they were.

Every answer of a history flips with a probability; the numbers that decide are drawn once for all rows of a data set,
before any window or feature is made, so that all models and all rates meet the same flips (those of .1 are among those
of .2). Counts must be made from the flipped history too, or the true answers leak.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import ConfigError
from sensorium.core.seeds import numpy_generator

RATES = (0.1, 0.2, 0.3)
SEED = 7

Flip = Literal["symmetric", "slip", "guess"]


def flip_history(
    response: npt.NDArray[np.int8], rate: float, *, flip: Flip = "symmetric", seed: int = SEED
) -> npt.NDArray[np.int8]:
    """Return all answers of a data set as noisy histories would hold them, int8 [N].

    Predictions made from them are compared with `response` itself.

    Args:
        response: int8 [N] of 0 and 1, all rows of the data set in its order.
        rate: Probability of a flip.
        flip: "symmetric"; "slip" flips right answers only, "guess" wrong ones only.
        seed: Of the draws.

    Raises:
        ConfigError: The rate is no probability.
    """
    if not 0 <= rate <= 1:
        raise ConfigError(f"a flip rate lies between 0 and 1, this one is {rate}")
    drawn = numpy_generator(seed, "flipped histories", len(response)).random(len(response)) < rate
    if flip != "symmetric":
        drawn &= response == (1 if flip == "slip" else 0)
    return np.where(drawn, 1 - response, response).astype(np.int8)
