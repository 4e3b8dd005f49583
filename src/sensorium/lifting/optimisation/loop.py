"""The loop of this room: one scene, whose parameters come and go.

    step    the objective draws and judges; gradient; statistics of the pictures it watched; one step of Adam
    look    every `interval` steps: copy and split where pictures pull hard, remove what is faint or huge
    record  every `record_every` steps a line of metrics.jsonl, every `checkpoint_every` steps a checkpoint

What a step draws at random comes from (seed, step), so that a run that was killed goes on to the same numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from sensorium.core.config import dump
from sensorium.core.errors import ConfigError, TrainingError
from sensorium.core.files import digest
from sensorium.core.progress import Progress
from sensorium.core.resources import peak_memory
from sensorium.core.rundir import RunDirectory
from sensorium.core.seeds import torch_generator
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.optimisation import checkpoint
from sensorium.lifting.optimisation.adaptive import FAINT, Bounds, Statistics, densify, prune
from sensorium.lifting.optimisation.checkpoint import State
from sensorium.lifting.optimisation.config import OptimisationConfig
from sensorium.lifting.optimisation.moving import MovingCloud
from sensorium.lifting.rasterisers.base import RenderOut

METRICS, TIMING = "metrics.jsonl", "timing.jsonl"


@dataclass(frozen=True)
class StepOutcome:
    """What an objective says of a cloud at one step.

    Attributes:
        terms: The loss, by name of its parts; what is optimised is their sum.
        watched: Pictures whose gradients decide where Gaussians multiply.
        numbers: More to be recorded.
    """

    terms: Mapping[str, Tensor]
    watched: Sequence[RenderOut] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)


class Objective(Protocol):
    """What a scene is optimised for."""

    def __call__(self, cloud: GaussianCloud, step: int) -> StepOutcome:
        """Judge a cloud at a step, counted from 0. Same step, same draws."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """An objective whose judgement depends on earlier steps: what it remembers is part of every checkpoint."""

    def state(self) -> dict[str, Tensor]:
        """Return what it remembers."""
        ...

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Remember what `state` returned."""
        ...


Watch = Callable[[GaussianCloud, int], None]


@dataclass(frozen=True)
class Optimised:
    """The outcome of an optimisation.

    Attributes:
        cloud: The Gaussians at the end, cut from any graph.
        steps: Steps taken in all.
        terms: Means of the loss terms over the last recorded steps.
        notes: Limits that were met, one sentence each.
    """

    cloud: GaussianCloud
    steps: int
    terms: dict[str, float]
    notes: list[str]


def optimise(
    begin: GaussianCloud,
    objective: Objective,
    config: OptimisationConfig,
    *,
    seed: int,
    run: RunDirectory | None = None,
    about: str = "",
    label: str = "fit",
    watch: Watch | None = None,
) -> Optimised:
    """Optimise a scene to its end; a run that has a checkpoint is continued from there.

    Args:
        begin: The cloud to begin with; it is not changed.
        objective: What it is optimised for.
        config: All about the optimisation that is not the objective.
        seed: Decides every random draw.
        run: Where records and checkpoints go; None keeps nothing.
        about: A digest of what the objective depends on: a run is not continued with another.
        label: Beside the progress bar.
        watch: Given the cloud and the number of steps done, whenever a checkpoint is due: for previews.

    Raises:
        ConfigError: The cloud has more Gaussians than there may ever be, or none.
        TrainingError: A loss is not finite.
        RunError: The run's checkpoint is of something else.
        KeyboardInterrupt: With the command that resumes, when the user stopped it.
    """
    if not 1 <= len(begin) <= config.density.max_points:
        raise ConfigError(
            f"an optimisation begins with 1 to max_points = {config.density.max_points:,} Gaussians, not {len(begin):,}"
        )
    loop = _Loop(begin, objective, config, seed, run, about, watch)
    try:
        return loop.run_all(label)
    except KeyboardInterrupt:
        if run is None:
            raise
        raise KeyboardInterrupt(
            f"interrupted at step {loop.state.step}; resume with: sensorium resume {run.path}"
        ) from None


class _Loop:
    """One optimisation: what was asked for, and where it stands."""

    def __init__(
        self,
        begin: GaussianCloud,
        objective: Objective,
        config: OptimisationConfig,
        seed: int,
        run: RunDirectory | None,
        about: str,
        watch: Watch | None,
    ) -> None:
        self.objective, self.config, self.seed, self.run, self.watch = objective, config, seed, run, watch
        self.asked = digest(dump(config), seed, about)
        self.bounds = Bounds()
        device = begin.means.device
        found = None if run is None else checkpoint.load(run, self.asked, device)
        self.state = found or State(MovingCloud(begin), Statistics(len(begin), device))
        if found and isinstance(objective, Remembering):
            objective.restore(found.objective)
        self.sums: dict[str, float] = {}
        self.since, self.begun = 0, time.perf_counter()
        self.latest: dict[str, float] = {}
        if run is not None:  # what came after the checkpoint is done again
            run.keep_records(METRICS, self.state.records)
            run.keep_records(TIMING, min(self.state.records, len(run.records(TIMING))))
            if found and (records := run.records(METRICS)):
                self.latest = records[-1]["loss"]

    def run_all(self, label: str) -> Optimised:
        """Take all steps that are left."""
        config, state = self.config, self.state
        with Progress(config.iterations - state.step, label, unit="step") as bar:
            while state.step < config.iterations:
                loss = self.step()
                bar.advance(loss=loss, points=len(state.moving))
        density = config.density
        prune(state.moving, self.bounds, opacity=density.prune_opacity, scale=density.final_scale)
        return Optimised(state.moving.cloud.detach(), state.step, self.latest, self.bounds.notes)

    def step(self) -> float:
        """Take one step, and do what is due after it; return the loss."""
        state = self.state
        outcome = self.objective(state.moving.cloud, state.step)
        loss = torch.stack([term.reshape(()) for term in outcome.terms.values()]).sum()
        value = loss.item()
        if not math.isfinite(value):
            terms = ", ".join(f"{name} {term.item():g}" for name, term in outcome.terms.items())
            raise TrainingError(
                f"the optimisation stopped at step {state.step + 1}: its loss is {value} ({terms}). Try lower rates"
            )
        torch.autograd.backward(loss)
        state.statistics.add(outcome.watched, self.config.density.stats)
        state.moving.step(self.config.rates.at(state.step / self.config.iterations))
        state.step += 1
        self._count(outcome)
        self._look()
        if state.step % self.config.record_every == 0 or state.step == self.config.iterations:
            self._record()
        if state.step % self.config.checkpoint_every == 0:
            if self.watch is not None:  # first: a run that is killed in between shows it again
                self.watch(state.moving.cloud.detach(), state.step)
            if self.run is not None:
                state.objective = self.objective.state() if isinstance(self.objective, Remembering) else {}
                checkpoint.save(self.run, state, self.asked)
        return value

    def _look(self) -> None:
        """Let Gaussians come and go where it is time."""
        state, density = self.state, self.config.density
        if self.config.looks_at(state.step):
            draw = torch_generator(self.seed, "split", state.step)
            stay = densify(state.moving, state.statistics, density, draw, self.bounds)
            too_wide = torch.zeros(len(state.moving), dtype=torch.bool, device=stay.device)
            if density.max_screen_frac is not None:
                wide = state.statistics.widest[stay] > density.max_screen_frac
                too_wide[: len(wide)] = wide
            prune(
                state.moving, self.bounds, opacity=density.prune_opacity, scale=density.prune_scale, too_wide=too_wide
            )
            state.statistics = Statistics(len(state.moving), stay.device)
        if self.config.resets_at(state.step):
            state.moving.limit_opacity(FAINT)

    # --- records ----------------------------------------------------------------------------------------------------

    def _count(self, outcome: StepOutcome) -> None:
        for name, value in {**{n: t.item() for n, t in outcome.terms.items()}, **outcome.numbers}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.since += 1

    def _record(self) -> None:
        """Write the means since the last record."""
        state = self.state
        self.latest = {name: value / self.since for name, value in self.sums.items()}
        seconds = time.perf_counter() - self.begun
        if self.run is not None:
            self.run.append(METRICS, {"step": state.step, "loss": self.latest, "points": len(state.moving)})
            timing = {"step": state.step, "seconds": seconds, "seconds_per_step": seconds / self.since}
            self.run.append(TIMING, {**timing, "peak_memory_bytes": peak_memory()})
        state.records += 1
        self.sums, self.since, self.begun = {}, 0, time.perf_counter()
