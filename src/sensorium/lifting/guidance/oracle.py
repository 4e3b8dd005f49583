"""Guidance that knows the truth: for tests, and for experiments that separate a method from the quality of a prior.

    z*         the true picture from each camera, as a sample 2 RGBA - 1
    eps_hat  = eps + (z - z*) sqrt(a) / sqrt(1 - a)       the exact denoiser of a single picture

so that grad = sqrt(a (1 - a)) (z - z*). It can be made worse on purpose: `noise` adds N(0, noise^2) to z* at every
call; `janus` shows the front, with this probability, to cameras that look from behind (over 90 degrees away), as priors
do that know the front best. `Constant` holds one picture for the truth from everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.core.files import digest
from sensorium.lifting.guidance.base import (
    GuidanceOut,
    Pose,
    Times,
    at_side,
    check_steps,
    distil,
    factors,
    mean_time,
    times_of,
)
from sensorium.lifting.prior import CosineSchedule

Truth = Callable[[Pose, int], Tensor]  # a pose and a side to premultiplied RGBA [4, side, side]

BEHIND = 90.0  # degrees


class Oracle:
    """Knows the picture from every camera. See `base.Guidance`.

    Args:
        truth: Premultiplied RGBA [4, side, side] of a pose and a side.
        noise: Standard deviation of what is added to the truth at every call, in units of 2 RGBA - 1.
        janus: Probability that the front is shown in place of a side over 90 degrees away.
        side: Pixels along its pictures.
        times: At which times it distils, see `base.times_of`.
    """

    space = "pixel"
    uses_alpha = True

    def __init__(
        self, truth: Truth, *, noise: float = 0.0, janus: float = 0.0, side: int = 64, times: Times = "annealed"
    ) -> None:
        self.truth, self.noise, self.janus, self.native_size, self.times = truth, noise, janus, side, times
        self.name = "oracle-janus" if janus else "oracle-noisy" if noise else "oracle"
        self.schedule = CosineSchedule()
        self.front = Pose(0.0, 0.0)
        self._device = torch.device("cpu")

    def prepare(self, reference: Tensor, elevation: float) -> None:
        """Take the place of the photo's camera, and where it lies; the picture is known already."""
        self.front, self._device = Pose(elevation, 0.0), reference.device

    def identity(self) -> str:
        """Return a digest of its settings and of what it knows of the front."""
        front = self.truth(self.front, self.native_size).cpu().numpy()
        drawn = [] if self.times == "annealed" else [self.times]
        return digest(self.name, self.noise, self.janus, front, *drawn)

    def sds(self, rgba: Tensor, poses: Sequence[Pose], share: float, generator: torch.Generator) -> GuidanceOut:
        """Distil at times that are annealed or drawn."""
        z = 2 * at_side(rgba, self.native_size) - 1
        wanted = self._samples(poses, z, generator)
        t = times_of(share, len(rgba), self.times, generator)
        alpha_bar = self.schedule.share_at(t)
        signal, spread, _weight = factors(alpha_bar, z)
        ratio = math.sqrt(alpha_bar / (1 - alpha_bar)) if isinstance(alpha_bar, float) else signal / spread

        def predict(noisy: Tensor) -> Tensor:
            return (noisy - signal * z) / spread + (z - wanted) * ratio

        loss, logs = distil(z, alpha_bar, predict, generator)
        return GuidanceOut(loss, {"t": mean_time(t), **logs})

    def refine(self, rgba: Tensor, poses: Sequence[Pose], strength: float, generator: torch.Generator) -> Tensor:
        """Return what it holds for the truth."""
        return ((self._samples(poses, rgba.detach(), generator) + 1) / 2).clamp(0, 1)

    def sample(
        self, poses: Sequence[Pose], *, steps: int = 50, scale: float | None = None, generator: torch.Generator
    ) -> Tensor:
        """Return what it holds for the truth, at once: neither steps nor scale change it. See `base.Sampler`."""
        check_steps(steps)
        like = torch.zeros(0, device=self._device)
        return ((self._samples(poses, like, generator) + 1) / 2).clamp(0, 1)

    def _samples(self, poses: Sequence[Pose], like: Tensor, generator: torch.Generator) -> Tensor:
        """z* [B, 4, side, side], spoilt where it is to be."""
        fooled = torch.rand(len(poses), generator=generator) < self.janus
        chosen = [
            self.front if bool(fools) and pose.angle_to(self.front) > BEHIND else pose
            for pose, fools in zip(poses, fooled, strict=True)
        ]
        pictures = torch.stack([self.truth(pose, self.native_size) for pose in chosen]).to(like)
        samples = 2 * pictures - 1
        if self.noise:
            samples = samples + self.noise * torch.randn(samples.shape, generator=generator).to(like)
        return samples


class Constant(Oracle):
    """Holds one picture for the truth, whatever the camera: what a prior does that heeds no pose.

    Args:
        picture: Premultiplied RGBA in [0, 1], float32 [4, S, S].
        side: Pixels along its pictures; the picture is brought to them.
        times: See `Oracle`.

    Raises:
        DataError: The picture has another shape.
    """

    def __init__(self, picture: Tensor, *, side: int = 64, times: Times = "annealed") -> None:
        if picture.ndim != 3 or len(picture) != 4 or picture.shape[1] != picture.shape[2]:
            raise DataError(f"constant guidance takes a square RGBA picture [4, S, S], not {list(picture.shape)}")
        fixed = at_side(picture.detach()[None], side)[0]
        super().__init__(lambda pose, side: fixed, side=side, times=times)
        self.name = "constant"
