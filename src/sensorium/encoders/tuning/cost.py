"""What training a tower costs: trainable parameters, peak memory, seconds per step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

import torch
from torch import nn

from sensorium.core.errors import ConfigError
from sensorium.core.resources import peak_memory, readable_bytes


@dataclass(frozen=True)
class Cost:
    """What was measured.

    Attributes:
        trainable: Parameters that train.
        parameters: All of them.
        peak_bytes: Of the device; on the CPU, of this process over its whole life.
        seconds_per_step: Median of the steps after the first.
        steps: How many were measured.
        device: As in "cpu".
    """

    trainable: int
    parameters: int
    peak_bytes: int
    seconds_per_step: float
    steps: int
    device: str

    def record(self) -> dict[str, int | float | str]:
        """Return the values for a table row."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.trainable:,} of {self.parameters:,} parameters train, "
            f"peak memory {readable_bytes(self.peak_bytes)}, {self.seconds_per_step:.3g} s a step on {self.device}"
        )


def count_trainable(module: nn.Module) -> int:
    """Return how many parameters of a module train."""
    return sum(value.numel() for value in module.parameters() if value.requires_grad)


def measure(module: nn.Module, step: Callable[[], None], steps: int = 5) -> Cost:
    """Run a training step several times and say what it costs.

    Args:
        module: What trains.
        step: One whole step: forward, backward, update.
        steps: How many are measured, after one that warms up.

    Raises:
        ConfigError: No step is to be measured.
    """
    if steps < 1:
        raise ConfigError(f"steps is {steps}, and at least one step is measured")
    device = next(module.parameters()).device
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        step()
        if on_gpu:
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else peak_memory()
    parameters = sum(value.numel() for value in module.parameters())
    return Cost(count_trainable(module), parameters, int(peak), median(seconds[1:]), steps, str(device))
