"""Batches of training: which views, which noise. Everything is drawn from (seed, step), so nothing is carried over."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sensorium.core.seeds import torch_generator
from sensorium.lifting.prior.augmentation import augment
from sensorium.lifting.prior.pool import Pool
from sensorium.lifting.prior.schedule import CosineSchedule

EARLIEST, LATEST = 0.01, 0.99  # of t
LATE = (0.8, 0.995)  # of t where the noisy picture tells nothing of the pose, so that the network has to be told


@dataclass(frozen=True)
class Batch:
    """Views of R objects, k of each: B = R k, in order of the objects.

    Attributes:
        references: In -1..1, [R, 4, S, S].
        reference_elevations: Degrees [R].
        elevations: Of the targets' cameras, degrees [B].
        azimuths: Degrees [B].
        noisy: z_t of the targets, [B, 4, S, S].
        t: Times [B].
        velocity: What is to be predicted, [B, 4, S, S].
        known: 0 where the condition is withheld, [B].
        posed: 0 where the encoder is not told the reference's elevation, [R].
    """

    references: Tensor
    reference_elevations: Tensor
    elevations: Tensor
    azimuths: Tensor
    noisy: Tensor
    t: Tensor
    velocity: Tensor
    known: Tensor
    posed: Tensor


def draw_batch(
    pool: Pool,
    *,
    side: int,
    references: int,
    targets: int,
    withheld: float,
    unposed: float,
    same: float,
    seed: int,
    step: int,
    late: float = 0.0,
) -> Batch:
    """Return the batch of a step.

    Args:
        pool: Where views come from.
        side: Pixels; the pool's side or that divided by a whole number.
        references: R, objects in the batch.
        targets: k, views of each.
        withheld: Share of targets whose condition is withheld.
        unposed: Share of references whose elevation is not told to the encoder.
        same: Share of targets that are the reference itself.
        seed: Of the training.
        step: Counts from 0.
        late: Share of targets whose time is drawn from `LATE`; all else, and the times of the others, stay the same.
    """
    generator = torch_generator(seed, "batch", step)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    chosen = torch.randint(len(pool), (references,), generator=generator)
    views = torch.randint(1, pool.poses.shape[1], (references, targets), generator=generator)
    views = torch.where(uniform(references, targets) < same, 0, views)
    shown = pictures(pool.rgba[chosen, 0])
    wanted = pictures(pool.rgba[chosen[:, None], views].flatten(0, 1))
    poses = pool.poses[chosen[:, None], views].flatten(0, 1)
    azimuths = poses[:, 1]
    # The mirror image of an object, seen from the mirrored camera, is an object too.
    mirrored = uniform(references) < 0.5
    shown = torch.where(mirrored[:, None, None, None], shown.flip(-1), shown)
    mirrored = mirrored.repeat_interleave(targets)
    wanted = torch.where(mirrored[:, None, None, None], wanted.flip(-1), wanted)
    azimuths = torch.where(mirrored, -azimuths, azimuths)
    shown = augment(shown, generator)
    ratio = shown.shape[-1] // side
    if ratio > 1:
        shown, wanted = functional.avg_pool2d(shown, ratio), functional.avg_pool2d(wanted, ratio)
    x0 = 2 * wanted - 1
    noise = torch.randn(x0.shape, generator=generator)
    t = EARLIEST + (LATEST - EARLIEST) * uniform(len(x0))
    if late:
        share, place = torch.rand((2, len(x0)), generator=torch_generator(seed, "late times", step))
        t = torch.where(share < late, LATE[0] + (LATE[1] - LATE[0]) * place, t)
    schedule = CosineSchedule()
    return Batch(
        references=2 * shown - 1,
        reference_elevations=pool.poses[chosen, 0, 0],
        elevations=poses[:, 0],
        azimuths=azimuths,
        noisy=schedule.mix(x0, noise, t),
        t=t,
        velocity=schedule.velocity(x0, noise, t),
        known=(uniform(len(x0)) >= withheld).float(),
        posed=(uniform(references) >= unposed).float(),
    )


def pictures(rgba: Tensor) -> Tensor:
    """Return uint8 [N, S, S, 4] as float32 [N, 4, S, S] in 0..1."""
    return rgba.permute(0, 3, 1, 2).float() / 255
