"""The noise schedule of the embedded prior and the three ways to say what a denoiser knows.

    z_t = sqrt(a) x0 + sqrt(1 - a) eps,   v = sqrt(a) eps - sqrt(1 - a) x0,   a = cos^2(pi/2 (t + s) / (1 + s))

with s = 0.008 and t from 0 to 1: the cosine schedule (Nichol and Dhariwal, Improved denoising diffusion probabilistic
models, ICML 2021) and v-prediction (Salimans and Ho, Progressive distillation, ICLR 2022). (z, v) is (x0, eps) turned
by an angle, so each conversion is a rotation and loses nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

OFFSET = 0.008


@dataclass(frozen=True)
class CosineSchedule:
    """Signal and noise at a time.

    Attributes:
        offset: s of the formula: what noise there is at t = 0.
    """

    offset: float = OFFSET

    def angle(self, t: Tensor) -> Tensor:
        """Return the angle between signal and noise, 0 (signal alone) to pi/2 (noise alone), in t's shape."""
        return 0.5 * math.pi * (t + self.offset) / (1 + self.offset)

    def alpha_bar(self, t: Tensor) -> Tensor:
        """Return the share of the signal in the variance, in t's shape; t in 0..1."""
        return self.angle(t).cos().square()

    def share_at(self, t: float | Tensor) -> float | Tensor:
        """Return a of a time, computed in float64: a number for a number, float64 [B] for times [B] in 0..1."""
        if isinstance(t, Tensor):
            return self.alpha_bar(t.double())
        return float(self.alpha_bar(torch.tensor(t, dtype=torch.float64)))

    def mix(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return z_t of pictures and noise [B, ...] at times [B]."""
        signal, spread = self.factors(t, x0)
        return signal * x0 + spread * noise

    def velocity(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return v of pictures and noise [B, ...] at times [B]."""
        signal, spread = self.factors(t, x0)
        return signal * noise - spread * x0

    def clean(self, noisy: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
        """Return x0 of z_t and v [B, ...] at times [B]."""
        signal, spread = self.factors(t, noisy)
        return signal * noisy - spread * velocity

    def noise(self, noisy: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
        """Return eps of z_t and v [B, ...] at times [B]."""
        signal, spread = self.factors(t, noisy)
        return signal * velocity + spread * noisy

    def noise_of_clean(self, noisy: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """Return eps of z_t and x0 [B, ...] at times [B] above 0, where there is noise to be told."""
        signal, spread = self.factors(t, noisy)
        return (noisy - signal * x0) / spread

    def factors(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return sqrt(a) and sqrt(1 - a) of times [B], shaped to be multiplied with `like` [B, ...].

        Cosine and sine of the angle: the root of 1 - cos^2 would lose digits where there is hardly any noise.
        """
        angle = self.angle(t).reshape(-1, *[1] * (like.ndim - 1)).to(like.dtype)
        return angle.cos(), angle.sin()

    @staticmethod
    def times(steps: int, start: float = 1.0) -> Tensor:
        """Return the evenly spaced times of a DDIM run, from `start` down to 0: float32 [steps + 1]."""
        return torch.linspace(start, 0, steps + 1)
