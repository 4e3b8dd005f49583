"""`sensorium trace import | run | compare`, cells of experiments, and the tables of their rows."""

from pathlib import Path

import pytest

from sensorium.cli import main
from sensorium.core.config import to_yaml
from sensorium.core.errors import ConfigError
from sensorium.experiments.cells import run_experiment
from sensorium.experiments.plan import read_plan
from sensorium.experiments.rows import Rows
from sensorium.experiments.rows_table import rows_table
from sensorium.tracing.data.dataset import TracingDataset

LOG = "user_id,log_id,sequence_id,correct\n" + "".join(
    f"pupil{n % 12},{n},s{n * 5 % 7},{int((n * 11 + n // 12) % 5 > 1)}\n" for n in range(240)
)


def test_from_a_log_to_a_table(
    tmp_path: Path, sensorium_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "2015_100_skill_builders_main_problems.csv"
    file.write_text(LOG + "pupil1,500,s1,0.5\n")
    assert main(["trace", "import", "assist2015", str(file), "school"]) == 0
    told = capsys.readouterr().out
    assert "rejected: response is neither 0 nor 1" in told
    assert main(["trace", "import", "assist2015", str(file), "school"]) == 2  # it is there
    for name in ("bestlr", "bkt"):
        config = tmp_path / f"{name}.yaml"
        config.write_text(to_yaml({"kind": "trace", "data": {"dataset": "school"}, "model": name, "draws": 100}))
        assert main(["trace", "run", str(config), "--out", f"runs/{name}"]) == 0
    told = capsys.readouterr().out
    assert "95 % over students" in told
    assert main(["compare", "runs/bestlr", "runs/bkt"]) == 0
    told = capsys.readouterr().out
    assert "| bestlr |" in told
    assert "protocol question" in told
    assert main(["trace", "compare", "runs/bestlr", "runs/bkt", "--baseline", "bkd"]) == 2
    assert "did you mean 'bkt'" in capsys.readouterr().err
    assert main(["trace", "compare", "runs/bestlr", "runs/bkt", "--baseline", "bkt", "--out", "kept.jsonl"]) == 0
    assert len((tmp_path / "kept.jsonl").read_text().splitlines()) == 2
    assert main(["report", "runs/bkt"]) == 0


def test_what_is_wrong_is_one_line(tmp_path: Path, sensorium_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "trace.yaml"
    base = {"kind": "trace", "data": {"dataset": "learners"}, "model": "dkt"}
    for change, message in (
        ({"model": {"name": "dkt", "layer": 2}}, "model.layer"),
        ({"model": "dtk"}, "did you mean 'dkt'"),
        ({"windows": {"length": 10, "stride": 20}}, "rows would be left out"),
        ({"selection": "recall@20"}, "is not measured"),
        ({"protocol": "pykt"}, "protocol"),
        ({"data": {"dataset": "nowhere"}}, "no tracing data set 'nowhere'"),
    ):
        config.write_text(to_yaml(base | change))
        assert main(["trace", "run", str(config), "--out", str(tmp_path / "run")]) == 2
        told = capsys.readouterr().err
        assert message in told
        assert not (tmp_path / "run").exists()


def test_cells_of_an_experiment_have_rows_and_tables(few_learners: TracingDataset, tmp_path: Path) -> None:
    file = tmp_path / "tracing-few.yaml"
    experiment = {
        "topic": "tracing-few",
        "seeds": [0],
        "base": {"kind": "trace", "data": {"dataset": str(few_learners.root)}, "draws": 100},
        "cells": [
            {"name": "bestlr", "config": {"model": "bestlr"}},
            {"name": "expanded", "config": {"model": "pfa", "protocol": "pykt-expanded"}},
        ],
    }
    file.write_text(to_yaml(experiment))
    done = run_experiment(file, rows=tmp_path / "rows", runs=tmp_path / "runs", processes=1)
    assert done.passed, done.summary()
    rows = Rows("tracing-few", tmp_path / "rows").read()
    assert [(row["cell"], row["seed"]) for row in rows] == [
        ("bestlr", 0), ("expanded", 0),
    ]  # fmt: skip
    assert rows[1]["leaky"]
    again = run_experiment(file, rows=tmp_path / "rows", runs=tmp_path / "runs", processes=1)
    assert (again.there, again.done) == (2, [])
    tables = rows_table("tracing-few", rows=tmp_path / "rows").split("\n\n")
    leaky = [table for table in tables if "expanded |" in table or "protocol pykt" in table]
    assert "leaky: contains the label" in leaky[0]
    assert not any("| bestlr |" in part and "| expanded |" in part for part in tables)


def test_kinds_that_are_no_cells_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    cell = {"name": "a", "config": {"kind": "judge", "videos": {"manifest": "x.csv"}}}
    file.write_text(to_yaml({"topic": "x", "cells": [cell]}))
    with pytest.raises(ConfigError, match="no cells of an experiment"):
        read_plan(file)


def test_tracers_and_their_keys_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "tracers"]) == 0
    listed = capsys.readouterr().out
    for name in ("akt", "bestlr", "bkt", "dkt", "flipped", "irt", "pfa", "sakt", "simplekt", "ukt", "ukt-point"):
        assert f"\n{name} " in listed
    assert main(["config", "show", "dkt"]) == 0
    told = capsys.readouterr().out
    for key in ("difficulty", "variational", "priors", "counts", "question_dropout"):
        assert key in told
