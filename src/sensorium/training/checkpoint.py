"""The state of training on disk: complete, atomic, without pickle.

    checkpoint/state.json                  the counters, and which files belong to them
    checkpoint/model-<epoch>.safetensors   weights and buffers after that epoch
    checkpoint/optimizers-<epoch>.safetensors
    weights/best.safetensors               the best state so far, for whoever uses the run

`state.json` is written last and replaced as a whole: with it the checkpoint is valid, and whatever it does not name is
swept away. So a process may be killed between any two writes. The best state is one of the `model` files and is written
once. `weights/best.safetensors` is the same file under a second name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.errors import RunError, TrainingError
from sensorium.core.files import atomic_path, read_json, read_safetensors, write_json, write_safetensors
from sensorium.core.processes import Processes
from sensorium.core.rundir import environment

FORMAT_VERSION = 1
BEST_WEIGHTS = Path("weights") / "best.safetensors"


@dataclass
class Counters:
    """Where training stands.

    Attributes:
        epoch: Complete epochs.
        positions: By phase, [passes over its batches that are complete, batches taken of the next one].
        best_epoch: The epoch of the best state, None before the first validation with a number.
        best: That state's validation.
        stale: Validations since then.
        records: Lines that training has written to metrics.jsonl, as many as to timing.jsonl.
    """

    epoch: int = 0
    positions: dict[str, list[int]] = field(default_factory=dict)
    best_epoch: int | None = None
    best: dict[str, float | None] | None = None
    stale: int = 0
    records: int = 0


class MemoryStates:
    """Keeps the best state in memory and nothing else: for training without a run, or with checkpoint "none"."""

    def __init__(self) -> None:
        self._best: dict[str, Tensor] = {}

    def load(self, model: nn.Module, others: Mapping[str, Any]) -> Counters:
        """Return the counters of a start."""
        return Counters()

    def keep_best(self, model: nn.Module, epoch: int) -> None:
        """Copy the model's state to the CPU."""
        self._best = {name: tensor.to("cpu", copy=True) for name, tensor in tensors_of(model).items()}

    def save(self, model: nn.Module, others: Mapping[str, Any], counters: Counters) -> None:
        """Keep nothing: there is no resuming."""

    def restore_best(self, model: nn.Module, counters: Counters) -> None:
        """Put the best state into the model."""
        model.load_state_dict(self._best)


class RunStates:
    """Keeps the last and the best state in a run's folder.

    Args:
        run: The run's folder.
        fingerprint: A digest of all that a continued training must share with the one that it continues.
        everyone: The processes that train together: all read, the first one writes.
    """

    def __init__(self, run: Path, fingerprint: str, everyone: Processes = Processes()) -> None:  # noqa: B008 - frozen
        self._run, self._folder, self._fingerprint, self._everyone = run, run / "checkpoint", fingerprint, everyone
        self._release = environment()["packages"]["sensorium"]

    def load(self, model: nn.Module, others: Mapping[str, Any]) -> Counters:
        """Put the last checkpoint into the model and the others; return its counters, or those of a start.

        Args:
            model: Receives weights and buffers.
            others: Optimisers and the like, by name, with `load_state_dict`.

        Raises:
            RunError: The checkpoint has another format, belongs to other settings, or does not fit the model.
        """
        if not (self._folder / "state.json").exists():
            self._everyone.wait()
            self._sweep(keep=())
            return Counters()
        state = read_json(self._folder / "state.json")
        if state["format_version"] != FORMAT_VERSION:
            raise RunError(
                f"{self._folder} has checkpoint format {state['format_version']}, written by sensorium "
                f"{state['sensorium']}, and this release resumes format {FORMAT_VERSION}: "
                "resume the run with that release, or start a new one"
            )
        if state["fingerprint"] != self._fingerprint:
            raise RunError(
                f"{self._folder} was made with another seed, selection or training configuration: "
                "resume with the run's own, or start a new run"
            )
        counters = Counters(**state["counters"])
        try:
            model.load_state_dict(read_safetensors(self._model_file(counters.epoch)))
            tensors = read_safetensors(self._optimizer_file(counters.epoch))
            for name, part in others.items():
                part.load_state_dict(unpack(state["states"][name], tensors))
        except (RuntimeError, ValueError, KeyError) as error:
            raise RunError(f"{self._folder} does not fit this model: {' '.join(str(error).split())}") from error
        self._everyone.wait()
        self._tidy(counters)
        return counters

    def keep_best(self, model: nn.Module, epoch: int) -> None:
        """Write the model's state as that of `epoch`. It becomes the best one when the next checkpoint names it."""
        if self._everyone.first:
            write_safetensors(self._model_file(epoch), tensors_of(model), {"epoch": str(epoch)})

    def save(self, model: nn.Module, others: Mapping[str, Any], counters: Counters) -> None:
        """Write a checkpoint after the epoch `counters.epoch`; when this returns, every process can read it."""
        if self._everyone.first:
            self._write(model, others, counters)
            self._tidy(counters)
        self._everyone.wait()

    def _write(self, model: nn.Module, others: Mapping[str, Any], counters: Counters) -> None:
        if counters.best_epoch != counters.epoch:
            write_safetensors(self._model_file(counters.epoch), tensors_of(model), {"epoch": str(counters.epoch)})
        tensors: dict[str, Tensor] = {}
        states = {name: pack(part.state_dict(), name, tensors) for name, part in others.items()}
        write_safetensors(self._optimizer_file(counters.epoch), tensors)
        write_json(
            self._folder / "state.json",
            {
                "format_version": FORMAT_VERSION,
                "sensorium": self._release,
                "fingerprint": self._fingerprint,
                "counters": asdict(counters),
                "states": states,
            },
        )

    def restore_best(self, model: nn.Module, counters: Counters) -> None:
        """Put the best state into the model."""
        assert counters.best_epoch is not None  # the loop asks for it only then
        model.load_state_dict(read_safetensors(self._model_file(counters.best_epoch)))

    def _model_file(self, epoch: int) -> Path:
        return self._folder / f"model-{epoch}.safetensors"

    def _optimizer_file(self, epoch: int) -> Path:
        return self._folder / f"optimizers-{epoch}.safetensors"

    def _tidy(self, counters: Counters) -> None:
        """Show the best state at its public place, and remove what the checkpoint does not name."""
        if not self._everyone.first:
            return
        keep = [self._model_file(counters.epoch), self._optimizer_file(counters.epoch)]
        if counters.best_epoch is not None:
            best = self._model_file(counters.best_epoch)
            keep.append(best)
            public = self._run / BEST_WEIGHTS
            if not (public.exists() and public.samefile(best)):
                with atomic_path(public) as temporary:
                    _link(best, temporary)
        self._sweep(keep)

    def _sweep(self, keep: Iterable[Path]) -> None:
        """Remove files that no checkpoint names, and what a killed process had begun to write."""
        if not self._everyone.first:
            return
        public = self._run / BEST_WEIGHTS
        begun = [*self._folder.glob(".*.tmp"), *public.parent.glob(f".{public.name}.*.tmp")]
        for path in {*self._folder.glob("*.safetensors"), *begun} - set(keep):
            path.unlink()


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; where the file system has none, copy it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's state.

    Raises:
        TrainingError: An entry is not a dense tensor, which no checkpoint could hold.
    """
    state = model.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            raise TrainingError(
                f"'{name}' of {type(model).__name__} is not a dense tensor and cannot be kept in a checkpoint: "
                "make it one, or leave it out of the state (persistent=False) and rebuild it when a state is loaded"
            )
    return dict(state)


def pack(value: Any, key: str, tensors: dict[str, Tensor]) -> Any:
    """Turn a nested state into plain JSON values; its tensors go to `tensors`, under keys that begin with `key`.

    `unpack` gives back exactly what went in: keys that are numbers, tuples, every bit of every float.

    Raises:
        TypeError: The state holds something that is no number, text, tensor, list, tuple or dictionary.
    """
    if isinstance(value, Tensor):
        tensors[key] = value
        return {"tensor": key}
    if isinstance(value, dict):
        return {"dict": [[name, pack(child, f"{key}.{name}", tensors)] for name, child in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [pack(child, f"{key}.{place}", tensors) for place, child in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{key} is a {type(value).__name__}, which a checkpoint cannot hold")


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo `pack`.

    Raises:
        KeyError: A tensor is missing.
    """
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {name: unpack(child, tensors) for name, child in content}
    children = [unpack(child, tensors) for child in content]
    return tuple(children) if kind == "tuple" else children
