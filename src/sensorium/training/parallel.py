"""Data-parallel training: each process computes the loss of its slice of a batch, and all take the same step.

All that is random is drawn for the whole batch, in each process alike. The gradient is the mean of the processes'
gradients, weighted with their slices' rows, so that a batch that does not divide evenly is right as well. What a loss
holds beside means over the rows of the batch is explained in `nn/across.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.errors import TrainingError
from sensorium.core.processes import Processes, Slice
from sensorium.data.batches import Step
from sensorium.training.protocols import BatchSource


def take_slice(source: BatchSource, step: Step, everyone: Processes) -> tuple[Any, Slice]:
    """Return this process's part of a batch, and what it is of the whole.

    Where a batch has fewer rows than there are processes, each takes all of it, with equal weights.
    """
    if everyone.alone:
        return source.batch(step), Slice()
    batch = source.batch(replace(step, rank=everyone.rank, world=everyone.world))
    rows = count_rows(batch)
    counts = [int(count) for count in torch.cat(everyone.gather(torch.tensor([rows])))]
    if min(counts) == 0:
        batch = source.batch(step)
        return batch, Slice(1 / everyone.world, count_rows(batch))
    return batch, Slice(rows / sum(counts), sum(counts), sum(counts[: everyone.rank]))


def count_rows(batch: Any) -> int:
    """Return the rows of a batch: its length, or that of the first tensor in it.

    Raises:
        TrainingError: It has neither.
    """
    while isinstance(batch, Mapping | list | tuple) and len(batch):
        batch = next(iter(batch.values() if isinstance(batch, Mapping) else batch))
    if (isinstance(batch, Tensor) and batch.ndim == 0) or not hasattr(batch, "__len__"):
        raise TrainingError(
            f"a batch of type {type(batch).__name__} cannot be divided over processes: it has no length. "
            "Give it one, or train in one process"
        )
    return len(batch)


def average_gradients(parameters: Iterable[nn.Parameter], part: Slice, everyone: Processes) -> None:
    """Replace the gradients by their mean over the processes: the one place where they meet.

    Parameters without a gradient are left out; the processes compute the same terms and agree on which these are.
    """
    if everyone.alone:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    together = torch.cat([gradient.reshape(-1) for gradient in gradients]).mul_(part.share)
    everyone.add_up(together)
    means = torch.split(together, [gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


def average_terms(values: Tensor, part: Slice, everyone: Processes) -> Tensor:
    """Return the terms of the loss of the whole batch, [terms]."""
    return values.detach() if everyone.alone else everyone.add_up(values.detach() * part.share)


def agreed(numbers: Mapping[str, float], everyone: Processes) -> dict[str, float]:
    """Return the first process's numbers: on unlike machines the last bits may differ, and all must stop together."""
    return dict(json.loads(everyone.text_of_first(json.dumps(dict(numbers)))))
