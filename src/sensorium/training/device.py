"""The device and the precision of a training, and kernels that give the same bits each time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from sensorium.core.errors import ConfigError
from sensorium.core.seeds import derive
from sensorium.training.config import TrainingConfig

_deterministic: Any = torch.utils.deterministic  # its attribute is made at run time, where types don't see it


def seed_everything(device: torch.device, seed: int, *keys: int | str) -> None:
    """Seed what draws without a generator, such as dropout.

    torch.manual_seed does the same for every kind of device that torch knows, and takes 100 times as long.
    """
    derived = derive(seed, *keys)
    torch.default_generator.manual_seed(derived)
    if device.type == "cuda":
        torch.cuda.manual_seed(derived)


def make_fabric(config: TrainingConfig) -> Fabric:
    """Return what knows the device and the precision.

    Raises:
        ConfigError: A GPU is asked for, or 16-bit floats are, and there is none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("training.device is cuda, and torch finds no GPU here: use auto or cpu")
    if config.precision == "16-mixed" and (config.device == "cpu" or not torch.cuda.is_available()):
        raise ConfigError("training.precision is 16-mixed, which needs a GPU: use bf16-mixed or 32")
    device = "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"
    precision: Any = "32-true" if config.precision == "32" else config.precision
    place: Any = [int(os.environ.get("LOCAL_RANK", "0"))] if device == "cuda" else 1
    # Under torchrun Fabric would take the group of processes into its own hands; `parallel.py` has it.
    return Fabric(accelerator=device, devices=place, precision=precision, plugins=LightningEnvironment())


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On a CPU, take the kernels that give the same bits each time.

    Without this, the gradient of an indexed table is added up in any order as soon as there are two threads.
    """
    if device.type != "cpu":
        yield
        return
    enabled, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    fill = _deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    _deterministic.fill_uninitialized_memory = False  # a debugging aid that costs a pass over every new tensor
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        _deterministic.fill_uninitialized_memory = fill
