"""A process killed at any moment goes on to the numbers of one that never was."""

import json
import os
import random
import signal
import subprocess
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from sensorium.core.rundir import RunDirectory
from sensorium.training.config import TrainingConfig

NewRun = Callable[[str], RunDirectory]
Server = subprocess.Popen[str]
TWO_PHASES = {"epochs": 4, "device": "cpu", "optimizer": {"lr": 0.05}}


class Attempt:
    """One process that trains the toy in a run directory."""

    def __init__(self, server: Server, run: RunDirectory, config: dict[str, Any], **kill: Any) -> None:
        assert server.stdin is not None
        assert server.stdout is not None
        self._out = server.stdout
        server.stdin.write(json.dumps([str(run.path), config, kill]) + "\n")
        server.stdin.flush()
        self.process = int(self._out.readline())

    def ended(self) -> str:
        """Wait, and return "done", "killed" or "failed"."""
        status = int(self._out.readline())
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGALRM)
            return "killed"
        return "done" if os.WEXITSTATUS(status) == 0 else "failed"


def outcome(run: RunDirectory) -> tuple[str, bytes, bytes]:
    """All that must be equal: the records, the best state, and the last one with its optimisers."""
    (last,) = (run.path / "checkpoint").glob("optimizers-*.safetensors")
    return (
        (run.path / "metrics.jsonl").read_text(),
        (run.path / "weights" / "best.safetensors").read_bytes(),
        last.read_bytes(),
    )


@pytest.fixture(scope="module")
def straight(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes, bytes]:
    """The outcome of a process that nobody killed."""
    run = RunDirectory.create(tmp_path_factory.mktemp("straight") / "run", {"kind": "toy"})
    assert Attempt(server, run, TWO_PHASES).ended() == "done"
    return outcome(run)


def test_a_process_and_the_library_give_the_same_bits(toy: ModuleType, new_run: NewRun, straight: tuple[Any, ...]):
    run = new_run("here")
    toy.train_toy(TrainingConfig(**TWO_PHASES), run=run)
    assert outcome(run) == straight


@pytest.mark.parametrize("step", [1, 3, 6, 10, 13, 19, 28])
def test_killed_inside_either_phase(server: Server, new_run: NewRun, straight: tuple[Any, ...], step: int):
    """An epoch has four steps of the first phase and three of the second, which goes on over the epoch's end."""
    run = new_run("run")
    assert Attempt(server, run, TWO_PHASES, kill_at_loss=step).ended() == "killed"
    assert Attempt(server, run, TWO_PHASES).ended() == "done"
    assert outcome(run) == straight


def test_killed_between_any_two_writes(server: Server, new_run: NewRun):
    config = {**TWO_PHASES, "epochs": 2}
    whole = new_run("whole")
    assert Attempt(server, whole, config).ended() == "done"
    kills = 0
    while True:
        run = new_run(f"run-{kills}")
        if Attempt(server, run, config, kill_at_sync=kills + 1).ended() == "done":
            break
        kills += 1
        assert Attempt(server, run, config).ended() == "done", f"after kill {kills}"
        assert outcome(run) == outcome(whole), f"after kill {kills}"
        assert not list(run.path.rglob(".*.tmp"))
    assert kills > 15  # two records and four files in each of two epochs, and their folders


def test_killed_at_random_moments_again_and_again(server: Server, new_run: NewRun):
    """The moments count from steps, so that a slow machine and a fast one are killed as often."""
    config = {**TWO_PHASES, "epochs": 60, "patience": 0, "checkpoint_every": 3, "validate_every": 2}
    whole, broken = new_run("whole"), new_run("broken")
    assert Attempt(server, whole, config).ended() == "done"
    moments, ends = random.Random(5), []
    for _ in range(8):
        after = moments.randrange(20, 70), moments.uniform(0.001, 0.01)  # of the 420 steps of all epochs
        ends.append(Attempt(server, broken, config, kill_after_loss=after).ended())
    assert ends.count("killed") >= 2
    assert "failed" not in ends
    assert Attempt(server, broken, config).ended() == "done"
    assert outcome(broken) == outcome(whole)
    timing = broken.records("timing.jsonl")
    assert [record["epoch"] for record in timing] == list(range(1, 61))


def test_a_finished_training_is_not_trained_again(server: Server, new_run: NewRun, toy: ModuleType):
    run = new_run("run")
    _, first = toy.train_toy(TrainingConfig(**TWO_PHASES), run=run)
    before = outcome(run)
    model, again = toy.train_toy(TrainingConfig(**TWO_PHASES), run=run)
    assert again == first
    assert model.losses == 0
    assert outcome(run) == before


def test_patience_goes_on_counting_after_a_resume(new_run: NewRun, toy: ModuleType):
    config = TrainingConfig(epochs=50, patience=4, device="cpu")
    scores = [0.5, 0.9, 0.1, 0.2, 0.3, 0.4, 0.5]

    def judge(model: Any) -> dict[str, float]:
        return {"score": scores[len(run.records("metrics.jsonl"))]}

    def stop(count: int) -> None:
        if count == 30:  # in epoch 5
            raise KeyboardInterrupt

    run = new_run("run")
    with pytest.raises(KeyboardInterrupt):
        toy.train_toy(config, run=run, validate=judge, before_loss=stop)
    model, result = toy.train_toy(config, run=run, validate=judge)
    assert (result.best_epoch, result.best_value, result.epochs, result.stopped) == (2, 0.9, 6, "patience")
    straight, _ = toy.train_toy(TrainingConfig(epochs=2, device="cpu"))
    assert all(model.state_dict()[name].equal(tensor) for name, tensor in straight.state_dict().items())


def test_without_checkpoints_a_run_begins_anew(new_run: NewRun, toy: ModuleType):
    config = TrainingConfig(epochs=3, device="cpu", checkpoint="none")
    run = new_run("run")

    def stop(count: int) -> None:
        if count == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy.train_toy(config, run=run, before_loss=stop)
    assert len(run.records("metrics.jsonl")) == 1
    toy.train_toy(config, run=run)
    assert [record["epoch"] for record in run.records("metrics.jsonl")] == [1, 2, 3]
    assert [record["epoch"] for record in run.records("timing.jsonl")] == [1, 2, 3]
