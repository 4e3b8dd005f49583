"""What the loop asks of a model and of its data. The loop knows these shapes and no model's name.

`epoch` is the number of complete epochs, everywhere: `begin_epoch(0, ...)` comes before the first one, the record with
`epoch: 1` describes the model after it, and `epoch: 0` is a model as it was built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from sensorium.data.batches import Step
from sensorium.training.config import GroupOverrides

M = TypeVar("M", bound=nn.Module)
Terms = Mapping[str, Tensor]  # the named terms of a loss, each one number; their sum is minimised


class BatchSource(Protocol):
    """Batches by position. Any batch can be had at any time, so resuming and slicing over processes are exact."""

    def __len__(self) -> int:
        """Return the number of batches of one pass."""
        ...

    def batch(self, step: Step) -> Any:
        """Return the batch of a step: a tensor, a collection of tensors, or an object with `to(device)`.

        The step alone decides what is in it: every random draw comes from `step.seed, step.phase, step.epoch,
        step.index`.
        """
        ...


@dataclass(frozen=True)
class Phase:
    """One thing that a model does in turn with others: a teacher's pass, three steps of a discriminator.

    Attributes:
        name: Names it in configs, logs and random draws.
        parameters: What its optimiser changes. Its gradients reach nothing else. Frozen ones are left out.
        loss: From a batch to named terms, each a tensor of one number; their sum is minimised.
        batches: Its batches; None takes those of the training data.
        steps: Steps in one round: a number, or "pass" for one pass over its batches.
        update: A whole step instead of a loss, a gradient and an optimiser: changes the parameters by itself at the
            learning rate that it is given, and returns the terms. For loops of a method's own; in one process only.
        needs: What the training's configuration must say for it, by dotted key: {"optimizer.name": "sgd"}.
        repeats: False when the same seed does not give the same bits on a CPU.
        groups: Some of the parameters by a name, under which the configuration may give them a learning rate and a
            weight decay of their own: what trains of an encoder, for example.
        group_defaults: By a group's name, what it has where the configuration says nothing: no weight decay of an
            encoder, for example. What neither says is the phase's.
    """

    name: str
    parameters: Iterable[nn.Parameter]
    loss: Callable[[Any], Terms]
    batches: BatchSource | None = None
    steps: int | Literal["pass"] = "pass"
    update: Callable[[Any, float], Terms] | None = None
    needs: Mapping[str, object] = field(default_factory=dict)
    repeats: bool = True
    groups: Mapping[str, Iterable[nn.Parameter]] = field(default_factory=dict)
    group_defaults: Mapping[str, GroupOverrides] = field(default_factory=dict)


@runtime_checkable
class Trainable(Protocol):
    """A `torch.nn.Module` that says how it is trained. An empty list: it is complete once built.

    All that it needs to go on later stands in its `state_dict`, as dense tensors. What it derives from them (a sparse
    graph) it rebuilds when a state is loaded.
    """

    def phases(self) -> list[Phase]:
        """Return the phases, in the order of a round."""
        ...


@runtime_checkable
class BeginsEpochs(Protocol):
    """A model with work to do before each epoch: pruning a graph, weighting rows anew."""

    def begin_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Prepare epoch `epoch`, counted from 0. Every random draw comes from the CPU generator."""
        ...


@runtime_checkable
class AddsToValidation(Protocol):
    """A model that adds numbers of its own to each validation, for example how well a probe reads an attribute."""

    def validation_metrics(self) -> Mapping[str, float]:
        """Return named numbers for the state that the model is in, in evaluation mode."""
        ...


@dataclass(frozen=True)
class TrainingData(Generic[M]):
    """What a model is trained on and judged by.

    Attributes:
        batches: The batches of every phase that brings none of its own.
        validate: From the model, in evaluation mode, to named numbers on the validation part.
    """

    batches: BatchSource | None
    validate: Callable[[M], Mapping[str, float]]
