"""Training of the embedded prior: phases of growing pictures, a moving average of the weights, a checkpoint that a
killed process continues from to the same numbers.

    loss = mean((v_predicted - v)^2) + 0.05 mean((elevation_read - elevation)^2) / 90^2

The second term is of references whose elevation is withheld from the encoder, 0.2 of them: told it in the rays, the
encoder would have nothing to read.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from sensorium.core.config import Config, build, to_yaml
from sensorium.core.errors import ConfigError, RunError, TrainingError
from sensorium.core.files import read_json, read_safetensors, sha256_file, write_json, write_safetensors, write_text
from sensorium.core.rundir import RunDirectory
from sensorium.core.seeds import derive
from sensorium.lifting.prior.batches import Batch, draw_batch
from sensorium.lifting.prior.gap import gap_batch, turned
from sensorium.lifting.prior.network import Denoiser, NetworkConfig
from sensorium.lifting.prior.pool import Pool, PoolConfig, generate, read
from sensorium.lifting.prior.poses import angles, plucker

logger = logging.getLogger(__name__)

STATE = "checkpoint/state.safetensors"
INITIAL = "initial.json"
METRICS, TIMING = "metrics.jsonl", "timing.jsonl"


class Phase(Config):
    """Some steps at one size of picture."""

    pool: PoolConfig = Field(description="the views that are learnt from")
    side: int = Field(description="pixels along a picture")
    steps: int = Field(ge=1, description="how many")
    references: int = Field(16, ge=1, description="objects in a batch")
    rate: tuple[float, float] = Field((4e-4, 4e-5), description="learning rate at its begin and end, by half a cosine")
    late: float = Field(0.0, ge=0, le=1, description="share of targets with t from 0.8 on, where poses are learnt")


class TrainingConfig(Config):
    """One training of the prior."""

    kind: Literal["view-prior"] = Field("view-prior", description="which job this is")
    network: NetworkConfig = Field(default_factory=NetworkConfig, description="size of the denoiser")
    phases: tuple[Phase, ...] = Field(description="one after the other")
    targets: int = Field(4, ge=1, description="views of an object in a batch")
    withheld: float = Field(0.1, ge=0, le=1, description="share of targets without condition")
    unposed: float = Field(0.2, ge=0, le=1, description="share of references without elevation")
    same: float = Field(0.05, ge=0, le=1, description="share of targets that are the reference")
    warmup: int = Field(500, ge=0, description="steps over which the learning rate rises from 0")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    average: float = Field(0.9995, ge=0, lt=1, description="decay of the moving average of the weights")
    elevation_weight: float = Field(0.05, ge=0, description="of the second term of the loss")
    initial: Path | None = Field(None, description="exported weights to begin with; none: random ones")
    seed: int = Field(0, ge=0, description="decides every draw")
    log_every: int = Field(20, ge=1, description="steps that a line of metrics is the mean of")
    gap_every: int = Field(500, ge=0, description="steps between looks at what a wrong azimuth costs; 0: never")
    save_every: int = Field(100, ge=1, description="steps between checkpoints; a multiple of log_every")

    def looks(self, step: int) -> bool:
        """Return whether the line of metrics of a step tells what a wrong azimuth costs: the first one from when it is
        due."""
        every = self.gap_every
        return every > 0 and step // every > max(step - self.log_every, 0) // every

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def phase(self, step: int) -> tuple[int, int]:
        """Return the phase that a step belongs to, and the step's place in it."""
        for number, phase in enumerate(self.phases):
            if step < phase.steps:
                return number, step
            step -= phase.steps
        raise ConfigError("the training has no more steps")

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        number, place = self.phase(step)
        first, last = self.phases[number].rate
        share = 0.5 + 0.5 * math.cos(math.pi * place / self.phases[number].steps)
        return (last + (first - last) * share) * min(1.0, (step + 1) / max(1, self.warmup))


class Training:
    """A training in memory: weights, their average, the optimiser, and the step that comes next."""

    def __init__(self, config: TrainingConfig, device: torch.device | str = "cpu") -> None:
        self.config, self.device = config, torch.device(device)
        with torch.random.fork_rng():
            torch.manual_seed(derive(config.seed, "weights"))
            self.network = Denoiser(config.network).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.names = [name for name, _ in self.network.named_parameters()]
        self.weights = [weight for _, weight in self.network.named_parameters()]
        self.averages = [weight.detach().clone() for weight in self.weights]
        self.optimiser = torch.optim.AdamW(
            self.weights, lr=0.0, betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=True
        )
        self.step = 0

    def advance(self, pool: Pool) -> dict[str, float]:
        """Do one step.

        Returns:
            The two terms of the loss and the norm of the gradient.

        Raises:
            TrainingError: The loss is not finite.
        """
        config = self.config
        phase = config.phases[config.phase(self.step)[0]]
        batch = draw_batch(
            pool,
            side=phase.side,
            references=phase.references,
            targets=config.targets,
            withheld=config.withheld,
            unposed=config.unposed,
            same=config.same,
            seed=config.seed,
            step=self.step,
            late=phase.late,
        )
        loss, elevation = self._losses(batch)
        total = loss + config.elevation_weight * elevation
        if not bool(torch.isfinite(total)):
            raise TrainingError(f"step {self.step}: the loss is {float(total)}; lower the learning rate")
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.weights, config.clip)
        self.optimiser.param_groups[0]["lr"] = config.rate(self.step)
        self.optimiser.step()
        decay = min(config.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.weights, 1 - decay)
        self.step += 1
        return {"loss": float(loss.detach()), "elevation_loss": float(elevation.detach()), "norm": float(norm)}

    @torch.no_grad()
    def gap(self, batch: Batch) -> float:
        """Return by how much the first term of the loss is larger where azimuths are wrong, see `gap`."""
        right, wrong = self._losses(batch)[0], self._losses(turned(batch))[0]
        return float(wrong - right)

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        batch = Batch(**{name: value.to(self.device) for name, value in vars(batch).items()})
        side, targets = batch.noisy.shape[-1], len(batch.noisy) // len(batch.references)
        posed = batch.posed
        own_rays = plucker(batch.reference_elevations, torch.zeros_like(posed), side) * posed[:, None, None, None]
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
            features = self.network.encoder(batch.references, own_rays)
            read = self.network.seen_elevation(features)
            repeated = [level.repeat_interleave(targets, 0) for level in features]
            velocity = self.network(
                batch.noisy.contiguous(memory_format=torch.channels_last),
                batch.t,
                batch.references.repeat_interleave(targets, 0),
                repeated,
                plucker(batch.elevations, batch.azimuths, side),
                angles(batch.reference_elevations.repeat_interleave(targets), batch.elevations, batch.azimuths),
                batch.known,
            )
        errors = ((read.float() - batch.reference_elevations) / 90).square() * (1 - posed)
        return (velocity.float() - batch.velocity).square().mean(), errors.sum() / (1 - posed).sum().clamp(min=1)

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights by name, as `averaged` returns them, for a training that begins.

        Raises:
            ConfigError: They are of another network.
        """
        if {name: tuple(value.shape) for name, value in weights.items()} != {
            name: tuple(weight.shape) for name, weight in zip(self.names, self.weights, strict=True)
        }:
            raise ConfigError("the initial weights are of another network than network: gives")
        with torch.no_grad():
            for name, weight, average in zip(self.names, self.weights, self.averages, strict=True):
                weight.copy_(weights[name])
                average.copy_(weights[name])

    # --- the state on disk ------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Return all that the next step depends on."""
        found = {"step": torch.tensor(self.step)}
        for name, weight, average in zip(self.names, self.weights, self.averages, strict=True):
            state = self.optimiser.state.get(weight, {})
            found |= {f"weight.{name}": weight, f"average.{name}": average}
            found |= {f"{key}.{name}": value for key, value in state.items()}
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a state of `tensors`."""
        self.step = int(tensors["step"])
        with torch.no_grad():
            for name, weight, average in zip(self.names, self.weights, self.averages, strict=True):
                weight.copy_(tensors[f"weight.{name}"])
                average.copy_(tensors[f"average.{name}"])
                keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}.{name}" in tensors]
                state = {key: tensors[f"{key}.{name}"].clone() for key in keys}
                for key in ("exp_avg", "exp_avg_sq"):
                    if key in state:
                        state[key] = torch.empty_like(weight).copy_(state[key])
                if state:
                    self.optimiser.state[weight] = state

    def averaged(self) -> dict[str, Tensor]:
        """Return the moving average of the weights by name, float32 on the CPU."""
        return {name: average.detach().float().cpu() for name, average in zip(self.names, self.averages, strict=True)}


def train(
    path: str | Path, config: TrainingConfig, *, pools: str | Path, device: str = "cpu", until: int | None = None
) -> Training:
    """Train to the end, or continue a training that was interrupted; views that are missing are generated.

    A training that goes on may be given other phases from the one on that it stands in.

    Args:
        path: The run's folder.
        config: The training.
        pools: Folder of pools of views.
        device: Of the network, and of the views that the renderer `torch` draws.
        until: Stop after so many steps in all.

    Returns:
        The training as it stands then.

    Raises:
        RunError: The folder holds another training, or is in use.
        ConfigError: Checkpoints fall between lines of metrics, or the initial weights are of another network.
        DataError: There are no initial weights.
        TrainingError: The loss is not finite.
    """
    if config.save_every % config.log_every:
        raise ConfigError(f"save_every {config.save_every} is no multiple of log_every {config.log_every}")
    path = Path(path)
    begun = (path / "config.yaml").exists()
    run = RunDirectory.open(path) if begun else RunDirectory.create(path, config.model_dump(mode="json"))
    with run.lock():
        training = Training(config, device)
        if (path / STATE).exists():
            training.restore(read_safetensors(path / STATE))
        elif config.initial is not None:
            training.begin_with(read_safetensors(config.initial))
            write_json(path / INITIAL, _history(config.initial))
        _check_same(build(TrainingConfig, run.config, source=str(run.path / "config.yaml")), config, training.step)
        write_text(run.path / "config.yaml", to_yaml(config.model_dump(mode="json")))
        run.keep_records(METRICS, training.step // config.log_every)
        _continue(training, run, Path(pools), config.steps if until is None else min(until, config.steps))
        return training


def _history(weights: Path) -> dict[str, object]:
    """Return what is known of weights that a training begins with: their hash, and what their card tells of before."""
    found: dict[str, object] = {"sha256": sha256_file(weights)}
    card = weights.with_suffix(".json")
    if card.is_file() and (known := read_json(card)).get("sha256") == found["sha256"]:
        found |= {key: known[key] for key in ("training", "begun_from") if key in known}
    return found


def _continue(training: Training, run: RunDirectory, folder: Path, until: int) -> None:
    config = training.config
    pools: dict[Phase, Pool] = {}
    judged: dict[tuple[int, int], Batch] = {}
    gap: float | None = None
    seen: list[dict[str, float]] = []
    clock, busy, since = time.monotonic(), time.process_time(), training.step
    while training.step < until:
        number, _ = config.phase(training.step)
        phase, rate = config.phases[number], config.rate(training.step)
        if phase not in pools:
            generate(folder / phase.pool.folder, phase.pool, device=training.device)
            # One at a time: a pool may fill much of the memory.
            pools = {phase: read(folder / phase.pool.folder, phase.pool.objects)}
        seen.append(training.advance(pools[phase]))
        if training.step % config.log_every == 0:
            means = {key: sum(entry[key] for entry in seen) / len(seen) for key in seen[0]}
            if config.looks(training.step):
                sides = phase.pool.side, phase.side
                judged = judged if sides in judged else {sides: gap_batch(*sides)}
                means["gap"] = gap = training.gap(judged[sides])
            run.append(METRICS, {"step": training.step, "phase": number, "rate": rate, **means})
            seen = []
        if training.step % config.save_every == 0 or training.step == config.steps:
            (run.path / STATE).parent.mkdir(exist_ok=True)
            write_safetensors(run.path / STATE, training.tensors())
            now, used = time.monotonic(), time.process_time()
            steps, seconds, cpu = training.step - since, now - clock, used - busy
            run.append(TIMING, {"step": training.step, "steps": steps, "seconds": seconds, "cpu_seconds": cpu})
            told = "" if gap is None else f", azimuth + 90 costs {gap:.5f}"
            logger.info("step %d of %d, %.2f s a step%s", training.step, config.steps, seconds / steps, told)
            clock, busy, since = now, used, training.step


def _check_same(begun: TrainingConfig, asked: TrainingConfig, step: int) -> None:
    """Refuse to go on with another training than was begun, but for phases that are not done."""
    if begun.model_copy(update={"phases": ()}) != asked.model_copy(update={"phases": ()}):
        raise RunError("the folder holds a training with other settings: choose another folder")
    done, count = 0, 0
    for phase in begun.phases:
        done += phase.steps
        count += done <= step
    if begun.phases[:count] != asked.phases[:count]:
        raise RunError(f"the first {count} phases of this training are done and cannot be changed")
