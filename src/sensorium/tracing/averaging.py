"""Averaged weights: an exponential moving average over steps is what is selected, tested and kept beside the trained.

    average <- a · average + (1 - a) · weights,   a = min(decay, (1 + n) / (10 + n)) at step n

so that the first steps do not weigh for ever. Both sets and the number of steps are in the state, so that a resumed run
goes on to the same bits. Weights are taken in at the beginning of the next step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.tracing.base import Tracer, TracingBatch, TracingOutput
from sensorium.training.protocols import BeginsEpochs, Phase


class Averaged(nn.Module):
    """A tracer beside the average of its weights: trains the first, answers with the second.

    Args:
        model: A tracer with parameters.
        decay: Per step, in (0, 1).
    """

    steps: Tensor

    def __init__(self, model: Tracer, decay: float) -> None:
        super().__init__()
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def tracer(self) -> Tracer:
        """The model whose weights are averaged."""
        assert isinstance(self.model, Tracer)
        return self.model

    @property
    def whole_history(self) -> bool:
        """As the model's."""
        return self.tracer.whole_history

    def forward(self, batch: TracingBatch) -> TracingOutput:
        """Predict: in training with the weights themselves, in evaluation with their average."""
        output: TracingOutput = self.model(batch) if self.training else self.average(batch)
        return output

    def phases(self) -> list[Phase]:
        """Return the model's phases; the first one takes the weights in before each of its steps."""
        phases: list[Phase] = self.tracer.phases()
        if not phases:
            return phases
        first = phases[0]
        return [replace(first, loss=self._counted(first.loss)), *phases[1:]]

    def _counted(self, loss: Callable[[Any], Mapping[str, Tensor]]) -> Callable[[Any], Mapping[str, Tensor]]:
        def counted(batch: Any) -> Mapping[str, Tensor]:
            self.take_in()
            return loss(batch)

        return counted

    @torch.no_grad()
    def take_in(self) -> None:
        """Move the average towards the weights as they are."""
        n = int(self.steps)
        keep = min(self.decay, (1 + n) / (10 + n))
        for mean, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(new, 1 - keep)
        for kept, now in zip(self.average.buffers(), self.model.buffers(), strict=True):
            kept.copy_(now)
        self.steps += 1

    def begin_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Let the model do its work before an epoch, if it has any."""
        if isinstance(self.model, BeginsEpochs):
            self.model.begin_epoch(epoch, generator)

    def notices(self) -> list[str]:
        """As the model's."""
        return self.tracer.notices()


def averaged(model: Tracer) -> Tracer | Averaged:
    """Return a model with averaged weights where its config asks for them (`ema`), else the model itself."""
    decay: float = getattr(model.config, "ema", 0.0)
    return Averaged(model, decay) if decay and any(True for _ in model.parameters()) else model


def answering(model: Tracer | Averaged) -> Tracer:
    """Return the tracer whose weights answer: the average where there is one."""
    if not isinstance(model, Averaged):
        return model
    assert isinstance(model.average, Tracer)
    return model.average
