"""Keeps the loss terms of an epoch, and finds the first that is not finite, without stopping a GPU at each step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sensorium.core.errors import TrainingError
from sensorium.training.protocols import Terms


@dataclass(frozen=True)
class BadTerm:
    """A loss term that is not a number any more: where, and what it is ("nan", "inf")."""

    phase: str
    step: int  # of this phase in this epoch, from 1
    term: str
    value: float


class LossMonitor:
    """The loss terms of one epoch.

    Reading a value makes the host wait for a GPU, so values stay on the device and are read `every` steps at once. Each
    remembers its step, so that the first bad one is named exactly, however late it is read.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._waiting: list[tuple[str, int, tuple[str, ...], Tensor]] = []
        self._sums: dict[str, dict[str, list[float]]] = {}  # phase -> term -> [sum, count]
        self.latest = math.nan  # the total loss that was read last

    def add(self, phase: str, step: int, names: tuple[str, ...], values: Tensor) -> BadTerm | None:
        """Take the terms of one step, `values` [terms]; return the first bad one, as soon as it is read."""
        self._waiting.append((phase, step, names, values.detach()))
        return self.read() if len(self._waiting) >= self._every else None

    def read(self) -> BadTerm | None:
        """Read all that is waiting, in the order in which it came; return the first bad term."""
        if not self._waiting:
            return None
        numbers = iter(torch.cat([values for *_, values in self._waiting]).tolist())
        waiting, self._waiting = self._waiting, []
        for phase, step, names, _ in waiting:
            self.latest = 0.0
            for name in names:
                value = next(numbers)
                if not math.isfinite(value):
                    return BadTerm(phase, step, name, value)
                entry = self._sums.setdefault(phase, {}).setdefault(name, [0.0, 0])
                entry[0] += value
                entry[1] += 1
                self.latest += value
        return None

    def means(self) -> dict[str, dict[str, float]]:
        """Return, by phase and term, the mean over the steps in which the term occurred."""
        return {
            phase: {name: total / count for name, (total, count) in terms.items()}
            for phase, terms in self._sums.items()
        }


def stack_terms(phase: str, terms: Terms) -> Tensor:
    """Return the terms of a loss as one tensor [terms].

    Raises:
        TrainingError: The loss has no term, or one that is not a single number.
    """
    if not terms or any(term.numel() != 1 for term in terms.values()):
        shapes = {name: list(term.shape) for name, term in terms.items()}
        raise TrainingError(
            f"the loss of phase '{phase}' must be named terms of one number each, got {shapes or 'none'}"
        )
    return torch.stack([term.reshape(()) for term in terms.values()])


def first_non_finite(named: Iterable[tuple[str, nn.Parameter]]) -> str | None:
    """Return the name of the first parameter that holds a NaN or an infinity."""
    names, flags = [], []
    for name, parameter in named:
        names.append(name)
        flags.append(torch.isfinite(parameter.detach()).all())
    if not flags:
        return None
    finite = torch.stack(flags).tolist()
    return next((name for name, good in zip(names, finite, strict=True) if not good), None)
