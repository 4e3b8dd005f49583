"""A run: what it writes, what it refuses, which weights are tested, and that everything in its folder agrees."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from sensorium.core.config import dump
from sensorium.core.errors import ConfigError, DataError, RunError, TrainingError
from sensorium.core.files import read_parquet
from sensorium.core.rundir import RunDirectory
from sensorium.data.dataset import Dataset
from sensorium.data.features import add_features
from sensorium.evaluation.bootstrap import mean_interval
from sensorium.experiments.evaluating import evaluate
from sensorium.experiments.loading import load_run
from sensorium.experiments.run import Run, run

from .world import run_config, write_world


@pytest.fixture(autouse=True)
def plain_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages have tests of their own, and take longer to draw than these runs take."""
    monkeypatch.setattr(
        "sensorium.experiments.report.write_report", lambda path: (path / "report.html").write_text("a page")
    )


@pytest.fixture
def finished(world: Dataset, tmp_path: Path) -> Run:
    return run(run_config(world.root, model={"name": "vbpr", "dim": 8}), out=tmp_path / "run")


def test_what_a_run_leaves(finished: Run, world: Dataset):
    result = finished.result
    assert result["model"] == "vbpr"
    assert result["data"]["rows"] == {"train": 600, "valid": 60, "test": 60}
    assert result["data"]["uses_future"] is True
    assert any("future" in notice for notice in result["data"]["notices"])
    text = result["data"]["features"]["text"]
    assert (text["dim"], text["present"], text["items"], text["provenance"]) == (6, 45, 50, "unknown")
    assert result["test"]["rules"]["masked"] == "the user's train rows"
    assert "tie_seed 0" in result["test"]["rules"]["ties"]
    assert result["training"]["parameters"] == 60 * 16 + 50 * 8 + 6 * 8 + 8
    assert result["selection"]["epoch"] == result["training"]["best_epoch"]
    records = RunDirectory.open(finished.path).records("metrics.jsonl")
    best = next(record for record in records if record["epoch"] == result["selection"]["epoch"])
    assert best["valid"] == result["valid"]["metrics"]
    timing = RunDirectory.open(finished.path).records("timing.jsonl")
    assert timing[-1]["test_users_per_second"] > 0
    assert timing[-1]["peak_memory_bytes"] > 1e7
    assert dump(load_run(finished.path).config) == RunDirectory.open(finished.path).config


def test_the_tables_give_the_result(finished: Run, world: Dataset):
    """Means and intervals of the table per user, and the scores of the lists, are those of result.json and of the
    model.
    """
    per_user = read_parquet(finished.path / "per_user.parquet")
    test = finished.result["test"]
    assert len(per_user) == test["n"] == 60
    for name, (low, high) in test["intervals"].items():
        values = per_user[name].to_numpy()
        assert values.mean() == pytest.approx(test["metrics"][name], abs=1e-12)
        interval = mean_interval(values)
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-12)
    assert "novelty@10" in test["metrics"]
    assert "novelty@10" not in test["intervals"]
    lists = read_parquet(finished.path / "lists.parquet")
    assert lists.group_by("user_id").agg(pl.len()).get_column("len").to_list() == [10] * 60
    loaded = load_run(finished.path)
    scores = loaded.model.query_vectors(torch.arange(60)) @ loaded.model.item_vectors().T
    row = lists.row(137, named=True)
    user, item = world.users_of([row["user_id"]])[0], world.items_of([row["item_id"]])[0]
    assert scores[user, item].item() == pytest.approx(row["score"], rel=1e-5)


def test_lists_of_a_run_evaluate_to_its_own_numbers(finished: Run, world: Dataset):
    """Any system's lists are measured as a run's own: equal to 1e-9; a k that the file does not hold is refused."""
    measured = evaluate(
        finished.path / "lists.parquet",
        world.root,
        "random_per_user",
        ks=[5, 10],
        metrics=["recall", "ndcg", "novelty"],
    )
    for name, value in finished.result["test"]["metrics"].items():
        assert measured.summary[name] == pytest.approx(value, abs=1e-9)
    with pytest.raises(DataError, match="k = 20"):
        evaluate(finished.path / "lists.parquet", world, "random_per_user", ks=[20])
    with pytest.raises(ConfigError, match="ndgc"):
        evaluate(finished.path / "lists.parquet", world, "random_per_user", ks=[10], metrics=["ndgc"])


@pytest.mark.parametrize("checkpoint", ["last+best", "none"])
def test_the_best_epoch_is_tested(world: Dataset, tmp_path: Path, checkpoint: str):
    """TR-3: training goes wrong after its best epoch; with and without checkpoints the best epoch's numbers are
    reported.
    """
    schedule = {"epochs": 14, "batch_size": 128, "optimizer": {"lr": 0.05}, "device": "cpu", "checkpoint": checkpoint}
    done = run(run_config(world.root, training={**schedule, "patience": 0}), out=tmp_path / "run")
    records = RunDirectory.open(done.path).records("metrics.jsonl")
    values = [record["valid"]["recall@10"] for record in records]
    best = int(np.argmax(values)) + 1
    assert best < 14, "the test needs a run that gets worse"
    assert done.result["selection"] == {"name": "recall@10", "value": max(values), "epoch": best}
    short = run(run_config(world.root, training={**schedule, "epochs": best, "patience": 0}), out=tmp_path / "short")
    assert done.result["test"] == short.result["test"]
    if checkpoint == "none":
        with pytest.raises(RunError, match="checkpoint: none"):
            load_run(done.path)


def test_a_run_without_a_good_state_is_not_asked(world: Dataset, tmp_path: Path):
    """TR-4: a learning rate of 1e30 stops training at the step, and nothing answers from such a run."""
    training = {"epochs": 3, "optimizer": {"name": "sgd", "lr": 1e30}, "device": "cpu", "batch_size": 64}
    with pytest.raises(TrainingError, match=r"is not finite|is nan|is inf"):
        run(run_config(world.root, training=training), out=tmp_path / "run")
    with pytest.raises(RunError, match=r"no state was good enough .*sensorium resume"):
        load_run(tmp_path / "run")


def test_the_last_good_state_of_a_failed_run_answers(world: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """TR-4: what was good before training failed is kept and loads."""
    from sensorium.recommenders.collaborative.bpr import BPR

    right, steps = BPR.loss, 0

    def fails_later(self: BPR, batch: Any) -> dict[str, torch.Tensor]:
        nonlocal steps
        steps += 1
        terms = right(self, batch)
        return {**terms, "ranking": terms["ranking"] * (float("nan") if steps > 12 else 1.0)}

    monkeypatch.setattr(BPR, "loss", fails_later)
    with pytest.raises(TrainingError, match="'ranking' is nan"):
        run(run_config(world.root), out=tmp_path / "run")
    loaded = load_run(tmp_path / "run")
    assert not loaded.model.training
    assert torch.isfinite(loaded.model.item_vectors()).all()


def test_loading_says_when_the_data_have_changed(tmp_path: Path):
    world = write_world(tmp_path / "world")
    done = run(run_config(world.root, model={"name": "vbpr", "dim": 4}), out=tmp_path / "run")
    add_features(world, "other", np.ones((50, 3)))
    assert list(load_run(done.path).view.features) == ["text"]  # what came later changes nothing
    world.root.rename(tmp_path / "old")
    changed = write_world(tmp_path / "world", features=False)
    with pytest.raises(RunError, match="now lacks the features 'text'"):
        load_run(done.path)
    add_features(changed, "text", np.ones((50, 6)))
    with pytest.raises(RunError, match="now has other features 'text'"):
        load_run(done.path)
    changed.root.rename(tmp_path / "older")
    write_world(tmp_path / "world", users=59)
    with pytest.raises(RunError, match="other users, items or interactions"):
        load_run(done.path)


def test_a_model_that_the_data_cannot_serve(tmp_path: Path):
    """Before any work: no features for a model that reads them, no time for a split by time, an unknown feature."""
    world = write_world(tmp_path / "world", features=False)
    with pytest.raises(ConfigError, match=f"'vbpr' reads item features .*sensorium encode {world.root}"):
        run(run_config(world.root, model="vbpr"), out=tmp_path / "run")
    with pytest.raises(DataError, match=r"leave_last_out divides rows by time and 'world' has none"):
        run(run_config(world.root), overrides=["data.split=leave_last_out"], out=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"data\.features: 'image' is not a feature"):
        run(run_config(world.root), overrides=["data.features=[image]"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_default_folder_is_readable_and_taken_once(world: Dataset, in_tmp: Path):
    config = run_config(world.root, model="popularity")
    done = run(config)
    assert done.path.parent == Path("runs")
    assert done.path.name.startswith("world-popularity-3-")
    assert run(config, overrides=["evaluation.ks=[10]"]).path != done.path
    with pytest.raises(RunError, match=f"already holds a run: continue it with 'sensorium resume {done.path}'"):
        run(config)


def test_all_items_are_in_training_whatever_they_lack(tmp_path: Path):
    """MM-1: six items, an image for 1-4, text for 3-6: all are ranked, masks are right, coverage is in the result."""
    world = write_world(tmp_path / "world", users=8, items=6, rows=4, features=False)
    draw = np.random.default_rng(0)
    world = add_features(world, "image", draw.normal(size=(6, 3)), np.arange(6) < 4)
    world = add_features(world, "text", draw.normal(size=(6, 4)), np.arange(6) >= 2)
    done = run(
        run_config(world.root, model={"name": "vbpr", "dim": 4}, evaluation={"ks": [1, 2], "metrics": ["recall"]}),
        overrides=["selection=recall@2"],
        out=tmp_path / "run",
    )
    features = done.result["data"]["features"]
    assert {name: info["present"] for name, info in features.items()} == {"image": 4, "text": 4}
    loaded = load_run(done.path)
    assert loaded.view.features["image"].present.tolist() == [True] * 4 + [False] * 2
    assert torch.isfinite(loaded.model.item_vectors()).all()


def test_cold_items_have_two_rankings(world: Dataset, tmp_path: Path):
    config = run_config(world.root, model={"name": "vbpr", "dim": 8})
    config["data"]["split"] = {"name": "cold_items", "ratio": 0.2}
    done = run(config, out=tmp_path / "run")
    among = done.result["cold_items"]["among_cold"]
    assert among["rules"]["candidates"] == f"{done.result['cold_items']['items']} of 50 items"
    assert among["metrics"]["recall@5"] > done.result["test"]["metrics"]["recall@5"]
    assert done.result["buckets"]["cold"]["n"] == done.result["test"]["n"]
    assert done.result["buckets"]["warm"]["n"] == 0
    values = read_parquet(done.path / "per_user_cold.parquet")
    assert values["recall@5"].mean() == pytest.approx(among["metrics"]["recall@5"], abs=1e-12)


def test_users_who_have_everything_are_counted(tmp_path: Path):
    """TR-1: A has all three items, B and C one each: training ends, and A's rows are counted."""
    world = write_world(tmp_path / "world", users=3, items=3, rows=3, features=False)
    rows = pl.DataFrame(
        {"user": [0, 0, 0, 1, 1, 2, 2], "item": [0, 1, 2, 0, 1, 1, 2], "split": [0, 0, 0, 0, 1, 0, 2]},
        schema={"user": pl.Int32, "item": pl.Int32, "split": pl.Int8},
    )
    rows.write_parquet(world.root / "interactions.parquet")
    config = run_config(world.root, evaluation={"ks": [1], "metrics": ["recall"]}, selection="recall@1")
    config["data"]["split"] = "column"
    for model in ("bpr", "lightgcn"):
        done = run(config, overrides=[f"model={model}", "training.epochs=3"], out=tmp_path / model)
        assert done.result["training"]["skipped_rows"] == 3
        assert load_run(done.path).view.user_count.tolist() == [3, 1, 1]


def test_numbers_repeat(world: Dataset, tmp_path: Path):
    first = run(run_config(world.root), out=tmp_path / "a")
    second = run(run_config(world.root), out=tmp_path / "b")
    assert (first.path / "metrics.jsonl").read_bytes() == (second.path / "metrics.jsonl").read_bytes()
    assert (first.path / "result.json").read_bytes() == (second.path / "result.json").read_bytes()
    other = run(run_config(world.root, seed=4), out=tmp_path / "c")
    assert other.result["test"] != first.result["test"]
    assert json.loads((other.path / "result.json").read_text())["data"] == first.result["data"]
