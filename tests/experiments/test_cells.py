"""Experiments run what is missing, in their order, once; and go on from wherever they were killed."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from sensorium.core.errors import SensoriumError
from sensorium.core.rundir import RunDirectory
from sensorium.data.dataset import Dataset
from sensorium.experiments import cells as cells_module
from sensorium.experiments.cells import Cell, ExperimentResult, run_cell, run_experiment
from sensorium.experiments.rows import Rows
from sensorium.experiments.rows_table import rows_table
from sensorium.experiments.workers import Outcome

from .world import run_config, write_world

TRAINING = {"epochs": 2, "batch_size": 256, "optimizer": {"lr": 0.05}, "device": "cpu"}


def experiment(folder: Path, world: Dataset, cells: list[dict[str, Any]], **more: Any) -> Path:
    file = folder / "experiment.yaml"
    base = run_config(str(world.root), training=TRAINING)
    del base["seed"], base["model"]
    file.write_text(yaml.safe_dump({"topic": "trial", "base": base, "cells": cells, "seeds": [0, 1], **more}))
    return file


def cell(name: str, model: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "config": {"model": {"name": model, **more.pop("keys", {})}}, **more}


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cells are run here, without processes of their own; returns their names as they are run."""
    ran: list[str] = []

    def here(work: Callable[[Cell], None], pieces: Sequence[Cell], **_: object) -> Iterator[Outcome[Cell]]:
        for piece in pieces:
            ran.append(piece.label)
            try:
                work(piece)
                yield Outcome(piece, None)
            except SensoriumError as error:
                yield Outcome(piece, str(error))

    monkeypatch.setattr(cells_module, "run_each", here)
    monkeypatch.setattr(
        "sensorium.experiments.report.write_report", lambda path: (path / "report.html").write_text("a page")
    )
    return ran


def test_in_processes_of_their_own(world: Dataset, in_tmp: Path):
    """One cell cannot finish: it is named, and the other has its row, machine and memory included."""
    file = experiment(
        in_tmp,
        world,
        [
            cell("bpr", "bpr", keys={"dim": 4}),
            {
                **cell("breaks", "bpr"),
                "config": {"model": "bpr", "training": {"optimizer": {"name": "sgd", "lr": 1e30}}},
            },
        ],
        seeds=[0],
    )
    result = run_experiment(file)
    assert not result.passed
    assert list(result.failed) == ["breaks, seed 0"]
    assert "not finite" in result.failed["breaks, seed 0"] or "is nan" in result.failed["breaks, seed 0"]
    assert result.summary()[0] == "trial: 1 cells run, 0 were there, 1 failed; rows in docs/results/rows/trial.jsonl"
    (bpr,) = Rows("trial").read()
    assert bpr["cell"] == "bpr"
    assert bpr["memory_mb"] > 50
    assert bpr["threads"] == "1"
    assert bpr["seconds"] > 0
    assert bpr["config"]["model"]["dim"] == 4
    assert "features" not in bpr
    runs = [RunDirectory.open(path.parent) for path in Path("runs/trial").glob("world-bpr-0-*/config.yaml")]
    assert sorted(run.result is not None for run in runs) == [False, True]
    assert "| bpr |" in rows_table("trial", metrics=["recall@5", "recall@10"])


def test_a_row_says_which_features_were_read(world: Dataset, in_tmp: Path, order: list[str]):
    run_experiment(experiment(in_tmp, world, [cell("vbpr", "vbpr", keys={"dim": 4})], seeds=[0]))
    (row,) = Rows("trial").read()
    known = world.info.features
    assert {name: said.rpartition(" ")[2] for name, said in row["features"].items()} == {
        name: info.digest[:8] for name, info in known.items()
    }


def test_only_missing_cells_are_run(world: Dataset, in_tmp: Path, order: list[str]):
    some = [cell("popularity", "popularity"), cell("bpr", "bpr", keys={"dim": 4})]
    first = run_experiment(experiment(in_tmp, world, some))
    assert order == ["popularity, seed 0", "bpr, seed 0", "popularity, seed 1", "bpr, seed 1"]
    assert (len(first.done), first.there, first.passed) == (4, 0, True)
    more = run_experiment(experiment(in_tmp, world, [*some, cell("knn", "itemknn", seeds=[0])]))
    assert order[4:] == ["knn, seed 0"]
    assert (len(more.done), more.there) == (1, 4)
    assert run_experiment(in_tmp / "experiment.yaml").done == []
    assert len(Rows("trial").read()) == 5


def test_deciding_cells_come_first_and_the_chosen_point_takes_the_other_seeds(
    world: Dataset, in_tmp: Path, order: list[str]
):
    """TR-6: all points of a grid are run, the best one last too; it alone is run on the other seeds."""
    grid = {"training.optimizer.lr": [1e-5, 2e-5, 0.05]}
    file = experiment(
        in_tmp,
        world,
        [
            cell("later", "popularity", deciding=False, seeds=[0]),
            cell("bpr", "bpr", keys={"dim": 8}, grid=grid),
            cell("knn", "itemknn"),
        ],
    )
    run_experiment(file)
    assert order == [
        "bpr (lr=1e-05), seed 0",
        "bpr (lr=2e-05), seed 0",
        "bpr (lr=0.05), seed 0",
        "knn, seed 0",
        "bpr (lr=0.05), seed 1",
        "knn, seed 1",
        "later, seed 0",
    ]
    assert "| bpr (lr=0.05; best of 3 on validation) |" in rows_table("trial", metrics=["recall@5", "recall@10"])


def test_a_search_with_a_failed_point_chooses_nothing(world: Dataset, in_tmp: Path, order: list[str]):
    file = experiment(
        in_tmp,
        world,
        [cell("bpr", "bpr", grid={"training.optimizer": [{"name": "sgd", "lr": 1e30}, {"name": "adam", "lr": 0.01}]})],
    )
    result = run_experiment(file)
    assert len(order) == 2
    assert "no point is chosen" in result.failed["bpr"]


def test_a_cell_that_was_killed_goes_on(
    world: Dataset, in_tmp: Path, order: list[str], monkeypatch: pytest.MonkeyPatch
):
    """In training, and between its result and its row; the row is that of an uninterrupted run."""
    file = experiment(in_tmp, world, [cell("bpr", "bpr", keys={"dim": 4})], seeds=[0])

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for target in ("sensorium.experiments.recommending.measure_test", "sensorium.experiments.cells.row_of"):
        with monkeypatch.context() as patch:
            patch.setattr(target, stop)
            with pytest.raises(KeyboardInterrupt, match=f"go on with: sensorium experiment {file}"):
                run_experiment(file)
        assert Rows("trial").read() == []
    run_experiment(file)
    (row,) = Rows("trial").read()
    assert len(list(Path("runs/trial").iterdir())) == 1
    run_experiment(file, rows=in_tmp / "again", runs=in_tmp / "other-runs")
    (whole,) = Rows("trial", in_tmp / "again").read()
    assert {key: row[key] for key in ("test", "valid", "selection", "config_hash")} == {
        key: whole[key] for key in ("test", "valid", "selection", "config_hash")
    }


def test_two_of_one_cell_leave_one_row(world: Dataset, in_tmp: Path, order: list[str], monkeypatch: pytest.MonkeyPatch):
    file = experiment(in_tmp, world, [cell("popularity", "popularity")], seeds=[0])
    pieces: list[Cell] = []

    def twice(cell: Cell) -> None:
        pieces.append(cell)
        run_cell(cell)
        run_cell(cell)

    monkeypatch.setattr(cells_module, "run_cell", twice)
    run_experiment(file)
    assert len(pieces) == 1
    assert len(Rows("trial").read()) == 1


def test_rows_of_other_data_do_not_count(in_tmp: Path, order: list[str]):
    world = write_world(in_tmp / "world")
    file = experiment(in_tmp, world, [cell("popularity", "popularity")], seeds=[0])
    run_experiment(file)
    world.root.rename(in_tmp / "before")
    missing = run_experiment(file)  # a complete experiment is complete on a machine without its data too
    assert (missing.there, missing.passed) == (1, True)
    write_world(in_tmp / "world", users=61)
    refused = run_experiment(file)
    assert "holds a run on other data" in refused.failed["popularity, seed 0"]
    shutil.rmtree("runs")
    again = run_experiment(file)
    assert (again.there, len(again.done)) == (0, 1)
    assert rows_table("trial", metrics=["recall@10"]).count("| popularity |") == 2


def test_cold_items_are_in_the_row(world: Dataset, in_tmp: Path, order: list[str]):
    file = experiment(in_tmp, world, [cell("vbpr", "vbpr", keys={"dim": 4})], seeds=[0])
    tree = yaml.safe_load(file.read_text())
    tree["base"]["data"]["split"] = {"name": "cold_items", "ratio": 0.2}
    file.write_text(yaml.safe_dump(tree))
    run_experiment(file)
    (row,) = Rows("trial").read()
    assert row["cold"]["test"]["recall@5"] > row["test"]["recall@5"]
    assert set(row["cold"]) == {"users", "test", "test_intervals"}


def test_a_summary_names_what_failed():
    result = ExperimentResult("topic", Path("x.jsonl"), there=1, done=["a"], failed={"b, seed 0": "it broke"})
    assert result.summary()[1:] == ["failed: b, seed 0: it broke"]
    assert not result.passed
