"""The configuration of a tracing run: `kind: trace`.

kind: trace
data: {dataset: assist2009, split: {fold: 0}}
model: {name: akt, dim: 64}
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from sensorium.core.config import Config, component, dump
from sensorium.core.files import digest
from sensorium.evaluation.selection import Selection
from sensorium.tracing.data.splits import SplitConfig
from sensorium.training.config import TrainingConfig

GROUP = "sensorium.tracers"
Protocol = Literal["question", "pykt-expanded"]

# Numbers that a validation holds, and whether more of them is better (`evaluation.metrics.measure`).
SELECTABLE = {
    "auc": True,
    "acc": True,
    "rmse": False,
    "brier": False,
    "nll": False,
    "ece": False,
    "ece_mass": False,
    "auc_student": True,
}


class TraceDataConfig(Config):
    """Which answers, and how students are divided."""

    dataset: str = Field(description="a data set's folder, its name below the data home, or a known name (assist2009)")
    split: SplitConfig = Field(SplitConfig(), description="which students train, select and test")
    attempts: Literal["all", "first"] = Field(
        "all", description="first = rows that repeat the question of the row before are left out"
    )


class WindowConfig(Config):
    """How histories are cut."""

    length: int = Field(200, ge=3, description="most rows that a model sees at once, L")
    stride: int = Field(100, ge=1, description="rows that a further window of the evaluation adds, S")
    positions: int | None = Field(
        None, ge=1, description="padded positions in a training batch, about; null = training.batch_size windows"
    )

    @model_validator(mode="after")
    def _overlap(self) -> WindowConfig:
        if self.stride > self.length:
            raise ValueError(f"stride {self.stride} is longer than the windows ({self.length}): rows would be left out")
        return self


class TracingTraining(TrainingConfig):
    """Training of a tracer; a batch is a number of windows."""

    epochs: int = Field(30, ge=1, description="epochs at most")
    batch_size: int = Field(32, ge=1, description="training windows in a batch")
    clip_norm: float = Field(5.0, ge=0, description="largest norm of a phase's whole gradient; 0 = no clipping")
    patience: int = Field(3, ge=0, description="validations without a strict improvement before stopping; 0 = never")


class TraceConfig(Config):
    """A tracer trained on answers of some students, selected on others and tested once on further ones."""

    kind: Literal["trace"] = Field("trace", description="which job this is")
    data: TraceDataConfig = Field(description="which answers, and how students are divided")
    model: component(GROUP) = Field(description="the tracer and its own keys")  # type: ignore[valid-type]
    training: TracingTraining = Field(TracingTraining(), description="optimiser, stopping, checkpoints, device")
    windows: WindowConfig = Field(WindowConfig(), description="how histories are cut")
    protocol: Protocol = Field(
        "question", description="pykt-expanded = one row per concept, as in the literature: it contains the label"
    )
    draws: int = Field(1000, ge=100, description="bootstrap draws over students")
    selection: str = Field("auc", description="the validation's number that selects the tested state")
    seed: int = Field(0, ge=0, description="decides every random draw but the split's; names the fold where it is null")

    @model_validator(mode="after")
    def _can_select(self) -> TraceConfig:
        if self.selection not in SELECTABLE:
            raise ValueError(f"selection: '{self.selection}' is not measured (known: {', '.join(SELECTABLE)})")
        return self

    def parsed_selection(self) -> Selection:
        """Return the selecting number with its direction."""
        return Selection(self.selection, SELECTABLE[self.selection])

    def key(self) -> str:
        """Return eight hexadecimal digits that differ when any key differs."""
        return digest(dump(self))[:8]

    def tree(self) -> dict[str, Any]:
        """Return the configuration as plain values."""
        return dump(self)
