"""The phases of one training, each with its optimiser and its place in its batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from lightning_fabric import Fabric
from torch import nn, optim

from sensorium.core.config import nearest
from sensorium.core.errors import ConfigError, TrainingError
from sensorium.core.processes import processes
from sensorium.training.config import GroupOverrides, OptimizerConfig, PhaseSettings, TrainingConfig
from sensorium.training.protocols import BatchSource, Phase


@dataclass
class ActivePhase:
    """A phase that is being trained.

    Attributes:
        phase: What the model asked for.
        batches: Its batches.
        parameters: What its optimiser changes.
        optimizer: Its optimiser; `fabric_optimizer` is the same under Fabric's precision.
        settings: Its part of the configuration.
        ratios: Of each of the optimiser's groups, its learning rate as a multiple of the phase's.
        passes: Complete passes over its batches.
        index: Batches taken of the pass that is going on.
        step: Steps taken in this epoch.
        steps_per_epoch: Steps that this epoch has.
    """

    phase: Phase
    batches: BatchSource
    parameters: list[nn.Parameter]
    optimizer: optim.Optimizer
    fabric_optimizer: Any
    settings: PhaseSettings
    ratios: list[float]
    passes: int = 0
    index: int = 0
    step: int = 0
    steps_per_epoch: int = 0

    @property
    def name(self) -> str:
        """The phase's name."""
        return self.phase.name

    @property
    def steps_per_round(self) -> int:
        """Steps in one round."""
        return len(self.batches) if self.phase.steps == "pass" else self.phase.steps

    def advance(self) -> None:
        """Go to the next batch; after the last one, to the first of the next pass."""
        self.step += 1
        self.index += 1
        if self.index >= len(self.batches):
            self.passes, self.index = self.passes + 1, 0


def activate(
    phases: list[Phase], model: nn.Module, default: BatchSource | None, config: TrainingConfig, fabric: Fabric
) -> list[ActivePhase]:
    """Give each phase its batches and its optimiser.

    Raises:
        ConfigError: The configuration names a phase that the model has not, rounds for one that makes passes, or
            settings that a phase cannot work with.
        TrainingError: A phase has no batches, no parameters, parameters that are not the model's, or another's name.
    """
    names = [phase.name for phase in phases]
    for name in config.phases:
        if name not in names:
            close = nearest(name, names)
            known = f"its phases are {', '.join(names)}" if names else "it is complete without training"
            hint = f"; did you mean {close}?" if close else f": {known}"
            raise ConfigError(f"training.phases.{name}: {type(model).__name__} has no such phase{hint}")
    passing = [phase.name for phase in phases if phase.steps == "pass"]
    if passing and config.steps_per_epoch is not None:
        raise ConfigError(
            f"training.steps_per_epoch is {config.steps_per_epoch}, but an epoch of {type(model).__name__} is one pass "
            f"of phase '{passing[0]}' over its batches: leave it out"
        )
    owned = {id(parameter) for parameter in model.parameters()}
    active = []
    for phase in phases:
        batches = phase.batches if phase.batches is not None else default
        parameters = [parameter for parameter in phase.parameters if parameter.requires_grad]
        problem = _problem(phase, names, batches, parameters, owned)
        if problem or batches is None:
            raise TrainingError(f"phase '{phase.name}' of {type(model).__name__} {problem}")
        settings = config.settings(phase.name)
        if unmet := _unmet(phase, settings, config):
            raise ConfigError(f"training.{unmet} for phase '{phase.name}' of {type(model).__name__}")
        if phase.update is not None and not processes().alone:
            raise ConfigError(
                f"phase '{phase.name}' of {type(model).__name__} takes its own steps in one process: start it without "
                "torchrun"
            )
        groups = _groups(phase, settings, parameters)
        optimizer = build_optimizer(settings.optimizer, groups, fused=config.precision != "16-mixed")
        ratios = [group["lr"] / settings.optimizer.lr for group in groups]
        stepper = fabric.setup_optimizers(optimizer)
        active.append(ActivePhase(phase, batches, parameters, optimizer, stepper, settings, ratios))
    return active


def _problem(
    phase: Phase, names: list[str], batches: BatchSource | None, parameters: list[nn.Parameter], owned: set[int]
) -> str | None:
    """Say why a phase cannot be trained, as the rest of a sentence."""
    if names.count(phase.name) > 1:
        return "has the name of another phase"
    if phase.steps != "pass" and phase.steps < 1:
        return f"takes {phase.steps} steps in a round: use a number from 1, or 'pass'"
    if not parameters:
        return "has no parameter to train"
    if any(id(parameter) not in owned for parameter in parameters):
        return "trains a parameter that is not the model's own, so that no checkpoint would hold it"
    if batches is None:
        return "has no batches: neither the phase nor the data brings any"
    if len(batches) == 0:
        return "has no batch: there is no row to train on"
    return None


def _unmet(phase: Phase, settings: PhaseSettings, config: TrainingConfig) -> str | None:
    """Say which key does not have the value that a phase needs, as the middle of a sentence."""
    for key, wanted in phase.needs.items():
        value = attrgetter(key)(settings if key.split(".")[0] in PhaseSettings.model_fields else config)
        if value != wanted:
            return f"{key} is {value} and must be {wanted}"
    return None


def _groups(phase: Phase, settings: PhaseSettings, parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
    """Return the parameters of a phase as its optimiser takes them: those of no group first, then its groups.

    Raises:
        ConfigError: The configuration names a group that the phase has not.
    """
    for name in settings.groups:
        if name not in phase.groups:
            known = ", ".join(phase.groups) or "it has none"
            raise ConfigError(f"training.phases.{phase.name}.groups.{name}: there is no such group (known: {known})")
    usual = settings.optimizer
    found: list[dict[str, Any]] = []
    placed: set[int] = set()
    for name, members in phase.groups.items():
        own = _of_group(name, phase, settings)
        chosen = {id(member) for member in members} - placed
        placed |= chosen
        found.append(
            {
                "params": [parameter for parameter in parameters if id(parameter) in chosen],
                "lr": own.lr,
                "weight_decay": own.weight_decay,
            }
        )
    rest = [parameter for parameter in parameters if id(parameter) not in placed]
    first = {"params": rest, "lr": usual.lr, "weight_decay": usual.weight_decay}
    return [group for group in (first, *found) if group["params"]]


def _of_group(name: str, phase: Phase, settings: PhaseSettings) -> OptimizerConfig:
    """Return what a group has: what the configuration says of it, else what the model does, else its phase's."""
    found = settings.optimizer
    for said in (phase.group_defaults, settings.groups):
        found = found.model_copy(update=said.get(name, GroupOverrides()).model_dump(exclude_none=True))
    return found


def build_optimizer(
    config: OptimizerConfig, parameters: list[nn.Parameter] | list[dict[str, Any]], *, fused: bool
) -> optim.Optimizer:
    """Return a torch optimiser over parameters, or over groups of them with settings of their own, as torch has them.

    One fused kernel over a whole table is 2 to 10 times as fast on a CPU as torch's default, and as repeatable. It does
    not know complex numbers, and takes over what 16-bit loss scaling must do before gradients are clipped.
    """
    every = [own for given in parameters for own in (given["params"] if isinstance(given, dict) else [given])]
    fused = fused and all(parameter.is_floating_point() for parameter in every)
    common: Mapping[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": fused or None}
    match config.name:
        case "adam":
            return optim.Adam(parameters, **common)
        case "adamw":
            return optim.AdamW(parameters, **common)
        case "sgd":
            return optim.SGD(parameters, momentum=config.momentum, **common)
        case "adagrad":
            return optim.Adagrad(parameters, **common)
