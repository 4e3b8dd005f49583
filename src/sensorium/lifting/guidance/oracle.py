"""Guidance that knows the truth: for tests, and for experiments that separate a method from the quality of a prior.

    z*         the true picture from each camera, as a sample 2 RGBA - 1
    eps_hat  = eps + (z - z*) sqrt(a) / sqrt(1 - a)       the exact denoiser of a single picture

so that grad = sqrt(a (1 - a)) (z - z*). It can be made worse on purpose: `noise` adds N(0, noise^2) to z* at every
call; `janus` shows the front, with this probability, to cameras that look from behind (over 90 degrees away), as priors
do that know the front best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sensorium.core.files import digest
from sensorium.lifting.guidance.base import GuidanceOut, Pose, at_side, distil, time_of
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
    """

    space = "pixel"
    uses_alpha = True

    def __init__(self, truth: Truth, *, noise: float = 0.0, janus: float = 0.0, side: int = 64) -> None:
        self.truth, self.noise, self.janus, self.native_size = truth, noise, janus, side
        self.name = "oracle-janus" if janus else "oracle-noisy" if noise else "oracle"
        self.schedule = CosineSchedule()
        self.front = Pose(0.0, 0.0)

    def prepare(self, reference: Tensor, elevation: float) -> None:
        """Take the place of the photo's camera; the picture is known already."""
        self.front = Pose(elevation, 0.0)

    def identity(self) -> str:
        """Return a digest of its settings and of what it knows of the front."""
        return digest(self.name, self.noise, self.janus, self.truth(self.front, self.native_size).cpu().numpy())

    def sds(self, rgba: Tensor, poses: Sequence[Pose], share: float, generator: torch.Generator) -> GuidanceOut:
        """Distil at an annealed time."""
        z = 2 * at_side(rgba, self.native_size) - 1
        wanted = self._samples(poses, z, generator)
        t = time_of(share)
        alpha_bar = float(self.schedule.alpha_bar(torch.tensor(t, dtype=torch.float64)))

        def predict(noisy: Tensor) -> Tensor:
            noise = (noisy - math.sqrt(alpha_bar) * z) / math.sqrt(1 - alpha_bar)
            return noise + (z - wanted) * math.sqrt(alpha_bar / (1 - alpha_bar))

        loss, logs = distil(z, alpha_bar, predict, generator)
        return GuidanceOut(loss, {"t": t, **logs})

    def refine(self, rgba: Tensor, poses: Sequence[Pose], strength: float, generator: torch.Generator) -> Tensor:
        """Return what it holds for the truth."""
        return ((self._samples(poses, rgba.detach(), generator) + 1) / 2).clamp(0, 1)

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
