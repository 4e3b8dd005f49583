"""Two processes do a run, one is killed, both resume: the outcome of one process that nobody killed."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from sensorium.core.files import read_json, read_parquet, write_text
from sensorium.core.rundir import RunDirectory
from sensorium.data.dataset import Dataset
from sensorium.experiments import report
from sensorium.experiments.run import run

from .world import run_config

PROGRAM = Path(__file__).parent / "together.py"


def test_two_processes_leave_what_one_leaves(world: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "write_report", lambda path: write_text(path / "report.html", "a page"))
    config = run_config(world.root, model={"name": "vbpr", "dim": 8})
    config["training"]["batch_size"] = 127  # 600 rows: uneven slices, and another number of rows in the last batch
    alone, together = tmp_path / "alone", tmp_path / "together"
    ended = subprocess.run(
        [sys.executable, str(PROGRAM), str(together), json.dumps(config)], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    killed, done = json.loads(ended.stdout)
    assert killed == [True, True]
    assert done == [0, 0], ended.stderr[-3000:]

    run(config, out=alone)
    ours, theirs = (RunDirectory.open(path).records("metrics.jsonl") for path in (together, alone))
    assert [record["epoch"] for record in ours] == [record["epoch"] for record in theirs] == [1, 2, 3, 4, 5, 6]
    for one, other in zip(ours, theirs, strict=True):
        assert one["loss"]["main"] == pytest.approx(other["loss"]["main"], abs=1e-5)
        assert one.get("valid", {}) == pytest.approx(other.get("valid", {}), abs=1e-9)
    results = [read_json(path / "result.json") for path in (together, alone)]
    assert results[0]["selection"] == pytest.approx(results[1]["selection"])
    assert results[0]["test"]["metrics"] == pytest.approx(results[1]["test"]["metrics"], abs=1e-9)
    lists = [read_parquet(path / "lists.parquet") for path in (together, alone)]
    assert lists[0].select("user_id", "item_id", "rank").equals(lists[1].select("user_id", "item_id", "rank"))
    difference = (lists[0]["score"] - lists[1]["score"]).abs().max()
    assert isinstance(difference, float)
    assert difference < 1e-4
    per_user = [read_parquet(path / "per_user.parquet") for path in (together, alone)]
    assert pl.concat(per_user).n_unique() == len(per_user[0])
    assert len(RunDirectory.open(together).records("timing.jsonl")) == 7  # one process wrote
