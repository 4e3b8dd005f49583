"""A toy that shows all that the loop must do: two phases that pull at each other, dropout, a hook with state, its own
random batches. Run as a program, it trains in forked processes that may be killed at any moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.rundir import RunDirectory
from sensorium.core.seeds import torch_generator
from sensorium.data.batches import Step
from sensorium.evaluation.selection import Selection
from sensorium.training.config import TrainingConfig
from sensorium.training.loop import TrainingResult, train
from sensorium.training.protocols import Phase, TrainingData

ROWS, WIDTH = 12, 4
SCORE = Selection("score")


class Batches:
    """Random rows and numbers, decided by the step alone. Remembers the steps that it was asked for."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[tuple[str, int, int]] = []

    def __len__(self) -> int:
        return self.count

    def batch(self, step: Step) -> dict[str, Tensor]:
        self.asked.append((step.phase, step.epoch, step.index))
        generator = torch_generator(step.seed, step.phase, step.epoch, step.index)
        return {
            "row": torch.randint(ROWS, (8,), generator=generator),
            "x": torch.randn(8, WIDTH, generator=generator),
        }


class Toy(nn.Module):
    """A table and a critic of it. `steps` gives the steps of its phases; without any it is complete once built."""

    def __init__(self, batches: Batches, steps: tuple[Any, ...] = ("pass", 3), order: tuple[str, ...] = ()) -> None:
        super().__init__()
        generator = torch_generator(0, "toy")
        self.table = nn.Parameter(torch.randn(ROWS, WIDTH, generator=generator))
        self.critic = nn.Parameter(torch.randn(WIDTH, generator=generator))
        self.register_buffer("shift", torch.zeros(WIDTH))
        self.batches, self.steps = batches, dict(zip(order or ("table", "critic"), steps, strict=False))
        self.hooks: list[int] = []
        self.losses = 0
        self.before_loss: Callable[[int], None] = lambda count: None

    def begin_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.hooks.append(epoch)
        self.shift += 0.01 * torch.randn(WIDTH, generator=generator)  # state that outlives the epoch

    def phases(self) -> list[Phase]:
        known = {
            "table": Phase("table", [self.table], self.table_loss, None, self.steps.get("table", "pass")),
            "critic": Phase("critic", [self.critic], self.critic_loss, self.batches, self.steps.get("critic", 1)),
        }
        return [known[name] for name in self.steps]

    def table_loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self._count()
        rows = functional.dropout(self.table[batch["row"]], 0.2, self.training)
        return {
            "fit": ((rows - batch["x"] - self.shift) ** 2).mean(),
            "fool": functional.softplus(rows @ self.critic).mean(),  # depends on the critic, must not train it
        }

    def critic_loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self._count()
        wrong = functional.softplus(-(self.table[batch["row"]] @ self.critic)).mean()
        return {"spot": wrong + functional.softplus(functional.dropout(batch["x"], 0.2) @ self.critic).mean()}

    def score(self) -> float:
        return -((self.table**2).sum() + (self.critic**2).sum()).item()

    def validation_metrics(self) -> dict[str, float]:
        return {"critic_norm": self.critic.norm().item()}

    def _count(self) -> None:
        self.losses += 1
        self.before_loss(self.losses)


def validate(model: Toy) -> dict[str, float]:
    return {"score": model.score()}


def train_toy(
    config: TrainingConfig, *, run: RunDirectory | None = None, seed: int = 3, count: int = 4, **options: Any
) -> tuple[Toy, TrainingResult]:
    """Train a new toy. `options` are those of `Toy`, and `validate`, `before_loss`, `selection`, `constraint`."""
    judge = options.pop("validate", validate)
    before_loss = options.pop("before_loss", None)
    selection, constraint = options.pop("selection", SCORE), options.pop("constraint", None)
    batches = Batches(count)
    model = Toy(batches, **options)
    if before_loss is not None:
        model.before_loss = before_loss
    result = train(
        model, TrainingData(batches, judge), config, selection=selection, constraint=constraint, seed=seed, run=run
    )
    return model, result


# --- a program whose children may be killed ---------------------------------------------------------------------------


def kill_at_sync(number: int) -> None:
    """Kill this process when it flushes a file for the `number`th time: between any two things that it writes."""
    flush, seen = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)

    os.fsync = fsync


def kill_at_loss(number: int) -> Callable[[int], None]:
    """Kill this process in its `number`th step."""
    return lambda count: os.kill(os.getpid(), signal.SIGKILL) if count == number else None


def kill_after_loss(number: int, seconds: float) -> Callable[[int], None]:
    """Kill this process so long after its `number`th step began, wherever it is then."""

    def arm(count: int) -> None:
        if count == number:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, seconds)

    return arm


def serve() -> None:
    """Train once for each line of the input, in a process of its own: [path, config, {kind of kill: its arguments}].

    Prints the process's number at once, and its exit status at its end. One program for many processes, since starting
    torch takes longer than all of them.
    """
    torch.set_num_threads(1)
    for line in sys.stdin:
        path, config, kill = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                if "kill_at_sync" in kill:
                    kill_at_sync(kill["kill_at_sync"])
                options = {}
                if "kill_at_loss" in kill:
                    options["before_loss"] = kill_at_loss(kill["kill_at_loss"])
                if "kill_after_loss" in kill:
                    options["before_loss"] = kill_after_loss(*kill["kill_after_loss"])
                train_toy(TrainingConfig(**config), run=RunDirectory.open(Path(path)), **options)
                status = 0
            os._exit(status)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, ended = os.waitpid(child, 0)
        sys.stdout.write(f"{ended}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
