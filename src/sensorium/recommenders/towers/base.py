"""What an item tower is."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

Draw = Callable[[str], torch.Generator]
"""From the name of a parameter to the generator of its first values: `Recommender.generator`."""


class Tower(nn.Module):
    """Gives items their vectors. `forward(tokens)`: int64 [n] -> float32 [n, d], zero for token 0.

    Attributes:
        width: d.
        costly: Whether its vectors cost more than bringing them from one process to another: where several train
            together, each then computes a part of a batch's.
        of_catalogue: Names in its own state of what means nothing on another catalogue (`towers.carrying`).
    """

    width: int
    costly: bool = False
    of_catalogue: ClassVar[tuple[str, ...]] = ()

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the vectors of tokens int64 [n]: float32 [n, d]."""
        raise NotImplementedError


def projection(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer, weight Xavier-normal, bias zero."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_normal_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
