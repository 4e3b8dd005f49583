"""Lists of sequential runs: by the run's own protocol they give its own numbers, by another one they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sensorium.cli import main
from sensorium.core.errors import ConfigError, DataError, RunError
from sensorium.data.dataset import Dataset
from sensorium.data.schema import Source
from sensorium.data.store import write_tables
from sensorium.experiments.evaluating import evaluate
from sensorium.experiments.run import Run, run

USERS, ITEMS = 40, 24
METRICS = ["hit_rate", "ndcg", "coverage", "novelty"]
IN_TURN = {"name": "leave_last_out", "targets_per_user": 2}
CUT = {"name": "leave_last_out", "max_len": 3}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Sequences of 7 to 14 items, some of which stand again; the last four items are in the first rows alone."""
    folder = tmp_path_factory.mktemp("log") / "log"
    folder.mkdir()
    draw = np.random.default_rng(0)
    lists = [[ITEMS - 1 - user % 4, *draw.integers(ITEMS - 4, size=draw.integers(6, 14))] for user in range(USERS)]
    rows = [(user, int(item), place) for user, items in enumerate(lists) for place, item in enumerate(items)]
    return write_tables(
        folder,
        name="log",
        source=Source(reader="test"),
        interactions=pl.DataFrame(rows, schema={"user": pl.Int32, "item": pl.Int32, "order": pl.Int64}, orient="row"),
        items=pl.DataFrame({"item": np.arange(ITEMS, dtype=np.int32), "item_id": [f"i{i}" for i in range(ITEMS)]}),
        users=pl.DataFrame({"user": np.arange(USERS, dtype=np.int32), "user_id": [f"u{u:02d}" for u in range(USERS)]}),
    )


def trained(log: Dataset, out: Path, split: object, model: object = None, **evaluation: Any) -> Run:
    data = {"dataset": str(log.root), "split": split, **({} if model is None else {"repeats": "all"})}
    config = {
        "data": data,
        "model": model or {"name": "sasrec", "dim": 8, "length": 4},
        "training": {"epochs": 1, "device": "cpu"},
        "evaluation": {"ks": [3, 5], "metrics": METRICS, **evaluation},
        "selection": "hit_rate@5",
    }
    return run(config, out=out)


@pytest.fixture(scope="module")
def in_turn(log: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(log, tmp_path_factory.mktemp("runs") / "turn", IN_TURN)


PROTOCOLS: dict[str, tuple[object, object, dict[str, Any]]] = {
    "drop": ("leave_last_out", None, {}),
    "mask": ("leave_last_out", None, {"repeat_policy": "mask"}),
    "free": ("leave_last_out", None, {"repeat_policy": "free"}),
    "published": (CUT, None, {"repeat_policy": "mask", "history": "window"}),
    "window": (CUT, None, {"history": "window"}),
    "in turn": (IN_TURN, None, {"repeat_policy": "mask"}),
    "in turn by id": (IN_TURN, {"name": "popularity"}, {}),
    "cut by id": (CUT, {"name": "popularity"}, {"mask": "train+valid"}),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_own_lists_give_own_numbers(log: Dataset, tmp_path: Path, protocol: str) -> None:
    """With nothing said the run's configuration says it, wherever its lists were moved; n and what was left out too."""
    split, model, evaluation = PROTOCOLS[protocol]
    done = trained(log, tmp_path / "run", split, model, **evaluation)
    own = done.result["test"]
    moved = tmp_path / "moved.parquet"
    moved.write_bytes((done.path / "lists.parquet").read_bytes())
    for found in (evaluate(done.path / "lists.parquet"), evaluate(moved, run=done.path)):
        assert found.summary == pytest.approx(own["metrics"], abs=1e-9)
        assert (found.n, found.excluded) == (own["n"], own["excluded"])
        assert not {kind: count for kind, count in found.counts.items() if count and kind != "users_without_a_list"}
    if protocol == "in turn":
        assert found.owner is not None


@pytest.mark.parametrize("protocol", ["drop", "mask", "published", "in turn"])
def test_a_bare_file_needs_the_protocol_in_words(log: Dataset, tmp_path: Path, protocol: str) -> None:
    """The same numbers without the run; with the protocol of user ids they are others, or there are none."""
    split, _, evaluation = PROTOCOLS[protocol]
    done = trained(log, tmp_path / "run", split, **evaluation)
    table = pl.read_parquet(done.path / "lists.parquet")
    said = {"ks": [3, 5], "metrics": METRICS, "history": "full", **evaluation}
    found = evaluate(table, log, split, **said)
    assert found.summary == pytest.approx(done.result["test"]["metrics"], abs=1e-9)
    if "turn" not in table.columns:
        other = evaluate(table, log, split, ks=[3, 5], metrics=METRICS)
        assert other.n != found.n or other.summary != pytest.approx(found.summary, abs=1e-9)


def test_lists_in_turn_are_found_by_their_number(log: Dataset, in_turn: Run) -> None:
    table = pl.read_parquet(in_turn.path / "lists.parquet")
    shuffled = table.sample(fraction=1, shuffle=True, seed=0)
    assert evaluate(shuffled, run=in_turn.path).summary == evaluate(table, run=in_turn.path).summary
    swapped = table.with_columns(turn=3 - pl.col("turn"))
    found = evaluate(swapped, run=in_turn.path)
    assert found.summary["ndcg@5"] != in_turn.result["test"]["metrics"]["ndcg@5"]
    assert found.counts["lists_of_users_without_targets"] > 0  # of two targets one is left out: there is no second list
    with pytest.raises(DataError, match=r"has no column 'turn'.* whom this split asks several times"):
        evaluate(table.drop("turn"), run=in_turn.path)
    with pytest.raises(DataError, match=r"row 1: turn '0\.5' is not a whole number"):
        evaluate(table.with_columns(turn=pl.lit(0.5)), run=in_turn.path)
    with pytest.raises(DataError, match=r"stands twice .*this split asks each user once"):
        evaluate(table, log, "leave_last_out", ks=[3], history="full")


def test_the_command_takes_a_run_or_words(in_turn: Run, log: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    lists = str(in_turn.path / "lists.parquet")
    own = in_turn.result["test"]
    words = ["--data", str(log.root), "--split", "{name: leave_last_out, targets_per_user: 2}", "-k", "3", "-k", "5"]
    words += ["--history", "full", "--repeat-policy", "drop", "--repeats", "all", "-m", "ndcg"]
    for options in ([], words):
        assert main(["evaluate", lists, *options]) == 0
        said = capsys.readouterr().out
        assert f"{own['n']} test targets in turn" in said
        (line,) = (line for line in said.splitlines() if line.startswith("ndcg@5"))
        low, high = own["intervals"]["ndcg@5"]  # over whole users
        assert line.split()[1:] == [f"{own['metrics']['ndcg@5']:.6f}", f"[{low:.4f},", f"{high:.4f}]"]


def test_what_does_not_go_together_is_refused(log: Dataset, in_turn: Run, tmp_path: Path) -> None:
    lists = pl.read_parquet(in_turn.path / "lists.parquet")
    with pytest.raises(ConfigError, match="mask: where histories are masked"):
        evaluate(lists, run=in_turn.path, mask="train")
    with pytest.raises(ConfigError, match="repeat_policy: this run numbered the lists of each user under drop"):
        evaluate(lists, run=in_turn.path, repeat_policy="mask")
    with pytest.raises(ConfigError, match="repeat_policy: these lists were asked for by user ids"):
        evaluate(lists, log, "leave_last_out", repeat_policy="mask")
    with pytest.raises(ConfigError, match="name the data set"):
        evaluate(lists, split="leave_last_out")
    with pytest.raises(ConfigError, match="name the split"):
        evaluate(lists, log)
    with pytest.raises(RunError, match="holds no run"):
        evaluate(lists, run=tmp_path)
