"""The second stage: the cloud becomes a mesh, and its texture is refined by the photo and by guidance.

    L = w_known mean over pixels that see the surface well of |I - I_ref|^2
      + w_refined mean |D(I) - D(refined I)|^2

D brings a picture to the size that guidance was trained on, averaging. (The released program enlarges the refined
picture instead, and so teaches the texture its blur.) A refined picture counts where mesh and guidance both see the
object. Geometry stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sensorium.core.seeds import torch_generator
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.generation.config import LiftConfig
from sensorium.lifting.generation.objective import elevation_range
from sensorium.lifting.guidance.base import Guidance, Pose, at_side, straight_colours
from sensorium.lifting.mesh import TexturedMesh
from sensorium.lifting.meshing import Meshed, make_mesh
from sensorium.lifting.meshrender import render_mesh
from sensorium.lifting.refinement import picture_loss, refine
from sensorium.lifting.texture import Observation

INSIDE = 0.9  # coverage of a pixel of the photo whose colour is the object's alone
COVERED = 0.99  # of a pixel of the mesh, at guidance's size
AGREED = 0.5  # coverage from which guidance sees the object there

Record = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, eq=False)
class Textured:
    """The outcome of the second stage.

    Attributes:
        mesh: With its refined texture.
        meshed: The mesh before refinement, with what can be said of it.
    """

    mesh: TexturedMesh
    meshed: Meshed


def texture(
    cloud: GaussianCloud,
    reference: Tensor,
    elevation: float,
    guidance: Guidance,
    config: LiftConfig,
    record: Record | None = None,
) -> Textured:
    """Make the mesh of a cloud and refine its texture.

    Args:
        cloud: The outcome of the first stage.
        reference: The photo, premultiplied RGBA [4, side, side], as large as its colours are worth.
        elevation: Of its camera, degrees.
        guidance: Prepared with the photo.
        config: How.
        record: Given the number of steps done and the means of the loss's terms, every ten steps.
    """
    photo = observation(reference, elevation)
    meshed = make_mesh(cloud.detach().to("cpu"), config.mesh, reference=photo)
    settings = config.texture
    if not settings.steps:
        return Textured(meshed.mesh, meshed)
    loss = _Recorded(_losses(meshed.mesh, photo, guidance, elevation, config), record, settings.steps)
    return Textured(refine(meshed.mesh, loss, steps=settings.steps, rate=settings.rate), meshed)


def observation(reference: Tensor, elevation: float) -> Observation:
    """Return the photo as a view of the mesh: its own colours where the object covers a pixel alone."""
    colours = straight_colours(reference[None].cpu())[0].movedim(0, -1).numpy()
    return Observation(
        Pose(elevation, 0.0).camera(reference.shape[-1]),
        np.ascontiguousarray(colours, dtype=np.float32),
        (reference[3] > INSIDE).cpu().numpy(),
    )


def _losses(
    mesh: TexturedMesh, photo: Observation, guidance: Guidance, elevation: float, config: LiftConfig
) -> Callable[[Tensor, int], dict[str, Tensor]]:
    settings = config.texture
    known = picture_loss(mesh, [photo])
    front = Pose(elevation, 0.0)

    def loss(picture: Tensor, step: int) -> dict[str, Tensor]:
        terms = {"known": settings.known_weight * known(picture, step)}
        pose = refined_pose(config, elevation, step)
        if guidance.name == "none" or not settings.refined_weight or pose.angle_to(front) < settings.skip_within:
            return terms
        share = (step + 1) / settings.steps
        strength = settings.strength[0] + (settings.strength[1] - settings.strength[0]) * share
        side = guidance.native_size
        view = render_mesh(mesh, pose.camera(2 * side), background=(0, 0, 0), supersample=1, texture=picture)
        drawn = at_side(torch.cat([view.rgb.movedim(-1, 0), view.alpha[None]])[None], side)
        draw = torch_generator(config.seed, "refinement", step)
        wanted = guidance.refine(drawn.detach(), [pose], strength, draw).to(drawn)
        counts = (drawn[:, 3:] >= COVERED) & (wanted[:, 3:] > AGREED)
        apart = torch.where(counts, drawn[:, :3] - straight_colours(wanted), 0.0).square().mean()
        return terms | {"refined": settings.refined_weight * apart}

    return loss


def refined_pose(config: LiftConfig, elevation: float, step: int) -> Pose:
    """Return the camera of a step's refined view; same step, same camera."""
    low, high = elevation_range(config, elevation)
    along, around = torch.rand(2, generator=torch_generator(config.seed, "refined views", step)).tolist()
    return Pose(elevation + low + (high - low) * along, 360 * around - 180)


class _Recorded:
    """A loss that is the sum of its terms, and whose means are recorded every ten steps."""

    EVERY = 10

    def __init__(self, terms: Callable[[Tensor, int], dict[str, Tensor]], record: Record | None, steps: int) -> None:
        self.terms, self.record, self.steps = terms, record, steps
        self.sums: dict[str, list[float]] = {}

    def __call__(self, picture: Tensor, step: int) -> Tensor:
        terms = self.terms(picture, step)
        for name, value in terms.items():
            self.sums.setdefault(name, []).append(value.item())
        if self.record is not None and ((step + 1) % self.EVERY == 0 or step + 1 == self.steps):
            self.record(step + 1, {name: float(np.mean(values)) for name, values in self.sums.items()})
            self.sums = {}
        return torch.stack(list(terms.values())).sum()
