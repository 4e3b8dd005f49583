"""Guidance by the embedded prior of this package: 64 x 64 pixels with coverage, so that silhouettes have a gradient of
their own and no background enters (`lifting.prior`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from sensorium.core.config import Config
from sensorium.core.errors import DataError
from sensorium.core.files import digest, sha256_file
from sensorium.lifting.guidance.base import (
    GuidanceOut,
    Pose,
    Times,
    at_side,
    check_steps,
    distil,
    mean_time,
    times_of,
)
from sensorium.lifting.prior import Reference, ViewPrior

REFINING_STEPS = 50  # of a whole DDIM run, of which refinement does the last ones


class ViewPriorConfig(Config):
    """How the embedded prior guides."""

    scale: float = Field(2.0, ge=0, description="g of classifier-free guidance, at which it distils and refines")
    weights: str | None = Field(None, description="a file of one's own training; none: the one of this package")
    times: Times = Field("annealed", description="of the noise that it distils at: falling with the steps, or drawn "
                         "evenly for each picture")  # fmt: skip


class ViewPriorGuidance:
    """Distils the embedded prior. See `base.Guidance`."""

    Config = ViewPriorConfig
    name = "view-prior"
    space = "pixel"
    uses_alpha = True

    def __init__(self, config: ViewPriorConfig | None = None, *, prior: ViewPrior | None = None) -> None:
        self.config = config or ViewPriorConfig()
        weights = self.config.weights
        if prior is not None:
            state = {name: value.cpu().numpy() for name, value in prior.network.state_dict().items()}
            self.prior, self._identity = prior, digest("given weights", state)
        elif weights is None:
            self.prior = ViewPrior.shipped()
            self._identity = str(self.prior.card.get("sha256"))
        else:
            self.prior, self._identity = ViewPrior.from_file(weights), sha256_file(weights)
        self.native_size = self.prior.native_size
        self._reference: Reference | None = None

    def prepare(self, reference: Tensor, elevation: float) -> None:
        """Encode the photo, where it lies: the prior moves there."""
        self._reference = self.prior.to(reference.device).reference(reference, elevation)

    def elevation(self, reference: Tensor) -> float:
        """Return the elevation in degrees that a photo [4, R, R] seems to be taken from."""
        return self.prior.elevation(reference.to(self.prior.device))

    def identity(self) -> str:
        """Return a digest of weights and settings."""
        drawn = [] if self.config.times == "annealed" else [self.config.times]
        return digest(self._identity, self.config.scale, *drawn)

    def sds(self, rgba: Tensor, poses: Sequence[Pose], share: float, generator: torch.Generator) -> GuidanceOut:
        """Distil at times that are annealed or drawn."""
        z = 2 * at_side(rgba, self.native_size).to(self._known.picture.device) - 1
        t = times_of(share, len(z), self.config.times, generator)
        alpha_bar = self.prior.schedule.share_at(t)
        elevations, azimuths = _angles(poses, z)

        def predict(noisy: Tensor) -> Tensor:
            return self.prior.predict(noisy, t, self._known, elevations, azimuths, scale=self.config.scale)

        loss, logs = distil(z, alpha_bar, predict, generator)
        return GuidanceOut(loss.to(rgba.device), {"t": mean_time(t), **logs})

    def refine(self, rgba: Tensor, poses: Sequence[Pose], strength: float, generator: torch.Generator) -> Tensor:
        """Noise the pictures and denoise them."""
        begin = at_side(rgba.detach(), self.native_size).clamp(0, 1).to(self._known.picture.device)
        elevations, azimuths = _angles(poses, begin)
        refined = self.prior.sample(
            self._known,
            elevations,
            azimuths,
            steps=REFINING_STEPS,
            scale=self.config.scale,
            generator=generator,
            begin=begin,
            strength=(REFINING_STEPS - int(REFINING_STEPS * strength) + 0.5) / REFINING_STEPS,
        )
        return refined.to(rgba.device)

    def sample(
        self, poses: Sequence[Pose], *, steps: int = 50, scale: float | None = None, generator: torch.Generator
    ) -> Tensor:
        """Make views by DDIM from noise. See `base.Sampler`."""
        check_steps(steps)
        elevations, azimuths = _angles(poses, self._known.picture)
        g = self.config.scale if scale is None else scale
        return self.prior.sample(self._known, elevations, azimuths, steps=steps, scale=g, generator=generator)

    @property
    def _known(self) -> Reference:
        if self._reference is None:
            raise DataError("guidance has to see the photo first: call prepare")
        return self._reference


def _angles(poses: Sequence[Pose], like: Tensor) -> tuple[Tensor, Tensor]:
    values: Any = [[pose.elevation for pose in poses], [pose.azimuth for pose in poses]]
    elevations, azimuths = torch.tensor(values, dtype=like.dtype, device=like.device)
    return elevations, azimuths
