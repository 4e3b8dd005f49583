"""The embedded prior: how an object of a photograph looks from other sides, by a small diffusion model of this project.

`ViewPrior` is the trained model; `objects`, `families` and `rendering` make what it is trained on.
"""

from sensorium.lifting.prior.schedule import CosineSchedule
from sensorium.lifting.prior.view_prior import Reference, ViewPrior

__all__ = ["CosineSchedule", "Reference", "ViewPrior"]
