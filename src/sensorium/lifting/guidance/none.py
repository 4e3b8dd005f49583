"""No guidance: the photo alone is fitted. What any other must beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sensorium.core.config import Config
from sensorium.lifting.guidance.base import GuidanceOut, Pose, at_side


class NoGuidanceConfig(Config):
    """Nothing to set."""


class NoGuidance:
    """Says nothing: zero loss, pictures as they are. See `base.Guidance`."""

    Config = NoGuidanceConfig
    name = "none"
    space = "pixel"
    native_size = 64
    uses_alpha = True

    def __init__(self, config: Any = None) -> None:
        self.config = config or NoGuidanceConfig()

    def prepare(self, reference: Tensor, elevation: float) -> None:
        """Take nothing."""

    def identity(self) -> str:
        """Return its name."""
        return self.name

    def sds(self, rgba: Tensor, poses: Sequence[Pose], share: float, generator: torch.Generator) -> GuidanceOut:
        """Return zeros."""
        return GuidanceOut(rgba.sum((1, 2, 3)) * 0)

    def refine(self, rgba: Tensor, poses: Sequence[Pose], strength: float, generator: torch.Generator) -> Tensor:
        """Return the pictures."""
        return at_side(rgba.detach(), self.native_size)
