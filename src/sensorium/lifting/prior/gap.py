"""Does a training learn the pose? What a wrong azimuth costs on views that are never trained on, always the same ones.

    gap = loss(azimuth + 90) - loss(azimuth)      at t = 0.95, mean over the views

Where there is little noise the noisy picture itself tells the pose, and the gap is nothing whatever has been learnt;
late, the network can only be told.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from sensorium.core.seeds import torch_generator
from sensorium.lifting.prior.batches import Batch, pictures
from sensorium.lifting.prior.objects import TRAINING_SEEDS
from sensorium.lifting.prior.pool import render_views
from sensorium.lifting.prior.schedule import CosineSchedule

TIME, TURN = 0.95, 90.0  # of the noise; degrees by which the azimuth is wrong
OBJECTS, VIEWS = 8, 5  # of each object, its reference among them
FIRST_SEED = TRAINING_SEEDS.stop - OBJECTS  # the last seeds of training: no recipe comes near them


def gap_batch(drawn: int, side: int) -> Batch:
    """Return the views that gaps are measured on, nothing withheld, nothing augmented.

    Args:
        drawn: Pixels along a picture as it is rendered: the pool's side.
        side: Pixels along a picture as it is learnt from: the same, or that divided by a whole number.
    """
    made = [render_views(seed, VIEWS, drawn) for seed in range(FIRST_SEED, FIRST_SEED + OBJECTS)]
    rgba, poses = (torch.stack(values) for values in zip(*made, strict=True))
    shown, wanted = _small(rgba[:, 0], side), _small(rgba[:, 1:].flatten(0, 1), side)
    x0, t = 2 * wanted - 1, torch.full((len(wanted),), TIME)
    noise = torch.randn(x0.shape, generator=torch_generator(0, "gap"))
    elevations, azimuths = poses[:, 1:].flatten(0, 1).unbind(-1)
    schedule = CosineSchedule()
    return Batch(
        references=2 * shown - 1,
        reference_elevations=poses[:, 0, 0],
        elevations=elevations,
        azimuths=azimuths,
        noisy=schedule.mix(x0, noise, t),
        t=t,
        velocity=schedule.velocity(x0, noise, t),
        known=torch.ones(len(x0)),
        posed=torch.ones(len(shown)),
    )


def turned(batch: Batch) -> Batch:
    """Return the batch with wrong azimuths."""
    return replace(batch, azimuths=batch.azimuths + TURN)


def _small(rgba: Tensor, side: int) -> Tensor:
    """uint8 [N, S, S, 4] to float32 [N, 4, side, side] in 0..1, averaged as training averages."""
    found = pictures(rgba)
    return functional.avg_pool2d(found, found.shape[-1] // side)
