"""Runs under the protocols of sequences: several targets in turn, repeats, presets' own defaults, order destroyed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from sensorium.cli import main
from sensorium.core.errors import ConfigError
from sensorium.data.dataset import Dataset
from sensorium.data.schema import Source
from sensorium.data.splits import TRAIN, make_split
from sensorium.data.store import write_tables
from sensorium.data.view import permuted_order, train_view
from sensorium.evaluation.histories import history_task
from sensorium.evaluation.lists import evaluate_lists
from sensorium.experiments.compare import compare
from sensorium.experiments.config import read_config
from sensorium.experiments.evaluating import evaluate
from sensorium.experiments.run import load_run, run
from sensorium.serving.recommend import recommend

USERS, ITEMS = 40, 20


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Sequences of 6 to 14 items of twenty, some of which stand again."""
    folder = tmp_path_factory.mktemp("log") / "log"
    folder.mkdir()
    draw = np.random.default_rng(0)
    lists = [draw.integers(ITEMS, size=draw.integers(6, 15)).tolist() for _ in range(USERS)]
    rows = [(user, item, place) for user, items in enumerate(lists) for place, item in enumerate(items)]
    return write_tables(
        folder,
        name="log",
        source=Source(reader="test"),
        interactions=pl.DataFrame(rows, schema={"user": pl.Int32, "item": pl.Int32, "order": pl.Int64}, orient="row"),
        items=pl.DataFrame({"item": np.arange(ITEMS, dtype=np.int32), "item_id": [f"i{i}" for i in range(ITEMS)]}),
        users=pl.DataFrame({"user": np.arange(USERS, dtype=np.int32), "user_id": [f"u{u}" for u in range(USERS)]}),
    )


def tree(log: Dataset, model: dict[str, object], **data: object) -> dict[str, object]:
    return {
        "data": {"dataset": str(log.root), "split": {"name": "leave_last_out", "targets_per_user": 2}, **data},
        "model": model,
        "training": {"epochs": 1, "device": "cpu"},
        "evaluation": {"ks": [3, 5], "metrics": ["hit_rate"]},
        "selection": "hit_rate@5",
    }


def test_several_targets_of_a_user_are_one_row_of_the_user(log: Dataset, tmp_path: Path) -> None:
    small = {"name": "sasrec", "dim": 8, "length": 4}
    sequence = run(tree(log, small), out=tmp_path / "sasrec")
    baseline = run(tree(log, {"name": "popularity"}, repeats="all"), out=tmp_path / "popularity")
    lists, per_user = (pl.read_parquet(tmp_path / "sasrec" / name) for name in ("lists.parquet", "per_user.parquet"))
    assert sequence.result["data"]["repeats"] == "all"
    assert sequence.result["test"]["n"] == lists.select("user_id", "turn").n_unique() > per_user.height
    assert set(lists["turn"]) == {1, 2}
    both = sequence.result["test"]["with_repeats"]
    assert both["n"] == 2 * len(np.unique(load_run(tmp_path / "sasrec").split.user))
    assert both["n_drop"] == sequence.result["test"]["n"] < both["n"]
    # A model that user ids ask is asked for the same targets, and hides the same.
    assert baseline.result["test"]["n"] == sequence.result["test"]["n"]
    found = compare([tmp_path / "sasrec"]).tables[0].rows[0].numbers["hit_rate@5"]
    assert found.mean == sequence.result["test"]["metrics"]["hit_rate@5"]
    with pytest.raises(ConfigError, match=r"in its lists\.parquet"):
        recommend(tmp_path / "sasrec", user="u1", as_evaluated=True)
    assert recommend(tmp_path / "sasrec", user="u1", k=3).answers[0].items


def test_published_protocol_masks_what_max_len_leaves(log: Dataset, tmp_path: Path) -> None:
    config = tree(log, {"name": "gru4rec", "dim": 8, "length": 3}, split={"name": "leave_last_out", "max_len": 3})
    config["evaluation"] = {"ks": [3, 5], "metrics": ["hit_rate"], "repeat_policy": "mask", "history": "window"}
    done = run(config, out=tmp_path / "run")
    assert done.result["test"]["n"] == USERS
    assert "max_len" in done.result["test"]["rules"]["masked"]
    assert done.result["test"]["rules"]["repeats"].startswith("mask")
    lists = pl.read_parquet(tmp_path / "run" / "lists.parquet").filter(pl.col("user_id") == "u0", pl.col("rank") <= 3)
    again = recommend(tmp_path / "run", user="u0", k=3, as_evaluated=True).answers[0]
    assert [item.item_id for item in again.items] == lists.sort("rank")["item_id"].to_list()


def test_presets_bring_their_schedule_and_what_is_said_wins(log: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    usual = read_config({"data": {"dataset": "x"}, "model": "sasrec"})
    assert (usual.training.optimizer.name, usual.training.optimizer.weight_decay) == ("adamw", 0.1)
    assert (usual.training.epochs, usual.training.patience, usual.training.clip_norm) == (50, 10, 5.0)
    assert (usual.selection, usual.evaluation.repeat_policy, usual.evaluation.history) == (
        "hit_rate@10",
        "drop",
        "full",
    )
    said = read_config(
        {"data": {"dataset": "x"}, "model": "sasrec", "training": {"optimizer": {"lr": 0.5}, "epochs": 2}}
    )
    assert (said.training.optimizer.lr, said.training.epochs, said.training.optimizer.name) == (0.5, 2, "adamw")
    assert read_config({"data": {"dataset": "x"}, "model": "bpr"}).training.epochs == 1000
    assert main(["config", "show", "gru4rec"]) == 0
    assert "training.optimizer.weight_decay" in capsys.readouterr().out


def test_a_matrix_of_users_and_items_knows_a_repeated_pair_once(log: Dataset) -> None:
    split = make_split(log, "leave_last_out", seed=0, repeats="all")
    plain, ordered = train_view(log, split), train_view(log, split, ordered=True)
    pairs = set(zip(ordered.user.tolist(), ordered.item.tolist(), strict=True))
    assert len(ordered.user) > len(plain.user) == len(pairs)
    assert plain.matrix.max() == 1


def test_novelty_counts_users_not_rows(log: Dataset, tmp_path: Path) -> None:
    """docs/protocol.md: n_i are train users. Who had an item several times is one, wherever novelty is counted."""
    config = tree(log, {"name": "sasrec", "dim": 8, "length": 4})
    config |= {"evaluation": {"ks": [3], "metrics": ["hit_rate", "novelty"]}, "selection": "hit_rate@3"}
    result = run(config, out=tmp_path / "run").result
    split = make_split(log, config["data"]["split"], seed=0, repeats="all")  # type: ignore[index]
    train = split.part(TRAIN)
    users = [set(train.user[train.item == item].tolist()) for item in range(ITEMS)]
    rows = np.bincount(train.item, minlength=ITEMS)
    assert any(count > len(of) for count, of in zip(rows, users, strict=True))  # somebody had an item again
    view = train_view(log, split, ordered=True)
    assert view.item_users.tolist() == [len(of) for of in users]
    assert view.item_count.tolist() == rows.tolist()

    def novelty(items: list[int], counts: list[int]) -> float:
        return float(np.mean([-np.log2((counts[item] + 1) / (USERS + 1)) for item in items]))

    lists = pl.read_parquet(tmp_path / "run" / "lists.parquet").filter(pl.col("rank") <= 3)
    shown = log.items_of(lists["item_id"].to_list()).tolist()
    found, wanted = result["test"]["metrics"]["novelty@3"], novelty(shown, [len(of) for of in users])
    assert found == pytest.approx(wanted, abs=1e-9)
    assert abs(found - novelty(shown, rows.tolist())) > 1e-3
    assert result["buckets"]["warm"]["metrics"]["novelty@3"] == pytest.approx(found, abs=1e-9)
    by_file = evaluate(tmp_path / "run" / "lists.parquet", ks=[3], metrics=["novelty"])
    assert by_file.summary["novelty@3"] == pytest.approx(found, abs=1e-9)
    direct = evaluate_lists(lists, log, split, ks=[3], metrics=["novelty"], task=history_task(log, split, "test")[1])
    assert direct.summary["novelty@3"] == pytest.approx(found, abs=1e-9)


def test_destroyed_order_keeps_each_user_s_items(log: Dataset) -> None:
    view = train_view(log, make_split(log, "leave_last_out", seed=0, repeats="all"), ordered=True)
    shuffled = permuted_order(view)
    before, after = view.sequences, shuffled.sequences
    assert np.array_equal(before.offsets, after.offsets)
    assert not np.array_equal(before.values, after.values)
    for start, end in zip(before.offsets, before.offsets[1:], strict=False):
        assert sorted(before.values[start:end]) == sorted(after.values[start:end])
    with pytest.raises(ConfigError, match="'bpr' reads no order"):
        run(tree(log, {"name": "bpr", "dim": 4}, permute_order=True), out=log.root.parent / "never")


def test_item_0_can_be_trained_on_and_ranked_first(log: Dataset, tmp_path: Path) -> None:
    done = run(tree(log, {"name": "sasrec", "dim": 8, "length": 4}), out=tmp_path / "run")
    model = load_run(done.path).model
    with torch.no_grad():
        model.tower.table.zero_()  # type: ignore[union-attr, operator]
        model.tower.table[1] = 1.0  # type: ignore[union-attr, index]
        scores = model.score_history([torch.tensor([3])])[0]
    assert scores[1:].abs().max() == 0  # no other item has taken its row
    assert int(scores.abs().argmax()) == 0
