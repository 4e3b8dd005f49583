"""Checkpoints: every bit of a state, what is kept, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sensorium.core.errors import DataError, RunError, TrainingError
from sensorium.core.files import read_json, read_safetensors, write_json, write_safetensors
from sensorium.core.rundir import RunDirectory
from sensorium.training.checkpoint import pack, tensors_of, unpack
from sensorium.training.config import OptimizerConfig, TrainingConfig
from sensorium.training.optimizers import build_optimizer

NewRun = Callable[[str], RunDirectory]
THREE = TrainingConfig(epochs=3, device="cpu")

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.integers(), st.text(max_size=3)), inner, max_size=3),
    ),
)


@given(trees)
def test_a_nested_state_comes_back_as_it_was(tree: Any):
    tensors: dict[str, torch.Tensor] = {}
    again = unpack(json.loads(json.dumps(pack(tree, "x", tensors), allow_nan=False)), tensors)
    assert again == tree
    assert repr(again) == repr(tree)  # 1 is not 1.0 or True, a tuple is no list


@pytest.mark.parametrize(("name", "momentum"), [("adam", 0), ("adamw", 0), ("sgd", 0), ("sgd", 0.9), ("adagrad", 0)])
@pytest.mark.parametrize("fused", [True, False])
def test_an_optimiser_goes_on_to_the_same_bits(tmp_path: Path, name: Any, momentum: float, fused: bool):
    config = OptimizerConfig(name=name, lr=0.1, weight_decay=0.01, momentum=momentum)
    generator = torch.Generator().manual_seed(1)
    gradients = torch.randn(6, 3, 4, generator=generator)

    def steps(parameter: nn.Parameter, optimizer: torch.optim.Optimizer, which: torch.Tensor) -> None:
        for gradient in which:
            parameter.grad = gradient.clone()
            optimizer.step()

    first = nn.Parameter(torch.ones(3, 4))
    optimizer = build_optimizer(config, [first], fused=fused)
    steps(first, optimizer, gradients[:3])
    tensors: dict[str, torch.Tensor] = {}
    write_json(tmp_path / "state.json", pack(optimizer.state_dict(), "phase", tensors))
    write_safetensors(tmp_path / "state.safetensors", tensors)
    second = nn.Parameter(first.detach().clone())
    restored = build_optimizer(config, [second], fused=fused)
    restored.load_state_dict(
        unpack(read_json(tmp_path / "state.json"), read_safetensors(tmp_path / "state.safetensors"))
    )
    steps(first, optimizer, gradients[3:])
    steps(second, restored, gradients[3:])
    assert torch.equal(first, second)
    assert repr(restored.state_dict()) == repr(optimizer.state_dict())


def test_the_loss_scale_of_16_bit_training_comes_back():
    scaler, again = torch.amp.GradScaler("cpu", init_scale=8.0), torch.amp.GradScaler("cpu")
    again.load_state_dict(unpack(json.loads(json.dumps(pack(scaler.state_dict(), "precision", {}))), {}))
    assert again.state_dict() == scaler.state_dict()


def test_what_a_checkpoint_cannot_hold():
    with pytest.raises(TypeError, match=r"phase\.0\.hook is a set"):
        pack([{"hook": {1}}], "phase", {})
    model = nn.Linear(2, 2)
    model.register_buffer("graph", torch.eye(2).to_sparse())
    with pytest.raises(TrainingError, match=r"'graph' of Linear is not a dense tensor.*persistent=False"):
        tensors_of(model)


def test_only_the_last_and_the_best_are_kept(toy: ModuleType, new_run: NewRun):
    run = new_run("run")
    scores = iter([0.1, 0.9, 0.2, 0.3, 0.4])
    toy.train_toy(TrainingConfig(epochs=5, device="cpu"), run=run, validate=lambda model: {"score": next(scores)})
    assert {path.name for path in (run.path / "checkpoint").iterdir()} == {
        "state.json",
        "model-2.safetensors",
        "model-5.safetensors",
        "optimizers-5.safetensors",
    }
    best, public = run.path / "checkpoint" / "model-2.safetensors", run.path / "weights" / "best.safetensors"
    assert public.read_bytes() == best.read_bytes()
    assert public.samefile(best)  # stored once


def test_best_weights_where_files_have_one_name(toy: ModuleType, new_run: NewRun, monkeypatch: pytest.MonkeyPatch):
    def refuse(*names: Any) -> None:
        raise OSError("no hard links on this file system")

    monkeypatch.setattr("os.link", refuse)
    run = new_run("run")
    model, _ = toy.train_toy(THREE, run=run)
    stored = read_safetensors(run.path / "weights" / "best.safetensors")
    assert all(torch.equal(stored[name], tensor) for name, tensor in model.state_dict().items())


def test_a_checkpoint_of_another_format_says_which_release_reads_it(toy: ModuleType, new_run: NewRun):
    run = new_run("run")
    toy.train_toy(THREE, run=run)
    path = run.path / "checkpoint" / "state.json"
    write_json(path, {**read_json(path), "format_version": 0, "sensorium": "0.0.7"})
    with pytest.raises(
        RunError, match=r"checkpoint format 0, written by sensorium 0.0.7.*this release resumes format 1"
    ):
        toy.train_toy(THREE, run=run)


def test_a_checkpoint_of_other_settings_or_another_model_is_refused(
    toy: ModuleType, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
):
    run = new_run("run")
    toy.train_toy(THREE, run=run)
    for other in [{"seed": 4}, {"steps": ("pass",)}, {"selection": toy.Selection("critic_norm")}]:
        with pytest.raises(RunError, match="made with another seed, selection or training configuration"):
            toy.train_toy(THREE, run=run, **other)
    with pytest.raises(RunError, match="made with another seed, selection or training configuration"):
        toy.train_toy(TrainingConfig(epochs=3, device="cpu", optimizer={"lr": 0.5}), run=run)
    monkeypatch.setattr(toy, "WIDTH", 5)
    with pytest.raises(RunError, match=r"does not fit this model: .*size mismatch"):
        toy.train_toy(THREE, run=run)


def test_a_truncated_file_is_named(toy: ModuleType, new_run: NewRun):
    run = new_run("run")
    toy.train_toy(THREE, run=run)
    path = run.path / "checkpoint" / "model-3.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"model-3.safetensors cannot be read as safetensors"):
        toy.train_toy(THREE, run=run)
