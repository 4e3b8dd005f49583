"""Adaptive density: where pictures pull hard at a Gaussian there are too few, and what is faint or huge goes
(Kerbl et al., 2023, section 5.2).

The pull is the gradient of a Gaussian's place in the picture, in units of half the picture's sides, so that a threshold
means the same at any size.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.optimisation.config import DensityConfig
from sensorium.lifting.optimisation.moving import MovingCloud
from sensorium.lifting.rasterisers.base import RenderOut

logger = logging.getLogger(__name__)

CHILDREN, SHRINK = 2, 1.6
FAINT = 0.01  # opacity after a reset


class Statistics:
    """What pictures say about each of N Gaussians since the last look.

    Attributes:
        pull: Sum of gradients, [N].
        count: Pictures in which it was seen, [N].
        widest: Largest radius over the picture's width, [N].
    """

    def __init__(self, count: int, device: torch.device) -> None:
        self.pull = torch.zeros(count, device=device)
        self.count = torch.zeros(count, device=device)
        self.widest = torch.zeros(count, device=device)

    @torch.no_grad()
    def add(self, pictures: Sequence[RenderOut], rule: str) -> None:
        """Count pictures after `backward`.

        Args:
            pictures: All that were watched in a step.
            rule: "all_views", or "last_view" for the last of them alone.
        """
        for out in pictures if rule == "all_views" else pictures[-1:]:
            if out.means2d.grad is None:
                continue
            height, width = out.alpha.shape
            seen = out.radii > 0
            pull = torch.linalg.vector_norm(
                out.means2d.grad * out.means2d.grad.new_tensor([width / 2, height / 2]), dim=1
            )
            self.pull += torch.where(seen, pull, 0.0)
            self.count += seen
            self.widest = torch.maximum(self.widest, out.radii / width)

    @property
    def mean_pull(self) -> Tensor:
        """Mean gradient over the pictures in which it was seen, [N]."""
        return self.pull / self.count.clamp_min(1)

    def tensors(self) -> dict[str, Tensor]:
        """Return it for a checkpoint."""
        return {"pull": self.pull, "count": self.count, "widest": self.widest}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], device: torch.device) -> Statistics:
        """Return what `tensors` described."""
        made = cls(0, device)
        made.pull, made.count, made.widest = (tensors[name].to(device) for name in ("pull", "count", "widest"))
        return made


class Bounds:
    """Says once when a limit of the number of Gaussians bites."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def say(self, note: str) -> None:
        """Log a note, unless it was said before."""
        if note not in self.notes:
            self.notes.append(note)
            logger.info("%s", note)


def densify(
    moving: MovingCloud, statistics: Statistics, config: DensityConfig, generator: torch.Generator, bounds: Bounds
) -> Tensor:
    """Copy small Gaussians that are pulled hard, and put two smaller ones in the place of large ones.

    A child of a split is drawn from its parent's own distribution. A copy is verbatim: its moments are not, so the two
    part at the next step.

    Returns:
        Which of the old rows stay, bool [N]: they come first, in their order.
    """
    hot = hottest(statistics.mean_pull, config, bounds)
    large = moving.cloud.scales.detach().amax(1) > config.split_scale
    cloud = moving.cloud.detach()
    stay = ~(hot & large)
    copied, children = cloud[hot & ~large], _children(cloud[~stay], generator)
    moving.keep(stay)
    moving.append(copied)
    moving.append(children)
    return stay


def hottest(pull: Tensor, config: DensityConfig, bounds: Bounds) -> Tensor:
    """Return the mask of what is pulled over the threshold, the hardest first where there is no room for all."""
    hot = pull >= config.threshold
    room = max(config.max_points - len(pull), 0)  # a copy and a split add one each
    if int(hot.sum()) <= room:
        return hot
    bounds.say(
        f"{config.max_points:,} Gaussians are the most (max_points): from now on only the hardest pulled multiply"
    )
    chosen = torch.argsort(torch.where(hot, pull, -1.0), descending=True, stable=True)[:room]
    return torch.zeros_like(hot).index_fill(0, chosen, True)


def _children(parents: GaussianCloud, generator: torch.Generator) -> GaussianCloud:
    twice = parents.map(lambda value: value.repeat_interleave(CHILDREN, 0))
    noise = torch.randn(len(twice), 3, generator=generator).to(twice.means.device)
    offset = (twice.rotations @ (twice.scales * noise).unsqueeze(-1)).squeeze(-1)
    moved = {"means": twice.means + offset, "log_scales": twice.log_scales - math.log(SHRINK)}
    return GaussianCloud(**{**twice.tensors(), **moved})


def prune(moving: MovingCloud, bounds: Bounds, *, opacity: float, scale: float, too_wide: Tensor | None = None) -> int:
    """Remove what is faint, huge or too wide in the picture; the most opaque one always stays.

    Args:
        moving: The cloud.
        bounds: Where it is said when that one is all that stays.
        opacity: Fainter ones go.
        scale: Ones with a larger scale go.
        too_wide: More that go, bool [N].

    Returns:
        How many were removed.
    """
    cloud = moving.cloud.detach()
    keep = (cloud.opacities >= opacity) & (cloud.scales.amax(1) <= scale)
    if too_wide is not None:
        keep &= ~too_wide
    if not bool(keep.any()):
        bounds.say("all Gaussians are faint or huge: the most opaque one is kept")
        keep[cloud.opacity_logit.argmax()] = True
    before = len(moving)
    moving.keep(keep)
    return before - len(moving)
