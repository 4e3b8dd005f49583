"""What guidance is, and score distillation sampling (Poole et al., DreamFusion, ICLR 2023, equation 3).

For a sample z of a diffusion model's space, noise eps, and the share a of the signal in the variance at time t:

    z_t  = sqrt(a) z + sqrt(1 - a) eps
    grad = w (eps_hat(z_t) - eps),  w = 1 - a                  the model's answer against what was added
    L    = 1/2 || z - stopgrad(z - grad) ||^2                   summed over the elements, so that dL/dz = grad

With eps_hat written as the picture x0_hat that the model sees in z_t, grad = sqrt(a (1 - a)) (z - x0_hat): the pull is
at most half the error, and fades at both ends of the schedule.

Guidance registers at the entry point `sensorium.guidance`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sensorium.core.errors import DataError
from sensorium.lifting.camera import RADIUS, Camera, orbit

GROUP = "sensorium.guidance"
EARLIEST, LATEST = 0.98, 0.02  # shares of the schedule between which times are taken
Times = Literal["annealed", "uniform"]
_SCALE = 1e-12  # alpha below which a pixel has no colour


@dataclass(frozen=True)
class Pose:
    """Where a camera stands around the origin; the reference camera's azimuth is 0.

    Attributes:
        elevation: Degrees, absolute; negative is above.
        azimuth: Degrees, from +z to +x.
        radius: Distance to the origin, world units.
    """

    elevation: float
    azimuth: float
    radius: float = RADIUS

    def camera(self, side: int) -> Camera:
        """Return the camera with square pictures of `side` pixels."""
        return orbit(self.elevation, self.azimuth, self.radius, height=side, width=side)

    def angle_to(self, other: Pose) -> float:
        """Return the angle between the two directions of view, degrees in [0, 180]."""
        first, second = (_direction(pose) for pose in (self, other))
        return math.degrees(math.acos(float(np.clip(first @ second, -1, 1))))


@dataclass(frozen=True, eq=False)
class GuidanceOut:
    """What guidance says of pictures.

    Attributes:
        loss: One value for each picture, [B]; its gradient reaches the pictures.
        logs: Numbers to be recorded, such as the time of the schedule.
    """

    loss: Tensor
    logs: dict[str, float] = field(default_factory=dict)


class Guidance(Protocol):
    """Knows how an object of a photo looks from other sides.

    Pictures are premultiplied RGBA, float32 [B, 4, r, r], of any side r; each guidance brings them to its own.

    Attributes:
        name: As registered; stands in every result.
        space: "pixel" or "latent": what it distils in.
        native_size: Pixels along the pictures that it was trained on.
        uses_alpha: Whether it judges coverage too; else pictures are laid on white or black, by a coin.
    """

    name: str
    space: str
    native_size: int
    uses_alpha: bool

    def prepare(self, reference: Tensor, elevation: float) -> None:
        """Take the photo.

        Args:
            reference: Premultiplied RGBA, float32 [4, R, R], the object centred and 0.8 of the side long, where the
                optimisation runs. Pictures to be judged may lie elsewhere; answers come back to them.
            elevation: Of its camera, degrees.
        """
        ...

    def identity(self) -> str:
        """Return a digest or a name of weights and settings: a run is not continued with another."""
        ...

    def sds(self, rgba: Tensor, poses: Sequence[Pose], share: float, generator: torch.Generator) -> GuidanceOut:
        """Judge pictures.

        Args:
            rgba: [B, 4, r, r].
            poses: Of their cameras.
            share: Of the optimisation's steps that is done, in (0, 1].
            generator: Draws everything that is drawn, on the CPU.
        """
        ...

    def refine(self, rgba: Tensor, poses: Sequence[Pose], strength: float, generator: torch.Generator) -> Tensor:
        """Return the pictures as they would look if they were right, [B, 4, native_size, native_size], no gradient.

        Args:
            rgba: [B, 4, r, r].
            poses: Of their cameras.
            strength: Where a run of 50 steps, the noisiest first, is entered: at step int(50 strength). The more, the
                less is changed; in [0, 1).
            generator: Draws the noise, on the CPU.
        """
        ...


@runtime_checkable
class Sampler(Protocol):
    """Guidance that can make views from the photo alone; not every one can, `isinstance(guidance, Sampler)` asks."""

    def sample(
        self, poses: Sequence[Pose], *, steps: int = 50, scale: float | None = None, generator: torch.Generator
    ) -> Tensor:
        """Return views of the object, premultiplied RGBA in [0, 1], float32 [B, 4, native_size, native_size].

        They lie where the photo that `prepare` took lies; what sees no coverage returns opaque pictures on white.

        Args:
            poses: Of the cameras.
            steps: Of the DDIM run (Song et al., Denoising diffusion implicit models, ICLR 2021), at least 1.
            scale: g of classifier-free guidance; by default the one that it distils with.
            generator: Draws the noise, on the CPU.

        Raises:
            DataError: It has not seen the photo, or there is no step.
        """
        ...


def _direction(pose: Pose) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    rise, turn = math.radians(pose.elevation), math.radians(pose.azimuth)
    return np.array([math.cos(rise) * math.sin(turn), -math.sin(rise), math.cos(rise) * math.cos(turn)])


# --- score distillation ---------------------------------------------------------------------------------------------


def time_of(share: float) -> float:
    """Return the time of the schedule, as a share of its length, at a share of the steps: late noise is little noise.

    The annealing of DreamGaussian (Tang et al., 2024): t = clip((1 - s), 0.02, 0.98).
    """
    return min(max(1 - share, LATEST), EARLIEST)


def times_of(share: float, count: int, times: Times, generator: torch.Generator) -> float | Tensor:
    """Return the times at which pictures are judged, as shares of the schedule's length.

    Args:
        share: Of the optimisation's steps that is done, in (0, 1].
        count: Pictures, B.
        times: "annealed" is `time_of`, the same for all; "uniform" draws one for each from 0.02 to 0.98, whatever the
            share (Poole et al., DreamFusion, ICLR 2023, section 3).
        generator: Draws uniform times, on the CPU; annealed ones take nothing from it.

    Returns:
        A number, or float64 [B] on the CPU.
    """
    if times == "annealed":
        return time_of(share)
    return LATEST + (EARLIEST - LATEST) * torch.rand(count, generator=generator, dtype=torch.float64)


def mean_time(t: float | Tensor) -> float:
    """Return a time, or the mean of several, for what is recorded."""
    return float(t.mean()) if isinstance(t, Tensor) else t


def check_steps(steps: int) -> None:
    """Refuse a DDIM run without a step.

    Raises:
        DataError: There is none.
    """
    if steps < 1:
        raise DataError(f"views are sampled in at least one step, not {steps}")


def distil(
    z: Tensor, alpha_bar: float | Tensor, predict: Callable[[Tensor], Tensor], generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of score distillation, [B], and what is to be recorded.

    Args:
        z: Samples [B, ...], with a graph.
        alpha_bar: Share of the signal in the variance, in (0, 1): one for all, or [B].
        predict: Noisy samples to the noise that the model sees in them.
        generator: Draws the noise, on the CPU.
    """
    noise = torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)
    signal, spread, weight = factors(alpha_bar, z)
    with torch.no_grad():
        noisy = signal * z + spread * noise
        gradient = weight * (predict(noisy) - noise)
        finite = gradient.isfinite()
        gradient = torch.where(finite, gradient, 0.0)
    loss = 0.5 * (z - (z - gradient).detach()).square().flatten(1).sum(1)
    logs = {"grad_norm": gradient.flatten(1).norm(dim=1).mean().item(), "not_finite": float((~finite).sum())}
    return loss, logs


def factors(alpha_bar: float | Tensor, like: Tensor) -> tuple[float | Tensor, float | Tensor, float | Tensor]:
    """Return sqrt(a), sqrt(1 - a) and 1 - a: numbers for a number; for [B], tensors that multiply `like` [B, ...]."""
    if isinstance(alpha_bar, float):
        return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar), 1 - alpha_bar
    a = alpha_bar.double().reshape(-1, *[1] * (like.ndim - 1))
    signal, spread, weight = (value.to(like) for value in (a.sqrt(), (1 - a).sqrt(), 1 - a))
    return signal, spread, weight


# --- pictures -------------------------------------------------------------------------------------------------------


def at_side(rgba: Tensor, side: int) -> Tensor:
    """Return premultiplied pictures [B, C, r, r] at another side: averaged where they shrink."""
    if rgba.shape[-1] == side:
        return rgba
    if rgba.shape[-1] % side == 0:
        return interpolate(rgba, (side, side), mode="area")
    return interpolate(rgba, (side, side), mode="bilinear", antialias=True, align_corners=False)


def straight_colours(rgba: Tensor) -> Tensor:
    """Return colours that are not premultiplied, [B, 3, r, r]; 0 where nothing is covered."""
    alpha = rgba[:, 3:]
    return torch.where(alpha > _SCALE, rgba[:, :3] / alpha.clamp_min(_SCALE), 0.0).clamp(0, 1)
