"""Optimisation of a scene: Gaussians that move, split and vanish until their pictures are those that were asked for.

`loop.py` is the loop, `config.py` holds every key, `adaptive.py` decides where there are too few or too many Gaussians,
`moving.py` is Adam over rows that come and go, `checkpoint.py` makes a killed run go on to the same numbers.
"""

from sensorium.lifting.optimisation.config import DensityConfig, OptimisationConfig, RatesConfig
from sensorium.lifting.optimisation.loop import Objective, Optimised, Remembering, StepOutcome, Watch, optimise

__all__ = [
    "DensityConfig",
    "Objective",
    "OptimisationConfig",
    "Optimised",
    "RatesConfig",
    "Remembering",
    "StepOutcome",
    "Watch",
    "optimise",
]
