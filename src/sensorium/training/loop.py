"""The training loop: every model of every room is trained here.

    epoch   begin_epoch; rounds; a record in metrics.jsonl; a validation; a checkpoint
    round   each phase in order, for its number of steps or for one pass over its batches
    step    seed, batch, loss, gradient of this phase's parameters, clip, update

An epoch is one round where any phase makes passes, else `steps_per_epoch` rounds. A phase that takes a number of steps
walks on through its batches over rounds and epochs. Each step draws from (seed, phase, pass, batch) and from nothing
that came before it, so that training goes on from a checkpoint to the same numbers, bit by bit on a CPU. Of several
processes (`parallel.py`) each computes the loss of its slice of a batch, all take the same step, the first one writes.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any, Generic, Literal

import torch
from torch import Tensor

from sensorium.core.config import dump
from sensorium.core.errors import TrainingError
from sensorium.core.files import digest
from sensorium.core.processes import Slice, computing, joined, processes
from sensorium.core.progress import Progress
from sensorium.core.resources import peak_memory
from sensorium.core.rundir import RunDirectory
from sensorium.core.seeds import torch_generator
from sensorium.data.batches import Step
from sensorium.evaluation.selection import Selection
from sensorium.training.checkpoint import MemoryStates, RunStates
from sensorium.training.config import TrainingConfig
from sensorium.training.device import make_fabric, repeatable, seed_everything
from sensorium.training.monitor import BadTerm, LossMonitor, first_non_finite, stack_terms
from sensorium.training.optimizers import ActivePhase, activate
from sensorium.training.parallel import agreed, average_gradients, average_terms, take_slice
from sensorium.training.protocols import AddsToValidation, BeginsEpochs, M, Phase, Trainable, TrainingData
from sensorium.training.schedules import learning_rate_factor
from sensorium.training.selection import Constraint, improves

METRICS, TIMING = "metrics.jsonl", "timing.jsonl"
_STEPS_BETWEEN_READS = 50  # on a GPU: how many steps may pass before their losses are looked at

Reason = Literal["patience", "epochs", "complete"]


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a training; the model holds the state of `best_epoch`.

    Attributes:
        best_epoch: Epochs that were complete in the selected state; 0 = as it was built.
        best_value: The number that selected it.
        epochs: Epochs trained in all.
        stopped: "patience" or "epochs" (all were used up); "complete" for a model that needs no training.
        validation: All numbers of the selected state's validation; None stands for one that was not finite.
        repeats: Whether the same seed gives the same numbers again (on a CPU, bit by bit).
    """

    best_epoch: int
    best_value: float
    epochs: int
    stopped: Reason
    validation: dict[str, float | None]
    repeats: bool = True


def train(
    model: M,
    data: TrainingData[M],
    config: TrainingConfig,
    *,
    selection: Selection,
    constraint: Constraint | None = None,
    seed: int,
    run: RunDirectory | None = None,
) -> TrainingResult:
    """Train a model, and leave its best state in it.

    A run that has a checkpoint is continued from there; one that has none is begun anew. Under `torchrun` every process
    calls this, with the same arguments.

    Args:
        model: A module with `phases()`.
        data: Its batches and its validation.
        config: All about training that is not the model or the data.
        selection: The validation's number that selects the best state and decides on stopping.
        constraint: A condition that a selected state must meet.
        seed: Decides every random draw.
        run: Where records and checkpoints go; None keeps nothing but the model.

    Raises:
        ConfigError: The configuration does not fit the model or this machine.
        TrainingError: A loss or a parameter is not finite, or there is nothing to train on or to select by.
        RunError: The run's checkpoint cannot be continued.
        KeyboardInterrupt: With the command that resumes, when the user stopped it.
    """
    with joined():
        loop = _Loop(model, data, config, selection, constraint, seed, run)
        try:
            with repeatable(loop.fabric.device):
                return loop.run_all()
        except KeyboardInterrupt:
            if run is None:
                raise
            raise KeyboardInterrupt(
                f"interrupted in epoch {loop.counters.epoch + 1}; resume with: sensorium resume {run.path}"
            ) from None


class _Loop(Generic[M]):
    """One training: what was asked for, and where it stands."""

    def __init__(
        self,
        model: M,
        data: TrainingData[M],
        config: TrainingConfig,
        selection: Selection,
        constraint: Constraint | None,
        seed: int,
        run: RunDirectory | None,
    ) -> None:
        self.model, self.data, self.config = model, data, config
        self.selection, self.constraint, self.seed, self.run = selection, constraint, seed, run
        self.everyone = processes()
        self.fabric = make_fabric(config)
        model.to(self.fabric.device)
        self.phases = activate(_phases_of(model), model, data.batches, config, self.fabric)
        self.states: MemoryStates | RunStates = MemoryStates()
        if run is not None and config.checkpoint != "none":
            asked = [dump(config), asdict(selection), dump(constraint) if constraint else None, seed]
            self.states = RunStates(run.path, digest(asked, [phase.name for phase in self.phases]), self.everyone)
        self.others: dict[str, Any] = {f"phase-{phase.name}": phase.optimizer for phase in self.phases}
        self.others["precision"] = self.fabric.strategy.precision  # the loss scale of 16-bit training
        self.counters = self.states.load(model, self.others)
        for phase in self.phases:
            phase.passes, phase.index = self.counters.positions.get(phase.name, (0, 0))
        if run is not None:  # what came after the checkpoint is done again
            run.keep_records(METRICS, self.counters.records)
            run.keep_records(TIMING, min(self.counters.records, len(run.records(TIMING))))

    def run_all(self) -> TrainingResult:
        """Train to the end."""
        counters = self.counters
        if not self.phases and counters.best_epoch is None:
            self.finish_epoch({"epoch": 0}, {"epoch": 0})
        with Progress(self._plan_epoch() * (self.config.epochs - counters.epoch), "train", unit="step") as self.bar:
            while (stopped := self.stop_reason()) is None:
                self.train_epoch()
        if counters.best_epoch is None or counters.best is None:
            raise TrainingError(f"no validation gave a finite '{self.selection.name}', so no state can be selected")
        self.states.restore_best(self.model, counters)
        self.model.eval()
        value = counters.best[self.selection.name]
        assert value is not None  # a state without it is never selected
        repeats = all(phase.phase.repeats for phase in self.phases)
        return TrainingResult(counters.best_epoch, value, counters.epoch, stopped, dict(counters.best), repeats)

    def stop_reason(self) -> Reason | None:
        """Say why training is over, None while it is not."""
        if not self.phases:
            return "complete"
        if self.config.patience and self.counters.stale >= self.config.patience:
            return "patience"
        return "epochs" if self.counters.epoch >= self.config.epochs else None

    # --- one epoch --------------------------------------------------------------------------------------------------

    def train_epoch(self) -> None:
        """Train one epoch, and record, validate and keep it."""
        begun, epoch = time.perf_counter(), self.counters.epoch
        self._seed("begin_epoch", epoch)
        _begin_epoch(self.model, epoch, torch_generator(self.seed, "begin_epoch", epoch))
        self.model.train()
        on_cpu = self.fabric.device.type == "cpu"
        monitor = LossMonitor(every=1 if on_cpu else _STEPS_BETWEEN_READS)
        rates = {}
        self._plan_epoch()
        for _ in range(self.rounds):
            for phase in self.phases:
                for _ in range(phase.steps_per_round):
                    rates[phase.name] = self.step(phase, monitor)
        self._stop_if_bad(monitor.read())
        self._check_parameters()
        self.counters.epoch += 1
        self.counters.positions = {phase.name: [phase.passes, phase.index] for phase in self.phases}
        seconds = time.perf_counter() - begun
        record = {"epoch": epoch + 1, "loss": monitor.means(), "lr": rates}
        steps = sum(phase.step for phase in self.phases)
        timing = {"epoch": epoch + 1, "train_seconds": seconds, "steps": steps, "steps_per_second": steps / seconds}
        self.finish_epoch(record, timing)

    def _plan_epoch(self) -> int:
        """Set how many rounds and steps the coming epoch has; return its steps in all."""
        self.rounds = 1
        if self.phases and all(phase.phase.steps != "pass" for phase in self.phases):
            first = self.phases[0]
            self.rounds = self.config.steps_per_epoch or math.ceil(len(first.batches) / first.steps_per_round)
        for phase in self.phases:
            phase.step, phase.steps_per_epoch = 0, self.rounds * phase.steps_per_round
        return sum(phase.steps_per_epoch for phase in self.phases)

    def step(self, phase: ActivePhase, monitor: LossMonitor) -> float:
        """Take one step of one phase; return its learning rate."""
        fabric = self.fabric
        step = Step(seed=self.seed, phase=phase.name, epoch=phase.passes, index=phase.index)
        rate = phase.settings.optimizer.lr * learning_rate_factor(
            phase.settings.schedule,
            step=self.counters.epoch * phase.steps_per_epoch + phase.step,
            steps_per_epoch=phase.steps_per_epoch,
            epochs=self.config.epochs,
        )
        for group, ratio in zip(phase.optimizer.param_groups, phase.ratios, strict=True):
            group["lr"] = rate * ratio
        self._seed(step.phase, step.epoch, step.index)
        taken, part = take_slice(phase.batches, step, self.everyone)
        batch = fabric.to_device(taken)
        if phase.phase.update is None:
            with fabric.autocast(), computing(part):
                terms = phase.phase.loss(batch)
                values = stack_terms(phase.name, terms)
        else:
            with torch.no_grad():
                terms = phase.phase.update(batch, rate)
                values = stack_terms(phase.name, terms)
        phase.advance()
        self._stop_if_bad(monitor.add(phase.name, phase.step, tuple(terms), average_terms(values, part, self.everyone)))
        if phase.phase.update is None:
            self.descend(phase, values.sum(), part)
        self.bar.advance(epoch=self.counters.epoch + 1, loss=monitor.latest, best=self._best_so_far())
        return rate

    def descend(self, phase: ActivePhase, loss: Tensor, part: Slice) -> None:
        """Change a phase's parameters by the gradient of its loss.

        Only these receive a gradient, whatever else the loss was computed from.
        """
        self.fabric.backward(loss, inputs=phase.parameters)
        average_gradients(phase.parameters, part, self.everyone)
        if phase.settings.clip_norm:
            self.fabric.clip_gradients(
                self.model, phase.optimizer, max_norm=phase.settings.clip_norm, error_if_nonfinite=False
            )
        phase.fabric_optimizer.step()
        for parameter in phase.parameters:
            parameter.grad = None

    def _seed(self, *keys: int | str) -> None:
        seed_everything(self.fabric.device, self.seed, *keys)

    # --- after an epoch ---------------------------------------------------------------------------------------------

    def finish_epoch(self, record: dict[str, Any], timing: dict[str, Any]) -> None:
        """Validate when it is time, write both records, and keep what has to be kept."""
        counters, begun = self.counters, time.perf_counter()
        epoch = counters.epoch
        better = False
        if epoch % self.config.validate_every == 0 or epoch == self.config.epochs:
            record["valid"] = numbers = self.validate()
            better = improves(self.selection, self.constraint, numbers, counters.best)
            counters.stale += 1
            if better:
                counters.best_epoch, counters.best, counters.stale = epoch, numbers, 0
                self.states.keep_best(self.model, epoch)
            timing["validation_seconds"] = time.perf_counter() - begun
        timing["peak_memory_bytes"] = peak_memory()
        if self.fabric.device.type == "cuda":
            timing["peak_gpu_memory_bytes"] = torch.cuda.max_memory_allocated(self.fabric.device)
        if self.run is not None:
            self.run.append(METRICS, {**record, "best": better})
            self.run.append(TIMING, timing)
        counters.records += 1
        if epoch % self.config.checkpoint_every == 0 or self.stop_reason() is not None:
            self.states.save(self.model, self.others, counters)

    def validate(self) -> dict[str, float | None]:
        """Return the numbers of a validation: those of the data, and those that the model adds."""
        self.model.eval()
        self._seed("validate", self.counters.epoch)
        with torch.no_grad():
            numbers = dict(self.data.validate(self.model))
            own = _own_numbers(self.model)
        if both := sorted(numbers.keys() & own.keys()):
            raise TrainingError(f"{type(self.model).__name__} adds '{both[0]}' to the validation, which has it already")
        found = agreed({**numbers, **own}, self.everyone)
        return {name: float(value) if math.isfinite(value) else None for name, value in found.items()}

    def _best_so_far(self) -> float | str:
        best = self.counters.best
        return "none yet" if best is None else best[self.selection.name] or 0.0

    # --- numbers that are none --------------------------------------------------------------------------------------

    def _stop_if_bad(self, bad: BadTerm | None) -> None:
        """Raise a TrainingError that names the step and the term, and the parameter that went wrong before it."""
        if bad is None:
            return
        parameter = first_non_finite(self.model.named_parameters())
        after = f"; parameter '{parameter}' is not finite either" if parameter else ""
        raise TrainingError(
            f"training stopped in epoch {self.counters.epoch + 1}, phase '{bad.phase}', step {bad.step}: loss term "
            f"'{bad.term}' is {bad.value}{after}. {self._advice()}"
        )

    def _check_parameters(self) -> None:
        """Raise a TrainingError when a parameter is not finite, so that no such state is validated or kept."""
        if parameter := first_non_finite(self.model.named_parameters()):
            raise TrainingError(
                f"training stopped after epoch {self.counters.epoch + 1}: parameter '{parameter}' is not finite. "
                f"{self._advice()}"
            )

    def _advice(self) -> str:
        rates = ", ".join(f"{phase.name} {phase.settings.optimizer.lr:g}" for phase in self.phases)
        kept = f" Epoch {self.counters.best_epoch} was the best so far." if self.counters.best_epoch else ""
        return f"Try a lower learning rate (now {rates}) or a clip_norm.{kept}"


def _phases_of(model: object) -> list[Phase]:
    if not isinstance(model, Trainable):
        raise TrainingError(f"{type(model).__name__} cannot be trained: it has no phases()")
    return model.phases()


def _begin_epoch(model: object, epoch: int, generator: torch.Generator) -> None:
    if isinstance(model, BeginsEpochs):
        model.begin_epoch(epoch, generator)


def _own_numbers(model: object) -> dict[str, float]:
    return dict(model.validation_metrics()) if isinstance(model, AddsToValidation) else {}
