"""The state of an optimisation on disk: one file of tensors, replaced as a whole. A process may be killed at any
moment, and the run goes on to the same numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sensorium.core.errors import RunError
from sensorium.core.files import read_safetensors, write_safetensors
from sensorium.core.rundir import RunDirectory
from sensorium.lifting.optimisation.adaptive import Statistics
from sensorium.lifting.optimisation.moving import MovingCloud

FORMAT_VERSION = 1
STATE = "checkpoint/state.safetensors"
OBJECTIVE = "objective."


@dataclass
class State:
    """Where an optimisation stands. Random draws are made of (seed, step), so there is no generator among it.

    Attributes:
        moving: The cloud and its moments.
        statistics: What pictures said since the last look.
        step: Steps that are done.
        records: Lines of metrics.jsonl.
        objective: What the objective remembers of earlier steps, by name.
    """

    moving: MovingCloud
    statistics: Statistics
    step: int = 0
    records: int = 0
    objective: dict[str, Tensor] = field(default_factory=dict)


def save(run: RunDirectory, state: State, asked: str) -> None:
    """Write a checkpoint.

    Args:
        run: The run's folder.
        state: Where the optimisation stands.
        asked: A digest of what was asked for: who asks otherwise cannot continue.
    """
    counters = {"step": state.step, "records": state.records, "format_version": FORMAT_VERSION}
    tensors = {name: torch.tensor(value) for name, value in counters.items()}
    tensors["asked"] = torch.tensor(list(asked.encode()), dtype=torch.uint8)
    tensors |= {f"{OBJECTIVE}{name}": value for name, value in state.objective.items()}
    (run.path / STATE).parent.mkdir(exist_ok=True)
    write_safetensors(run.path / STATE, {**tensors, **state.moving.tensors(), **state.statistics.tensors()})


def load(run: RunDirectory, asked: str, device: torch.device) -> State | None:
    """Read the checkpoint of a run, or return None where there is none yet.

    Raises:
        RunError: It is of another question, or was written by a later release.
        DataError: It is truncated.
    """
    if not (run.path / STATE).exists():
        return None
    tensors = read_safetensors(run.path / STATE)
    if (written := int(tensors["format_version"])) > FORMAT_VERSION:
        raise RunError(f"{run.path / STATE} has format {written}, this release reads up to {FORMAT_VERSION}: update it")
    if bytes(tensors["asked"].tolist()).decode() != asked:
        raise RunError(
            f"{run.path} was begun with other pictures, another configuration or another seed: choose another folder"
        )
    return State(
        MovingCloud.restored(tensors, device),
        Statistics.restored(tensors, device),
        int(tensors["step"]),
        int(tensors["records"]),
        {name.removeprefix(OBJECTIVE): value for name, value in tensors.items() if name.startswith(OBJECTIVE)},
    )
