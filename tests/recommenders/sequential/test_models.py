from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from sensorium.core.errors import ConfigError
from sensorium.data.dataset import Features
from sensorium.data.importing import ImportConfig, import_dataset
from sensorium.data.windows import cut
from sensorium.experiments.run import load_run, run
from sensorium.recommenders.sequential.gru4rec import GRU4Rec
from sensorium.recommenders.sequential.model import SequentialRecommender
from sensorium.recommenders.sequential.nextitnet import NextItNet
from sensorium.recommenders.sequential.sasrec import SASRec
from sensorium.recommenders.towers.features import centred
from sensorium.serving.recommend import recommend
from sensorium.testing.histories import check_history_recommender, ordered_view


@pytest.mark.parametrize("model", [SASRec, GRU4Rec, NextItNet])
def test_contract(model: type[SequentialRecommender]) -> None:
    outcome = check_history_recommender(model, {"dim": 16, "length": 6})
    assert set(outcome.values()) == {"passed"}


@pytest.mark.parametrize("tower", ["features", "id+features", "fusion"])
@pytest.mark.parametrize("objective", ["in_batch", "sampled", "full"])
def test_contract_of_towers_and_objectives(tower: str, objective: str) -> None:
    config = {"dim": 16, "length": 6, "tower": tower, "objective": objective, "windows": "all", "blocks": 1}
    assert check_history_recommender(SASRec, config)["order"] == "passed"


@pytest.mark.parametrize("tower", ["id", "features", "id+features", "fusion"])
def test_the_vector_of_padding_is_zero_and_item_0_has_one(tower: str) -> None:
    model = SASRec(ordered_view(), SASRec.Config(dim=8, tower=tower))
    with torch.no_grad():
        for parameter in model.tower.parameters():
            if parameter.ndim == 1:
                parameter += 1  # biases
        found = model.tower(torch.tensor([0, 1, 0]))
    assert not found[0].any()
    assert found[1].any()
    assert torch.allclose(model.item_vectors()[0], found[1], atol=1e-5)


def test_popularity_is_counted_in_the_windows_alone() -> None:
    view = ordered_view()
    model = SASRec(view, SASRec.Config(dim=8, length=3))
    kept = view.sequences.last(4)
    counts = np.bincount(kept[kept >= 0], minlength=view.n_items)
    wanted = np.log(np.maximum(counts, 1) / counts.sum())
    assert np.allclose(model.log_p[1:].numpy(), wanted, atol=1e-6)
    assert model.log_p[0] == 0


@pytest.mark.parametrize("windows", ["last", "all"])
def test_an_item_of_one_row_alone_is_in_no_window(windows: str) -> None:
    """Whoever has a single row gives no step to learn from: that item's id stays 0, and counts for nothing."""
    view, item = ordered_view(), ordered_view().n_items
    more = replace(
        view,
        n_users=view.n_users + 1,
        n_items=item + 1,
        user=np.append(view.user, view.n_users),
        item=np.append(view.item, item),
        timestamp=None,
        in_order=np.append(view.in_order, len(view.user)),
    )
    config = SASRec.Config(dim=8, windows=windows)
    with_it, without = SASRec(more, config), SASRec(view, config)
    assert len(cut(more.sequences, 10, windows)) == len(cut(view.sequences, 10, windows))
    assert with_it.shown_count.tolist() == [*without.shown_count.tolist(), 0]
    assert not with_it.item_vectors()[item].any()
    assert torch.equal(with_it.log_p[:-1], without.log_p)


def test_features_are_centred_over_trained_items_that_have_content() -> None:
    x = np.array([[1.0, 2.0], [3.0, 6.0], [100.0, 100.0], [np.nan, 1e9]])
    found = centred(x, np.array([True, True, True, False]), np.array([True, True, False, True]))
    sigma = np.sqrt((1 + 4 + 1 + 4) / 4)
    assert np.allclose(found[:3], (x[:3] - [2, 4]) / sigma)
    assert not found[3].any()


def test_a_tower_of_features_without_features() -> None:
    with pytest.raises(ConfigError, match="no feature 'audio'"):
        SASRec(ordered_view(), SASRec.Config(tower="features", features=["audio"]))
    assert isinstance(ordered_view().features["text"], Features)


def chained(path: Path) -> Path:
    """A log in which each item is followed by the next one of thirty."""
    draw = np.random.default_rng(0)
    rows = [
        {"user": f"u{user}", "item": f"i{(start + place) % 30}", "timestamp": 1_000_000 + place * 60 + user}
        for user, start in enumerate(draw.integers(30, size=80))
        for place in range(8)
    ]
    pl.DataFrame(rows).write_csv(path)
    return path


@pytest.mark.parametrize("split", ["leave_last_out", {"name": "global_time"}, {"name": "cold_items", "ratio": 0.2}])
def test_a_run_trains_ranks_and_answers(tmp_path: Path, split: object) -> None:
    import_dataset(chained(tmp_path / "log.csv"), tmp_path / "log", ImportConfig())
    config = {
        "data": {"dataset": str(tmp_path / "log"), "split": split},
        "model": {"name": "sasrec", "dim": 16, "length": 6, "windows": "all"},
        "training": {"epochs": 40, "batch_size": 32, "optimizer": {"lr": 0.01}, "device": "cpu"},
        "selection": "recall@1",
        "evaluation": {"ks": [1, 10, 20], "metrics": ["recall", "hit_rate", "ndcg"]},
    }
    done = run(config, out=tmp_path / "run")
    assert done.result["test"]["rules"]["query"] == "history"
    assert done.result["test"]["rules"]["masked"] == "the whole history"
    if split != "leave_last_out":
        return
    assert done.result["test"]["metrics"]["hit_rate@1"] > 0.5
    loaded = load_run(tmp_path / "run")
    answer = recommend(loaded, history=["i3", "i4", "i5"], k=3).answers[0]
    assert "i6" in [item.item_id for item in answer.items]
    lists = pl.read_parquet(tmp_path / "run" / "lists.parquet").filter(pl.col("user_id") == "u0", pl.col("rank") <= 3)
    again = recommend(loaded, user="u0", k=3, as_evaluated=True).answers[0]
    assert [item.item_id for item in again.items] == lists.sort("rank")["item_id"].to_list()
