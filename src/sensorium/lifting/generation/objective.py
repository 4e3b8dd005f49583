"""The first stage's loss at a step: the photo from its own camera, guidance and the contrastive term from others.

    L = 10^4 k |I - I_ref|^2 + 10^3 k |A - A_ref|^2 + lambda_g mean_b SDS_b + lambda_c L_QA,    k = max(s, 0.2)

with s the share of the steps that is done; the released program adds SDS_b up instead, which is lambda_g = B
(`guidance_weight: views`). New views are drawn without a background: guidance that sees coverage gets
it, the others lay the object on white or black themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sensorium.core.seeds import numpy_generator, torch_generator
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.contrastive import ContrastiveTerm
from sensorium.lifting.generation.config import LiftConfig
from sensorium.lifting.guidance.base import Guidance, Pose
from sensorium.lifting.optimisation import StepOutcome
from sensorium.lifting.photo.cutout import on_background
from sensorium.lifting.rasterisers import BLACK, WHITE, RasterBackend, RenderOut


class LiftObjective:
    """Judges a cloud at a step. See `optimisation.Objective`.

    Args:
        reference: The photo, premultiplied RGBA [4, R, R], on the cloud's device.
        elevation: Of its camera, degrees.
        guidance: Prepared with the same photo.
        contrastive: The contrastive term, prepared with it too; None for the method without it.
        config: How.
        drawer: The rasteriser.
    """

    def __init__(
        self,
        reference: Tensor,
        elevation: float,
        guidance: Guidance,
        contrastive: ContrastiveTerm | None,
        config: LiftConfig,
        drawer: RasterBackend,
    ) -> None:
        self.front = Pose(elevation, 0.0)
        self.guidance, self.contrastive, self.config, self.drawer = guidance, contrastive, config, drawer
        self.colours = on_background(reference).movedim(0, -1)  # [R, R, 3], on white
        self.coverage = reference[3]

    def __call__(self, cloud: GaussianCloud, step: int) -> StepOutcome:
        """Draw the photo's view and new ones, and return the terms of the loss."""
        config = self.config
        share = (step + 1) / config.sizes.optimisation.iterations
        known = self.drawer.render(cloud, self.front.camera(len(self.coverage)), bg=WHITE)
        growth = max(share, config.known.floor)
        terms = {
            "rgb": config.known.rgb_weight * growth * (known.rgb - self.colours).square().mean(),
            "alpha": config.known.alpha_weight * growth * (known.alpha - self.coverage).square().mean(),
        }
        if self.guidance.name == "none":
            return StepOutcome(terms, watched=[known])
        poses = novel_poses(config, self.front.elevation, step)
        side = config.sizes.novel_side(share)
        novel = [self.drawer.render(cloud, pose.camera(side), bg=BLACK) for pose in poses]
        rgba = torch.stack([premultiplied(out) for out in novel])
        said = self.guidance.sds(rgba, poses, share, torch_generator(config.seed, "guidance", step))
        terms["guidance"] = config.guidance_factor * said.loss.mean()
        numbers = dict(said.logs)
        if self.contrastive is not None:
            draw = torch_generator(config.seed, "contrastive backgrounds", step)
            apart, more = self.contrastive(rgba, poses, share, draw)
            if apart is not None:
                terms["contrastive"] = apart
            numbers |= more
        return StepOutcome(terms, watched=novel, numbers=numbers)

    def state(self) -> dict[str, Tensor]:
        """Return what the contrastive term remembers."""
        return {} if self.contrastive is None else self.contrastive.state()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Remember what `state` returned."""
        if self.contrastive is not None:
            self.contrastive.restore(tensors)


def premultiplied(out: RenderOut) -> Tensor:
    """Return a picture that was drawn on black as premultiplied RGBA, [4, H, W]."""
    return torch.cat([out.rgb.movedim(-1, 0), out.alpha[None]])


def novel_poses(config: LiftConfig, elevation: float, step: int) -> list[Pose]:
    """Return the cameras of a step's new views.

    Args:
        config: Of the run.
        elevation: Of the photo's camera, degrees.
        step: From 0 on; same step, same cameras.
    """
    low, high = elevation_range(config, elevation)
    draw = numpy_generator(config.seed, "novel views", step)
    return [
        Pose(elevation + float(draw.uniform(low, high)), float(draw.uniform(-180, 180)))
        for _ in range(config.novel.views)
    ]


def elevation_range(config: LiftConfig, elevation: float) -> tuple[float, float]:
    """Return between which elevations relative to the photo's new views are drawn, degrees: eye level and 30 degrees on
    either side of it always belong to them, the poles never."""
    low, high = config.novel.elevations
    limit = config.novel.limit
    return max(min(low, low - elevation), -limit - elevation), min(max(high, high - elevation), limit - elevation)
