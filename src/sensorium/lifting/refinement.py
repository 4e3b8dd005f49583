"""A texture refined by gradients: its logits move, the surface stays.

The loss is the caller's: here the squared difference to given pictures, which sharpens what the mean over views
blurred; a method that makes objects of one photo adds its own terms. The parameter is logit(albedo), so that colours
stay within [0, 1] without clamping; Adam, like DreamGaussian (Tang et al., 2024) with a smaller rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.core.progress import Progress
from sensorium.lifting.mesh import TexturedMesh
from sensorium.lifting.meshrender import look_up, rasterise, texture_places
from sensorium.lifting.texture import STEEPEST, Observation, facing

EDGE = 1e-6  # colours are kept this far from 0 and 1, where a logit ends

Loss = Callable[[Tensor, int], Tensor]


def refine(mesh: TexturedMesh, loss: Loss, *, steps: int = 50, rate: float = 0.05) -> TexturedMesh:
    """Return the mesh with its texture moved down a loss.

    Args:
        mesh: The mesh.
        loss: Given the texture, float32 [T, T, 3] with a gradient, and the step from 0 on, returns a scalar.
        steps: Of Adam.
        rate: Learning rate, in logits.

    Raises:
        DataError: The loss is not finite.
    """
    start = torch.from_numpy(mesh.albedo).clamp(EDGE, 1 - EDGE)
    logits = start.logit().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=rate)
    with Progress(steps, "texture") as bar:
        for step in range(steps):
            optimiser.zero_grad()
            value = loss(logits.sigmoid(), step)
            if not bool(value.isfinite()):
                raise DataError(f"the texture's loss is not finite at step {step}")
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            bar.advance(loss=float(value.detach()))
    return replace(mesh, albedo=logits.detach().sigmoid().numpy())


def picture_loss(mesh: TexturedMesh, views: Sequence[Observation]) -> Loss:
    """Return the mean squared difference to pictures, over their valid pixels that see the surface at < 60 degrees.

    What each pixel sees is computed once: the surface does not move.

    Args:
        mesh: The surface with its texture coordinates.
        views: The pictures; each counts by its importance.

    Raises:
        DataError: No picture shows anything of the mesh.
    """
    known = []
    for view in views:
        seen = rasterise(mesh, view.camera)
        place, span = texture_places(mesh, seen, view.camera, len(mesh.albedo))
        use = torch.from_numpy(view.valid[seen.covered] & (facing(mesh, seen, view.camera) > STEEPEST))
        wanted = torch.from_numpy(view.rgb[seen.covered])
        if bool(use.any()):
            known.append((place[use], span[use], wanted[use], view.importance))
    if not known:
        raise DataError("no picture shows the mesh: there is nothing to refine its texture by")

    def loss(texture: Tensor, step: int) -> Tensor:
        terms = [
            importance * (look_up(texture, place, span) - wanted).square().mean()
            for place, span, wanted, importance in known
        ]
        return torch.stack(terms).mean()

    return loss
