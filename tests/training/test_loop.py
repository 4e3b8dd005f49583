"""The loop: order of steps, separate gradients, stopping, the state that is left, errors that say where."""

import io
import math
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from sensorium.core.errors import TrainingError
from sensorium.core.files import read_safetensors
from sensorium.core.rundir import RunDirectory
from sensorium.evaluation.selection import Selection
from sensorium.training import loop
from sensorium.training.config import TrainingConfig
from sensorium.training.loop import train
from sensorium.training.protocols import TrainingData

NewRun = Callable[[str], RunDirectory]


def config(**keys: Any) -> TrainingConfig:
    return TrainingConfig(**{"device": "cpu", "patience": 0, **keys})


def scripted(scores: list[float]) -> Callable[[Any], dict[str, float]]:
    """A validation that gives these scores in turn."""
    left: Iterator[float] = iter(scores)
    return lambda model: {"score": next(left)}


# --- order ----------------------------------------------------------------------------------------------------------


def test_two_passes_alternate_by_epoch(toy: ModuleType):
    model, _ = toy.train_toy(config(epochs=2), count=2, steps=("pass", "pass"))
    assert model.batches.asked == [
        (phase, epoch, index) for epoch in (0, 1) for phase in ("table", "critic") for index in (0, 1)
    ]
    assert model.hooks == [0, 1]


def test_one_step_against_three_walks_on_through_the_batches(toy: ModuleType):
    model, _ = toy.train_toy(config(epochs=2, steps_per_epoch=2), count=4, steps=(1, 3))
    asked = model.batches.asked
    assert [phase for phase, *_ in asked] == ["table", "critic", "critic", "critic"] * 4
    assert [place for phase, *place in asked if phase == "table"] == [[0, 0], [0, 1], [0, 2], [0, 3]]
    critic = [tuple(place) for phase, *place in asked if phase == "critic"]
    assert critic == [divmod(taken, 4) for taken in range(12)]  # pass number, position: across rounds and epochs


def test_epoch_without_passes_ends_when_the_first_phase_has_seen_its_batches(toy: ModuleType):
    model, _ = toy.train_toy(config(epochs=1), count=5, steps=(2, 1))
    assert sum(phase == "table" for phase, *_ in model.batches.asked) == 6  # three rounds of two cover five batches
    assert sum(phase == "critic" for phase, *_ in model.batches.asked) == 3


def test_number_beside_a_pass_is_taken_once_an_epoch(toy: ModuleType):
    model, _ = toy.train_toy(config(epochs=3), count=4, steps=("pass", 3))
    critic = [tuple(place) for phase, *place in model.batches.asked if phase == "critic"]
    assert critic == [divmod(taken, 4) for taken in range(9)]


# --- gradients ------------------------------------------------------------------------------------------------------


def test_a_step_of_one_phase_leaves_the_other_bit_equal_and_without_gradient(toy: ModuleType):
    for steps, trained, still in [(("pass",), "table", "critic"), ((), "critic", "table")]:
        order = ("table",) if steps else ("critic",)
        before = toy.Toy(toy.Batches(1)).state_dict()
        model, _ = toy.train_toy(config(epochs=2, optimizer={"lr": 0.1}), steps=steps or ("pass",), order=order)
        after = model.state_dict()
        assert not torch.equal(after[trained], before[trained])
        assert torch.equal(after[still], before[still])
        assert all(parameter.grad is None for parameter in model.parameters())


def test_gradient_is_clipped_by_phase(toy: ModuleType):
    def moved(clip: float, **phases: Any) -> tuple[float, float]:
        before = toy.Toy(toy.Batches(1))
        keys = {"epochs": 1, "clip_norm": clip, "optimizer": {"name": "sgd", "lr": 1.0}, "phases": phases}
        after, _ = toy.train_toy(config(**keys), count=1, steps=("pass", 1))
        return (after.table - before.table).norm().item(), (after.critic - before.critic).norm().item()

    free = moved(0.0)
    assert min(free) > 0.02
    assert moved(0.01) == pytest.approx((0.01, 0.01), rel=1e-4)  # one plain step of rate 1 moves by the gradient itself
    assert moved(0.01, critic={"clip_norm": 0.0})[1] > 0.02
    table, critic = moved(0.01, critic={"clip_norm": 0.02})
    assert table == pytest.approx(0.01, rel=1e-4)
    assert critic == pytest.approx(0.02, rel=1e-4)
    assert moved(1e6) == free  # a norm below the bound is left as it is


def test_rates_follow_schedule_and_phase(toy: ModuleType, new_run: NewRun):
    run = new_run("run")
    toy.train_toy(
        config(
            epochs=4,
            optimizer={"lr": 0.1},
            schedule={"name": "exponential", "gamma": 0.5, "every": 2},
            phases={"critic": {"optimizer": {"lr": 0.01}, "schedule": {"name": "constant"}}},
        ),
        run=run,
        count=4,
    )
    rates = [record["lr"] for record in run.records("metrics.jsonl")]
    # The record holds the rate of the epoch's last step: the table takes 4 steps an epoch.
    assert [rate["table"] for rate in rates] == pytest.approx([0.1 * 0.5 ** ((e + 3 / 4) / 2) for e in range(4)])
    assert [rate["critic"] for rate in rates] == [0.01] * 4


# --- stopping and selecting -----------------------------------------------------------------------------------------


def test_patience_counts_validations_without_strict_improvement(toy: ModuleType, new_run: NewRun):
    run = new_run("run")
    scores = [0.1, 0.3, 0.3, 0.2, 0.30000000000000004, 0.1, 0.1, 0.1, 0.9]
    _, result = toy.train_toy(config(epochs=50, patience=3), run=run, validate=scripted(scores))
    # The tie of epoch 3 is no improvement; the last bit of epoch 5 is one; then three validations without any.
    assert (result.best_epoch, result.best_value, result.epochs) == (5, 0.30000000000000004, 8)
    assert result.stopped == "patience"
    assert [record["best"] for record in run.records("metrics.jsonl")] == [True, True, False, False, True] + [False] * 3


def test_validation_only_when_it_is_time_and_at_the_end(toy: ModuleType, new_run: NewRun):
    run = new_run("run")
    _, result = toy.train_toy(config(epochs=8, validate_every=3), run=run, validate=scripted([0.1, 0.3, 0.2]))
    assert [record["epoch"] for record in run.records("metrics.jsonl") if "valid" in record] == [3, 6, 8]
    assert (result.best_epoch, result.stopped, result.epochs) == (6, "epochs", 8)


def test_lower_may_be_better_and_a_model_adds_numbers(toy: ModuleType, new_run: NewRun):
    run = new_run("run")
    _, result = toy.train_toy(
        config(epochs=4), run=run, validate=scripted([3, 1, 1, 2]), selection=Selection("score", higher_is_better=False)
    )
    assert (result.best_epoch, result.best_value) == (2, 1.0)
    assert set(result.validation) == {"score", "critic_norm"}
    with pytest.raises(TrainingError, match="adds 'critic_norm' to the validation, which has it already"):
        toy.train_toy(config(epochs=1), validate=lambda model: {"critic_norm": 1.0})


def test_a_validation_that_gives_no_number(toy: ModuleType, new_run: NewRun):
    run = new_run("run")
    _, result = toy.train_toy(config(epochs=3), run=run, validate=scripted([math.nan, 0.1, math.inf]))
    assert result.best_epoch == 2
    assert [record["valid"]["score"] for record in run.records("metrics.jsonl")] == [None, 0.1, None]
    with pytest.raises(TrainingError, match="no validation gave a finite 'score'"):
        toy.train_toy(config(epochs=2), validate=scripted([math.nan, math.nan]))
    with pytest.raises(TrainingError, match="no 'recall@20' to select by; it holds critic_norm, score"):
        toy.train_toy(config(epochs=2), selection=Selection("recall@20"))


@pytest.mark.parametrize("kept", ["last+best", "none", "no run"])
def test_the_best_state_is_left_whatever_came_after(
    toy: ModuleType, new_run: NewRun, monkeypatch: pytest.MonkeyPatch, kept: str
):
    """TR-3: the learning rate is multiplied by 1000 after the best epoch, with checkpoints and without."""
    run = None if kept == "no run" else new_run("run")
    keys = {"checkpoint": kept} if run else {}
    short, _ = toy.train_toy(config(epochs=3, optimizer={"lr": 0.05}))
    factor = loop.learning_rate_factor
    monkeypatch.setattr(
        loop,
        "learning_rate_factor",
        lambda schedule, *, step, steps_per_epoch, epochs: (
            factor(schedule, step=step, steps_per_epoch=steps_per_epoch, epochs=epochs)
            * (1000.0 if step >= 3 * steps_per_epoch else 1.0)
        ),
    )
    seen: list[float] = []

    def judge(model: Any) -> dict[str, float]:
        seen.append(model.score())
        return {"score": seen[-1]}

    model, result = toy.train_toy(config(epochs=6, optimizer={"lr": 0.05}, **keys), run=run, validate=judge)
    assert min(seen[:3]) > max(seen[3:])  # the rate did wreck it
    assert (result.best_epoch, result.epochs) == (3, 6)
    assert model.score() == seen[2] == result.best_value
    for name, tensor in short.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)  # the very state of training three epochs
    assert not model.training
    if kept == "last+best":
        assert run is not None
        stored = read_safetensors(run.path / "weights" / "best.safetensors")
        assert all(torch.equal(stored[name], tensor) for name, tensor in model.state_dict().items())
    elif run is not None:
        assert not (run.path / "checkpoint").exists()
        assert len(run.records("metrics.jsonl")) == 6


def test_a_model_that_is_complete_once_built(toy: ModuleType, new_run: NewRun):
    run = new_run("run")
    model, result = toy.train_toy(config(), run=run, steps=())
    assert (result.best_epoch, result.epochs, result.stopped) == (0, 0, "complete")
    assert result.best_value == model.score()
    (record,) = run.records("metrics.jsonl")
    assert record["epoch"] == 0
    assert record["best"]
    assert record["valid"]["score"] == model.score()
    assert set(read_safetensors(run.path / "weights" / "best.safetensors")) == {"table", "critic", "shift"}
    _, same = toy.train_toy(config(), run=run, steps=(), validate=scripted([]))  # not validated a second time
    assert same == result
    assert len(run.records("metrics.jsonl")) == 1


# --- the same again -------------------------------------------------------------------------------------------------


def test_same_seed_same_bits_other_seed_other_bits(toy: ModuleType, new_run: NewRun):
    texts, states = [], []
    for name, seed in [("a", 3), ("b", 3), ("c", 4)]:
        run = new_run(name)
        torch.rand(len(texts))  # the global state before training must not matter
        model, _ = toy.train_toy(config(epochs=4), run=run, seed=seed)
        texts.append((run.path / "metrics.jsonl").read_text())
        states.append(model.state_dict())
    assert texts[0] == texts[1] != texts[2]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["table"], states[2]["table"])


def test_two_threads_add_up_the_gradient_of_a_table_in_one_order(toy: ModuleType):
    class Big(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Parameter(torch.ones(50, 64))

        def phases(self) -> list[Any]:
            return [loop.Phase("all", [self.table], self.loss)]

        def loss(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            rows = torch.arange(20_000) % 50
            return {"fit": (self.table[rows] * torch.linspace(-1, 1, 20_000)[:, None]).pow(3).sum()}

    def trained() -> torch.Tensor:
        model, batches = Big(), toy.Batches(3)
        data = TrainingData(batches, lambda model: {"score": 1.0})
        train(model, data, config(epochs=1), selection=toy.SCORE, seed=0)
        return model.table.detach()

    torch.set_num_threads(2)
    first = trained()
    assert all(torch.equal(trained(), first) for _ in range(4))
    assert not torch.are_deterministic_algorithms_enabled()  # the caller's setting is back


def test_mixed_precision_trains_close_and_resumes_exactly(toy: ModuleType, new_run: NewRun):
    straight, partly = new_run("straight"), new_run("partly")
    keys = {"precision": "bf16-mixed", "clip_norm": 1.0, "optimizer": {"lr": 0.01}}
    model, result = toy.train_toy(config(epochs=4, **keys), run=straight)
    _, full = toy.train_toy(config(epochs=4, clip_norm=1.0, optimizer={"lr": 0.01}))
    assert result.best_value == pytest.approx(full.best_value, rel=0.02)
    assert result.best_value != full.best_value

    def stop(count: int) -> None:
        if count == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy.train_toy(config(epochs=4, **keys), run=partly, before_loss=stop)
    resumed, _ = toy.train_toy(config(epochs=4, **keys), run=partly)
    assert (partly.path / "metrics.jsonl").read_text() == (straight.path / "metrics.jsonl").read_text()
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in resumed.state_dict().items())


# --- what is shown and written ---------------------------------------------------------------------------------------


def test_progress_shows_epoch_loss_best_rate_and_time_left(toy: ModuleType, monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("sensorium.core.progress.time.monotonic", iter(range(10_000)).__next__)  # a second passes
    toy.train_toy(config(epochs=3))
    last = terminal.getvalue().split("\r")[-3]
    assert "train [########################] 21/21" in last
    for part in (" step/s", " left", " epoch=3", " loss=", " best=-"):
        assert part in last
    assert "best=none yet" in terminal.getvalue()


def test_records_hold_only_what_repeats(toy: ModuleType, new_run: NewRun):
    run = new_run("run")
    toy.train_toy(config(epochs=2, validate_every=2), run=run)
    first, second = run.records("metrics.jsonl")
    assert set(first) == {"epoch", "loss", "lr", "best"}
    assert set(second) == {"epoch", "loss", "lr", "best", "valid"}
    assert set(second["loss"]) == {"table", "critic"}
    assert set(second["loss"]["table"]) == {"fit", "fool"}
    timing = run.records("timing.jsonl")
    assert [record["epoch"] for record in timing] == [1, 2]
    assert all(record["steps"] == 7 and record["steps_per_second"] > 0 for record in timing)
    assert all(record["peak_memory_bytes"] > 1e6 for record in timing)
