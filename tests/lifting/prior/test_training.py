"""Training: it learns, a killed one continues to the same numbers, and it refuses what does not belong together."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sensorium.core.errors import ConfigError, DataError, RunError
from sensorium.core.files import read_json
from sensorium.core.rundir import RunDirectory
from sensorium.lifting.prior.exporting import export_weights
from sensorium.lifting.prior.gap import FIRST_SEED, gap_batch
from sensorium.lifting.prior.network import NetworkConfig
from sensorium.lifting.prior.pool import PoolConfig
from sensorium.lifting.prior.training import METRICS, Phase, Training, TrainingConfig, train
from sensorium.lifting.prior.view_prior import ViewPrior

POOL = PoolConfig(objects=6, views=3, side=16)
PHASES = (
    Phase(pool=POOL, side=8, steps=6, references=2, rate=(2e-3, 1e-3)),
    Phase(pool=POOL, side=16, steps=6, references=2, rate=(1e-3, 1e-4)),
)
CONFIG = TrainingConfig(
    network=NetworkConfig(channels=(8, 16), patch=2, attention=(1,), heads=2, embedding=16),
    phases=PHASES,
    targets=2,
    warmup=2,
    average=0.9,
    log_every=2,
    save_every=4,
)


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pools")


def _lines(run: Path) -> str:
    return (run / METRICS).read_text(encoding="utf-8")


def test_a_training_that_was_interrupted_continues_to_the_same_numbers(pools: Path, tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", CONFIG, pools=pools)
    assert whole.step == 12
    # Steps 5 and 9 are past a checkpoint, in either phase: what was done since is done again.
    for until in (5, 9):
        train(tmp_path / "parts", CONFIG, pools=pools, until=until)
    parts = train(tmp_path / "parts", CONFIG, pools=pools)
    assert _lines(tmp_path / "parts") == _lines(tmp_path / "whole")
    for one, other in zip(whole.tensors().items(), parts.tensors().items(), strict=True):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1]), one[0]


def test_another_seed_gives_other_weights(pools: Path, tmp_path: Path) -> None:
    first = train(tmp_path / "first", CONFIG, pools=pools, until=2)
    second = train(tmp_path / "second", CONFIG.model_copy(update={"seed": 1}), pools=pools, until=2)
    assert not torch.equal(first.weights[0], second.weights[0])


def test_only_phases_that_are_not_done_can_be_changed(pools: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", CONFIG, pools=pools, until=8)
    changed = (PHASES[0].model_copy(update={"steps": 7}), PHASES[1])
    with pytest.raises(RunError, match="first 1 phases"):
        train(tmp_path / "run", CONFIG.model_copy(update={"phases": changed}), pools=pools)
    with pytest.raises(RunError, match="other settings"):
        train(tmp_path / "run", CONFIG.model_copy(update={"clip": 2.0}), pools=pools)
    shorter = (PHASES[0], PHASES[1].model_copy(update={"steps": 4}))
    done = train(tmp_path / "run", CONFIG.model_copy(update={"phases": shorter}), pools=pools)
    assert done.step == 10


def test_checkpoints_fall_on_lines_of_metrics(pools: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="multiple"):
        train(tmp_path / "run", CONFIG.model_copy(update={"save_every": 5}), pools=pools)


def test_what_a_wrong_azimuth_costs_is_told_and_changes_nothing(
    pools: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every three steps, so in the lines of steps 4, 6, 10 and 12; interrupted or not."""
    looking = CONFIG.model_copy(update={"gap_every": 3})
    with caplog.at_level("INFO"):
        whole = train(tmp_path / "whole", looking, pools=pools)
    train(tmp_path / "parts", looking, pools=pools, until=9)
    train(tmp_path / "parts", looking, pools=pools)
    assert _lines(tmp_path / "parts") == _lines(tmp_path / "whole")
    records = RunDirectory.open(tmp_path / "whole").records(METRICS)
    assert [record["step"] for record in records if "gap" in record] == [4, 6, 10, 12]
    assert len({record["gap"] for record in records if "gap" in record}) == 4
    assert f"azimuth + 90 costs {records[-1]['gap']:.5f}" in caplog.text
    blind = train(tmp_path / "blind", CONFIG.model_copy(update={"gap_every": 0}), pools=pools)
    assert "gap" not in _lines(tmp_path / "blind")
    assert all(torch.equal(one, other) for one, other in zip(whole.weights, blind.weights, strict=True))


def test_the_gap_is_the_loss_with_wrong_azimuths_less_that_with_right_ones() -> None:
    """Of a network that says nothing both are equal; on views that no pool of a recipe holds."""
    batch = gap_batch(16, 8)
    assert batch.noisy.shape == (32, 4, 8, 8)
    assert set(batch.t.tolist()) == {torch.tensor(0.95).item()}
    assert FIRST_SEED > 800_000_000
    training = Training(CONFIG)
    assert training.gap(batch) == 0
    with torch.no_grad():
        for weight in training.weights:
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    wrong = replace(batch, azimuths=batch.azimuths + 90)
    with torch.no_grad():
        difference = float(training._losses(wrong)[0] - training._losses(batch)[0])
    assert training.gap(batch) == difference != 0


def test_late_times_reach_the_batches(pools: Path, tmp_path: Path) -> None:
    phases = (PHASES[0].model_copy(update={"late": 1.0}), PHASES[1])
    train(tmp_path / "plain", CONFIG, pools=pools, until=4)
    train(tmp_path / "late", CONFIG.model_copy(update={"phases": phases}), pools=pools, until=4)
    plain, late = (RunDirectory.open(tmp_path / name).records(METRICS) for name in ("plain", "late"))
    assert all(one["loss"] != other["loss"] for one, other in zip(plain, late, strict=True))


def test_the_learning_rate_rises_and_falls_phase_by_phase() -> None:
    rates = [CONFIG.rate(step) for step in range(12)]
    assert rates[0] == pytest.approx(1e-3)  # half of the warm-up
    assert rates[1] > rates[4] > 1e-3
    assert rates[6] == pytest.approx(1e-3)
    assert rates[11] < 2e-4
    with pytest.raises(ConfigError):
        CONFIG.phase(12)


def test_exported_weights_are_the_averages_and_come_with_their_history(pools: Path, tmp_path: Path) -> None:
    training = train(tmp_path / "run", CONFIG, pools=pools)
    target = export_weights(tmp_path / "run", tmp_path / "weights")
    card = read_json(tmp_path / "weights" / "view_prior.json")
    prior = ViewPrior.from_file(target, sha256=card["sha256"], card=card)
    for name, weight in prior.network.state_dict().items():
        assert torch.equal(weight, training.averaged()[name].half().float()), name
    assert card["training"]["steps"] == 12
    assert [phase["samples"] for phase in card["training"]["phases"]] == [24, 24]
    assert card["training"]["phases"][0]["seeds"] == [0, 5]
    assert card["training"]["cpu_hours"] > 0
    damaged = bytearray(target.read_bytes())
    damaged[-1] ^= 1
    target.write_bytes(damaged)
    with pytest.raises(DataError, match="damaged"):
        ViewPrior.from_file(target, sha256=card["sha256"])


def test_a_training_may_begin_with_exported_weights(pools: Path, tmp_path: Path) -> None:
    train(tmp_path / "first", CONFIG, pools=pools)
    weights = export_weights(tmp_path / "first", tmp_path / "weights")
    config = CONFIG.model_copy(update={"initial": weights, "seed": 1})
    begun = train(tmp_path / "second", config, pools=pools, until=0)
    for name, weight in ViewPrior.from_file(weights).network.state_dict().items():
        assert torch.equal(weight, begun.averaged()[name])
        assert torch.equal(weight, begun.network.state_dict()[name])
    for until in (5, 12):  # what was begun goes on from its own checkpoint
        parts = train(tmp_path / "second", config, pools=pools, until=until)
    whole = train(tmp_path / "third", config, pools=pools)
    assert all(torch.equal(one, other) for one, other in zip(parts.weights, whole.weights, strict=True))
    export_weights(tmp_path / "second", tmp_path / "later")
    card = read_json(tmp_path / "later" / "view_prior.json")
    earlier = read_json(tmp_path / "weights" / "view_prior.json")
    assert card["begun_from"] == {"sha256": earlier["sha256"], "training": earlier["training"]}
    third = config.model_copy(update={"initial": tmp_path / "later" / "view_prior.safetensors"})
    train(tmp_path / "again", third, pools=pools, until=0)
    assert read_json(tmp_path / "again" / "initial.json")["begun_from"] == card["begun_from"]  # nothing is forgotten
    other = config.model_copy(update={"network": NetworkConfig(channels=(8, 24), attention=(1,), heads=2)})
    with pytest.raises(ConfigError, match="another network"):
        train(tmp_path / "fourth", other, pools=pools)
    with pytest.raises(DataError, match="does not exist"):
        train(tmp_path / "fifth", config.model_copy(update={"initial": tmp_path / "none"}), pools=pools)


def test_a_training_without_a_checkpoint_exports_nothing(pools: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", CONFIG, pools=pools, until=2)
    with pytest.raises(RunError, match="no checkpoint"):
        export_weights(tmp_path / "run", tmp_path / "weights")


@pytest.mark.slow
def test_the_test_recipe_learns(tmp_path: Path) -> None:
    from importlib.resources import files

    from sensorium.core.config import build, load_yaml

    recipe = Path(str(files("sensorium.lifting.prior") / "recipes" / "test.yaml"))
    config = build(TrainingConfig, load_yaml(recipe), source=str(recipe))
    train(tmp_path / "run", config, pools=tmp_path / "pools")
    losses = [record["loss"] for record in RunDirectory.open(tmp_path / "run").records(METRICS)]
    assert losses[-1] < 0.7 * losses[0]
