"""What a student learns from its teacher's vectors, beside its own loss.

A batch gives two clouds, its distinct items and its distinct users (at most `points` of each), with masses in
proportion to the weights of their rows. The student shows each cloud through its taps: the final item vectors, the
final user vectors, and what it makes of each modality (`Representations.item_modal`). A tap is brought into the
teacher's space by its own projection, and both sides are normalised:

    x_i = L2n(P s_i),  y_i = L2n(t_i)
    ot          mean over taps of the debiased entropic transport between {x_i} and {y_i} (`nn.transport`)
    pointwise   mean over taps of sum_i a_i (1 - <x_i, y_i>), the limit of an infinite anchor
    kl          mean over users of KL(softmax(teacher's scores / tau) || softmax(student's scores / tau))

Without the debiasing the projected cloud could shrink to the teacher's mean direction. The final vectors are taps too:
some students' modality taps do not reach their score.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Config
from sensorium.core.seeds import torch_generator
from sensorium.data.batches import Batch
from sensorium.nn.transport import divergence
from sensorium.recommenders.base import Representations

ITEM, USER = "item", "user"


class DistillationConfig(Config):
    """What is learned from the teacher."""

    mode: Literal["ot", "pointwise", "kl", "none"] = Field(
        "ot",
        description="optimal transport between clouds, each point to its own, the scores' distribution, or nothing",
    )
    weight: float = Field(0.1, ge=0, description="lambda of the mode's loss; search {.03, .1, .3, 1}")
    kl_weight: float = Field(0.0, ge=0, description="of the scores' distribution beside another mode")
    anchor: float = Field(0.5, ge=0, description="gamma, what it costs to leave one's own point; search {0, .5}")
    epsilon: float = Field(0.05, ge=0.02, description="entropy of the transport; below .02 it does not converge")
    points: int = Field(384, ge=2, description="items, and users, of a batch that make the clouds, at most")
    kl_users: int = Field(256, ge=1, description="users of a batch whose scores are compared, at most")
    temperature: float = Field(1.0, gt=0, description="tau of the scores' distribution")
    every: int | None = Field(
        None, ge=1, description="one batch in so many pays for the transport, times as much; null = 4 on a CPU, else 1"
    )
    warm_up: int = Field(5, ge=1, description="epochs after calibration.start over which the weight grows")
    balance: Literal["fixed", "mgda"] = Field(
        "fixed", description="mgda = the common descent direction of both losses (Désidéri 2012) decides their weights"
    )


class Clouds(NamedTuple):
    """The points of a batch: ids int64 [n] and masses float32 [n] with sum 1, of items and of users."""

    item: Tensor
    item_mass: Tensor
    user: Tensor
    user_mass: Tensor


def clouds(batch: Batch, mass: Tensor, points: int, seed: int) -> Clouds:
    """Return the clouds of a batch.

    Args:
        batch: Its users and positives.
        mass: float32 [B], of each row.
        points: At most so many of each; above it a random subset, drawn from the seed and the batch's rows.
        seed: Of the draw.
    """
    generator = torch_generator(seed, "clouds", row_number(batch))
    return Clouds(*_cloud(batch.pos, mass, points, generator), *_cloud(batch.user, mass, points, generator))


def _cloud(ids: Tensor, mass: Tensor, points: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    distinct, place = torch.unique(ids, return_inverse=True)
    total = torch.zeros(len(distinct), dtype=torch.float32, device=ids.device).index_add_(0, place, mass.float())
    if len(distinct) > points:
        chosen = torch.randperm(len(distinct), generator=generator)[:points].sort().values.to(ids.device)
        distinct, total = distinct[chosen], total[chosen]
    total = total.clamp_min(1e-12)
    return distinct, total / total.sum()


def row_number(batch: Batch) -> int:
    """Return one number of a batch that its rows decide: what is drawn for it is the same whenever it comes again."""
    return int(batch.row.sum())


def taps(vectors: Representations) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the vectors of each tap: the final ones, and those of the modalities."""
    yield ITEM, vectors.item
    yield USER, vectors.user
    for name, modal in vectors.item_modal.items():
        yield f"item {name}", modal


def transfer_loss(
    student: Representations,
    teacher: Representations,
    projections: nn.ModuleDict,
    chosen: Clouds,
    config: DistillationConfig,
) -> Tensor:
    """Return the loss of the modes "ot" and "pointwise", one number, in float32.

    Args:
        student: Its vectors of all users and items.
        teacher: The same of the teacher; no gradient goes there.
        projections: By tap, d_tap -> d_teacher.
        chosen: The clouds.
        config: Mode and settings.
    """
    losses = []
    with torch.autocast(student.item.device.type, enabled=False):
        for name, vectors in taps(student):
            of_users = name == USER
            ids, mass = (chosen.user, chosen.user_mass) if of_users else (chosen.item, chosen.item_mass)
            target = (teacher.user if of_users else teacher.item).index_select(0, ids).float().detach()
            x = nn.functional.normalize(projections[name](vectors.index_select(0, ids).float()), dim=1)
            y = nn.functional.normalize(target, dim=1)
            if config.mode == "pointwise":
                losses.append((mass * (1 - (x * y).sum(1))).sum())
            else:
                losses.append(divergence(x, y, mass, epsilon=config.epsilon, anchor=config.anchor))
    return torch.stack(losses).mean()


def score_loss(student: Representations, teacher: Representations, users: Tensor, temperature: float) -> Tensor:
    """Return the mean over users int64 [n] of the divergence of the score distributions, one number."""

    def log_softmax(vectors: Representations) -> Tensor:
        scores = vectors.user.index_select(0, users) @ vectors.item.T
        return torch.log_softmax(scores.float() / temperature, dim=1)

    wanted = log_softmax(teacher).detach()
    return (wanted.exp() * (wanted - log_softmax(student))).sum(1).mean()


def common_descent(own: Tensor, transferred: Tensor, parameters: list[nn.Parameter]) -> tuple[Tensor, Tensor]:
    """Return the weights of two losses whose weighted gradients make the shortest sum, at least .5 and 1e-4.

    alpha = clip(<g_d, g_d - g_s> / ||g_s - g_d||^2, 0, 1). The gradients come from `torch.autograd.grad`, so that
    nothing is left in `.grad`.

    Args:
        own: The student's own loss.
        transferred: What it learns from the teacher.
        parameters: What both reach.
    """
    difference = own.new_zeros(())
    product = own.new_zeros(())
    gradients = zip(*(_gradients(loss, parameters) for loss in (own, transferred)), strict=True)
    for of_own, of_transfer in gradients:
        gap = of_own - of_transfer
        difference += (gap * gap).sum()
        product -= (of_transfer * gap).sum()
    alpha = (product / difference.clamp_min(1e-30)).clamp(0, 1)
    return alpha.clamp_min(0.5), (1 - alpha).clamp_min(1e-4)


def _gradients(loss: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return [
        torch.zeros_like(parameter) if gradient is None else gradient
        for gradient, parameter in zip(found, parameters, strict=True)
    ]
