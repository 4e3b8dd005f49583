"""The configuration of training: optimiser, schedule, stopping, precision, checkpoints. Without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sensorium.core.config import Config

OptimizerName = Literal["adam", "adamw", "sgd", "adagrad"]


class OptimizerConfig(Config):
    """How parameters are changed by their gradients."""

    name: OptimizerName = Field(
        "adam",
        description="adam, adamw (weight decay apart from the gradient), sgd or adagrad",
    )
    lr: float = Field(1e-3, gt=0, description="learning rate, before the schedule")
    weight_decay: float = Field(0.0, ge=0, description="weight decay; for all but adamw an L2 term in the gradient")
    momentum: float = Field(0.0, ge=0, lt=1, description="momentum of sgd; the others have none")


class OptimizerOverrides(Config):
    """What one phase's optimiser has of its own; null takes the value of all phases."""

    name: OptimizerName | None = Field(None, description="this phase's optimiser")
    lr: float | None = Field(None, gt=0, description="this phase's learning rate")
    weight_decay: float | None = Field(None, ge=0, description="this phase's weight decay")
    momentum: float | None = Field(None, ge=0, lt=1, description="this phase's momentum")


class ScheduleConfig(Config):
    """How the learning rate changes; `schedules.py` holds the formulas."""

    name: Literal["constant", "exponential", "cosine"] = Field(
        "constant",
        description="constant; exponential: gamma ** (epoch / every); cosine: from 1 to floor over all epochs",
    )
    gamma: float = Field(0.96, gt=0, le=1, description="exponential: the factor after `every` epochs")
    every: float = Field(50.0, gt=0, description="exponential: epochs after which the factor is gamma")
    floor: float = Field(0.0, ge=0, le=1, description="cosine: the factor at the end")
    warmup: float = Field(0.0, ge=0, description="epochs, or a part of one, over which the rate rises linearly from 0")


class GroupOverrides(Config):
    """What one group of a phase's parameters has of its own; null takes the value of its phase."""

    lr: float | None = Field(None, gt=0, description="this group's learning rate")
    weight_decay: float | None = Field(None, ge=0, description="this group's weight decay")


class PhaseOverrides(Config):
    """What one phase has of its own; null takes the value of all phases."""

    optimizer: OptimizerOverrides = Field(OptimizerOverrides(), description="this phase's optimiser")
    schedule: ScheduleConfig | None = Field(None, description="this phase's schedule, as a whole")
    clip_norm: float | None = Field(None, ge=0, description="this phase's largest gradient norm; 0 = no clipping")
    groups: dict[str, GroupOverrides] = Field(
        {}, description="by name of a group of parameters (encoder): what differs there"
    )


class PhaseSettings(Config):
    """What holds for one phase, overrides applied."""

    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    clip_norm: float
    groups: dict[str, GroupOverrides]


class TrainingConfig(Config):
    """Everything about training that is not the model or the data."""

    epochs: int = Field(1000, ge=1, description="epochs at most")
    batch_size: int = Field(2048, ge=1, description="train rows in a batch")
    negatives: int = Field(1, ge=1, description="items drawn against each train row")
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="the optimiser of every phase")
    schedule: ScheduleConfig = Field(ScheduleConfig(), description="the learning rate over time")
    clip_norm: float = Field(0.0, ge=0, description="largest norm of a phase's whole gradient; 0 = no clipping")
    phases: dict[str, PhaseOverrides] = Field({}, description="by phase name: what differs there")
    steps_per_epoch: int | None = Field(
        None,
        ge=1,
        description="rounds in an epoch of a model whose phases all take a number of steps; "
        "null = until the first of them has seen its batches once",
    )
    validate_every: int = Field(
        1, ge=1, description="epochs from one validation to the next; the last one always has one"
    )
    patience: int = Field(20, ge=0, description="validations without a strict improvement before stopping; 0 = never")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto = a GPU where there is one")
    precision: Literal["32", "bf16-mixed", "16-mixed"] = Field("32", description="precision of the loss's arithmetic")
    checkpoint: Literal["last+best", "none"] = Field(
        "last+best", description="states kept in the run; none = the best one in memory only, and no resuming"
    )
    checkpoint_every: int = Field(1, ge=1, description="epochs from one checkpoint to the next")

    @model_validator(mode="after")
    def _check_each_phase(self) -> TrainingConfig:
        for name, settings in [("", self.settings("")), *((name, self.settings(name)) for name in self.phases)]:
            where = f"phases.{name}." if name else ""
            optimizer, schedule = settings.optimizer, settings.schedule
            if optimizer.momentum and optimizer.name != "sgd":
                raise ValueError(
                    f"{where}optimizer.momentum is for sgd, and the optimiser is {optimizer.name}: set it to 0"
                )
            if schedule.warmup and schedule.warmup >= self.epochs:
                raise ValueError(
                    f"{where}schedule.warmup ({schedule.warmup:g} epochs) must be shorter than training ({self.epochs})"
                )
        return self

    def settings(self, phase: str) -> PhaseSettings:
        """Return what holds for the phase of this name."""
        own = self.phases.get(phase, PhaseOverrides())
        return PhaseSettings(
            optimizer=self.optimizer.model_copy(update=own.optimizer.model_dump(exclude_none=True)),
            schedule=own.schedule or self.schedule,
            clip_norm=self.clip_norm if own.clip_norm is None else own.clip_norm,
            groups=own.groups,
        )
