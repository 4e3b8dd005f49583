"""Guidance: what pictures of the object from other sides should look like, given the photo.

base.py        the protocol, poses, and score distillation
none.py        nobody: the photo alone
view_prior.py  the embedded prior of this package
oracle.py      one that knows the truth, for tests and experiments
zero123.py     Zero-1-to-3 and Stable Zero123 from a local folder, through diffusers
"""

from sensorium.lifting.guidance.base import GROUP, Guidance, GuidanceOut, Pose

__all__ = ["GROUP", "Guidance", "GuidanceOut", "Pose"]
