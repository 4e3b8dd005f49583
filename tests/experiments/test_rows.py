"""Rows of experiments: one per configuration and seed, whoever writes them and whenever that is killed."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from sensorium.core.config import dump
from sensorium.core.errors import DataError
from sensorium.experiments import rows as rows_module
from sensorium.experiments.config import RunConfig, read_config
from sensorium.experiments.rows import Rows, config_hash, default_keys, find, flatten
from sensorium.experiments.rows_table import rows_table

TREE = {"data": {"dataset": "somewhere"}, "model": {"name": "bpr", "dim": 8}}


def config(*overrides: str) -> RunConfig:
    return read_config(TREE, overrides)


def row(configured: RunConfig, **more: Any) -> dict[str, Any]:
    return {"config": dump(configured), "tables": "t", **more}


def test_a_row_is_kept_once(tmp_path: Path):
    rows = Rows("topic", tmp_path / "rows")
    assert rows.read() == []
    assert rows.append(row(config(), a=1), config())
    assert not rows.append(row(config(), a=2), config())
    assert rows.append(row(config("seed=1"), a=3), config("seed=1"))
    assert [kept["a"] for kept in rows.read()] == [1, 3]
    assert find(rows.read(), config("seed=1", "model.dim=9"), "t") is None


def test_a_row_of_other_data_is_none(tmp_path: Path):
    rows = Rows("topic", tmp_path)
    rows.append(row(config()), config())
    assert find(rows.read(), config(), "u") is None
    assert find(rows.read(), config(), None) is not None  # the data are not here, so nobody can say that they differ
    assert rows.append(row(config(), tables="u"), config())
    assert not rows.append(row(config(), tables="u"), config())


def test_a_line_that_a_killed_process_left_is_none(tmp_path: Path):
    rows = Rows("topic", tmp_path)
    rows.append(row(config(), a=1), config())
    with rows.path.open("a") as file:
        file.write('{"config": {"data"')
    assert len(rows.read()) == 1
    rows.append(row(config("seed=1"), a=2), config("seed=1"))
    assert [kept["a"] for kept in rows.read()] == [1, 2]
    rows.path.write_text("nonsense\n" + rows.path.read_text())
    with pytest.raises(DataError, match="line 1 is not JSON"):
        rows.read()


def test_a_new_key_does_not_invalidate_rows_and_a_changed_default_does(monkeypatch: pytest.MonkeyPatch):
    """Hours of results outlive a release that adds an option; not one that changes what a key means when it is left
    out.
    """
    kept = [row(config())]

    class Later(RunConfig):
        smoothing: float = Field(0.0, description="a new key")

    assert find(kept, Later(**TREE), "t") is not None
    assert find(kept, Later(**TREE, smoothing=0.1), "t") is None
    del kept[0]["config"]["training"]["patience"]
    assert find(kept, config(), "t") is not None
    assert find(kept, config("training.patience=3"), "t") is None
    kept[0]["config"]["training"]["batch_size"] = 1024  # what was the default then
    assert find(kept, config(), "t") is None


def test_a_part_that_is_left_out_is_no_missing_key():
    """Noise and none, a phase of its own and none: neither row is that of the other configuration."""
    for name, part in (("data.noise", "{rate: 0.3}"), ("training.phases", "{main: {optimizer: {lr: 0.1}}}")):
        without, given = config(), config(f"{name}={part}")
        assert find([row(given)], without, "t") is None
        assert find([row(without)], given, "t") is None
        assert find([row(given)], given, "t") is not None


def test_default_keys():
    keys = set(
        default_keys(
            config("training.optimizer.lr=0.1", "model.reg=0.5", "data.split={name: random_per_user, unknown: drop}")
        )
    )
    assert {"training.epochs", "training.optimizer.name", "data.split.unknown", "model.reg"} & keys == {
        "training.epochs",
        "training.optimizer.name",
    }
    assert "model.dim" not in keys
    assert keys <= flatten(dump(config())).keys() | {"data.min_rating"}


def test_the_hash_leaves_the_seed_out():
    assert config_hash(config()) == config_hash(config("seed=5"))
    assert config_hash(config()) != config_hash(config("model.dim=9"))


def measured(cell: str, seed: int, value: float, *overrides: str, **more: Any) -> dict[str, Any]:
    configured = config(f"seed={seed}", *overrides)
    numbers = {f"{name}@{k}": value for name in ("recall", "ndcg") for k in (10, 20)}
    return (
        row(
            configured,
            cell=cell,
            point={},
            model="bpr",
            dataset="somewhere",
            seed=seed,
            config_hash=config_hash(configured),
            tables="t",
            selection={"name": "recall@20", "value": value, "epoch": 4, "higher_is_better": True},
            users=1234,
            valid=numbers,
            test=numbers,
            test_intervals={"recall@20": [value - 0.01, value + 0.01]},
            seconds=75.0,
            memory_mb=300,
        )
        | more
    )


def write(path: Path, found: list[dict[str, Any]]) -> None:
    rows = Rows("topic", path)
    for entry in found:
        rows.append(entry, RunConfig(**entry["config"]))


def test_a_table_of_rows(tmp_path: Path):
    write(
        tmp_path,
        [
            measured("low", 0, 0.2, "model.reg=0.5"),
            *(measured("high", seed, value) for seed, value in enumerate((0.40, 0.41, 0.42))),
            measured("elsewhere", 0, 0.9, "data.split=leave_last_out"),
        ],
    )
    table = rows_table("topic", rows=tmp_path)
    first, second = table.split("\n\n**")[:2]
    assert "**somewhere**, split `random_per_user`" in first
    assert "1,234 test users" in first
    high, low = [line for line in first.splitlines() if line.startswith(("| high", "| low"))]
    # Student's t with 2 degrees of freedom: 4.3027 * 0.01 / sqrt(3) = 0.0248
    assert high.startswith("| high | .4100 ± .0248 | .4100 ± .0248 |")
    assert "| [.4000, .4200] | .4100 | 4 | 1 min 15 s | 300 MB | 3 |" in high
    assert low.startswith("| low | .2000 | .2000 |")
    assert "split `leave_last_out`" in second
    assert "elsewhere" in second


def test_of_a_grid_the_point_that_validation_prefers_is_shown(tmp_path: Path):
    """The test has no say: the point with the better test is not the one that is shown."""
    better_valid = measured("grid", 0, 0.3, "model.reg=0.1", point={"model.reg": 0.1})
    better_test = measured("grid", 0, 0.5, "model.reg=0.2", point={"model.reg": 0.2})
    better_test["selection"]["value"] = 0.29
    more = measured("grid", 1, 0.1, "model.reg=0.1", point={"model.reg": 0.1})
    write(tmp_path, [better_test, better_valid, more])
    assert "| grid (reg=0.1; best of 2 on validation) | .2000" in rows_table("topic", rows=tmp_path)


def test_cold_items_have_a_table_of_their_own(tmp_path: Path):
    cold = {"users": 99, "test": measured("x", 0, 0.7)["test"], "test_intervals": {"recall@20": [0.6, 0.8]}}
    write(tmp_path, [measured("one", 0, 0.2, cold=cold), measured("two", 0, 0.1, "model.reg=2")])
    table = rows_table("topic", rows=tmp_path)
    assert "Cold items ranked among themselves (99 test users)" in table
    assert "| one | .7000 | .7000 | .7000 | .7000 | [.6000, .8000] |" in table


def test_a_table_says_which_features_were_read(tmp_path: Path):
    """Features are made by hand or by an encoder, whichever stood in the data set: rows of two kinds are told apart."""
    text = {"features": {"text": "minilm-l6 of title, digest 12345678"}}
    other = {"features": {"text": "tfidf-svd of title, digest abcdef00", "image": "given, digest 01020304"}}
    write(
        tmp_path,
        [
            measured("old", 0, 0.1, "model.reg=1"),
            measured("one", 0, 0.2, "model.reg=2", **text),
            measured("one", 1, 0.2, "model.reg=2", **text),
            measured("two", 0, 0.3, "model.reg=3", **other),
            measured("three", 0, 0.1, "model.reg=4", **text),
        ],
    )
    table = rows_table("topic", rows=tmp_path)
    assert "Features of one, three: text by minilm-l6 of title, digest 12345678." in table
    assert "Features of two: image by given, digest 01020304; text by tfidf-svd of title, digest abcdef00." in table
    write(tmp_path / "old", [measured("old", 0, 0.1)])
    assert "Features of" not in rows_table("topic", rows=tmp_path / "old")


def test_no_rows_and_a_missing_metric(tmp_path: Path):
    with pytest.raises(DataError, match="holds no rows"):
        rows_table("topic", rows=tmp_path)
    write(tmp_path, [measured("one", 0, 0.2)])
    with pytest.raises(DataError, match="map@10"):
        rows_table("topic", rows=tmp_path, metrics=["map@10"])


def test_the_default_folder_is_that_of_the_project():
    assert Path("docs/results/rows") == rows_module.ROWS
