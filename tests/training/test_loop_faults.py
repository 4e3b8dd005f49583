"""What goes wrong in training: numbers that are none, a person who stops it, work that cannot start."""

import math
import signal
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from sensorium.core.errors import ConfigError, TrainingError
from sensorium.core.files import read_json, read_safetensors
from sensorium.core.rundir import RunDirectory
from sensorium.training import loop
from sensorium.training.config import TrainingConfig
from sensorium.training.loop import train
from sensorium.training.monitor import LossMonitor
from sensorium.training.protocols import TrainingData

NewRun = Callable[[str], RunDirectory]


def config(**keys: Any) -> TrainingConfig:
    return TrainingConfig(**{"device": "cpu", "patience": 0, **keys})


# --- numbers that are none ------------------------------------------------------------------------------------------


def test_a_rate_of_a_million_stops_at_the_step(toy: ModuleType, new_run: NewRun):
    """TR-4: lr = 1e6 stops with step, term and tensor named, and the last good checkpoint is kept."""
    run = new_run("run")
    with pytest.raises(TrainingError) as caught:
        toy.train_toy(config(epochs=5, optimizer={"name": "sgd", "lr": 1e6}), run=run)
    message = str(caught.value)
    assert "training stopped in epoch 2, phase 'table', step 2: loss term 'fit' is inf." in message
    assert "learning rate (now table 1e+06, critic 1e+06)" in message
    assert [record["epoch"] for record in run.records("metrics.jsonl")] == [1]
    kept = read_safetensors(run.path / "checkpoint" / "model-1.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())


def test_a_parameter_that_went_bad_is_named_and_the_run_goes_on_without_the_fault(toy: ModuleType, new_run: NewRun):
    """TR-4: the first tensor that is not finite is named."""
    run = new_run("run")
    batches = toy.Batches(4)
    model = toy.Toy(batches, ("pass", 1))

    def spoil(count: int) -> None:
        if count == 12:  # two epochs of five steps are behind
            with torch.no_grad():
                model.table[3, 1] = math.nan

    model.before_loss = spoil
    data = TrainingData(batches, toy.validate)
    with pytest.raises(TrainingError) as caught:
        train(model, data, config(epochs=5), selection=toy.SCORE, seed=3, run=run)
    message = str(caught.value)
    assert "in epoch 3, phase 'table', step " in message
    assert ": loss term 'fit' is nan; parameter 'table' is not finite either" in message
    assert "Epoch 2 was the best so far" in message
    assert read_json(run.path / "checkpoint" / "state.json")["counters"]["epoch"] == 2
    kept = read_safetensors(run.path / "checkpoint" / "model-2.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    # Without the fault it goes on from there, as if nothing had been.
    _, resumed = toy.train_toy(config(epochs=5), run=run, steps=("pass", 1))
    _, straight = toy.train_toy(config(epochs=5), steps=("pass", 1))
    assert resumed == straight


def test_a_parameter_that_breaks_in_the_last_step_is_neither_validated_nor_kept(toy: ModuleType, new_run: NewRun):
    run = new_run("run")
    batches = toy.Batches(2)
    model = toy.Toy(batches, ("pass",))

    def poison(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * math.nan if model.losses == 4 else gradient

    model.table.register_hook(poison)
    with pytest.raises(TrainingError, match="after epoch 2: parameter 'table' is not finite"):
        train(model, TrainingData(batches, toy.validate), config(epochs=3), selection=toy.SCORE, seed=3, run=run)
    assert [record["epoch"] for record in run.records("metrics.jsonl")] == [1]
    assert read_json(run.path / "checkpoint" / "state.json")["counters"]["epoch"] == 1


def test_losses_read_late_give_the_same_records_and_name_the_same_step(
    toy: ModuleType, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
):
    """As on a GPU, where reading each step would make the host wait."""

    def spoil(count: int) -> None:
        if count == 16:  # two epochs of four and three steps are behind
            with torch.no_grad():
                models[-1].critic.fill_(math.inf)

    models: list[Any] = []
    at_once, late = new_run("at once"), new_run("late")
    messages = []
    for run, every in ((at_once, 1), (late, 50)):
        monkeypatch.setattr(loop, "LossMonitor", lambda every, wanted=every: LossMonitor(wanted))
        batches = toy.Batches(4)
        models.append(toy.Toy(batches))
        models[-1].before_loss = spoil
        data = TrainingData(batches, toy.validate)
        with pytest.raises(TrainingError) as caught:
            train(models[-1], data, config(epochs=4), selection=toy.SCORE, seed=3, run=run)
        messages.append(str(caught.value))
    assert "epoch 3, phase 'table', step 2: loss term 'fool' is" in messages[0]
    assert messages[0].partition(";")[0] == messages[1].partition(";")[0]
    assert (late.path / "metrics.jsonl").read_text() == (at_once.path / "metrics.jsonl").read_text()


# --- stopped by a person, and what cannot start ---------------------------------------------------------------------


@pytest.fixture
def listening() -> Iterator[None]:
    """SIGINT interrupts, also where whoever started the tests had it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
def test_control_c_leaves_a_run_that_resumes(toy: ModuleType, new_run: NewRun):
    run = new_run("run")

    def press(count: int) -> None:
        if count == 10:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"interrupted in epoch 2; resume with: sensorium resume .*run"):
        toy.train_toy(config(epochs=4), run=run, before_loss=press)
    assert len(run.records("metrics.jsonl")) == 1
    _, resumed = toy.train_toy(config(epochs=4), run=run)
    _, straight = toy.train_toy(config(epochs=4))
    assert resumed == straight
    with pytest.raises(KeyboardInterrupt) as caught:
        toy.train_toy(config(epochs=4), before_loss=press)
    assert not caught.value.args  # without a run there is nothing to resume


def test_what_cannot_be_trained_says_why(toy: ModuleType, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(TrainingError, match="phase 'table' of Toy has no batch: there is no row to train on"):
        toy.train_toy(config(), count=0)
    with pytest.raises(TrainingError, match=r"Linear cannot be trained: it has no phases\(\)"):
        train(torch.nn.Linear(1, 1), TrainingData(None, lambda model: {}), config(), selection=toy.SCORE, seed=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"training\.device is cuda, and torch finds no GPU here"):
        toy.train_toy(config(device="cuda"))
    with pytest.raises(ConfigError, match=r"training\.precision is 16-mixed, which needs a GPU"):
        toy.train_toy(config(precision="16-mixed"))
    monkeypatch.setattr(toy.Toy, "table_loss", lambda self, batch: {"rows": self.table.sum(1)})
    with pytest.raises(TrainingError, match=r"phase 'table' must be named terms of one number each, got .*rows.*12"):
        toy.train_toy(config())
    monkeypatch.setattr(toy.Toy, "table_loss", lambda self, batch: {})
    with pytest.raises(TrainingError, match="got none"):
        toy.train_toy(config())
