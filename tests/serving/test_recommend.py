"""Answers by external ids: what is in them, what is not, and that every road gives the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from sensorium.core.errors import ConfigError, DataError, RunError
from sensorium.data.splits import TRAIN
from sensorium.experiments.loading import LoadedRun, load_run
from sensorium.experiments.run import run
from sensorium.serving.recommend import (
    NOTHING_LEFT,
    UNKNOWN_USER,
    Answer,
    models_that_answer_histories,
    recommend,
    score,
)

from .conftest import LOG_ITEMS, LONG_AGO, MODELS, N_ITEMS, rows_of_users


def ids(answer: Answer) -> list[str]:
    return [item.item_id for item in answer.items]


@pytest.mark.parametrize("model", MODELS)
def test_n_after_filters(loaded: dict[str, LoadedRun], model: str):
    """SV-1: fewer than asked for when fewer remain, never seen, excluded or invented ones."""
    (answer,) = recommend(loaded[model], user="nine", k=5, exclude=["i11"]).answers
    assert sorted(ids(answer)) == ["i00", "i10"]  # the first item of the catalogue among them
    assert answer.note == "2 of 5 available"
    assert answer.available == 2
    assert [item.rank for item in answer.items] == [1, 2]
    assert answer.items[0].title == f"Thing {int(answer.items[0].item_id[1:])}"
    assert answer.items[0].score >= answer.items[1].score
    (answer,) = recommend(loaded[model], user="nine", k=5, only=["i00", "i01", "i10"]).answers
    assert sorted(ids(answer)) == ["i00", "i10"]
    (answer,) = recommend(loaded[model], user="user00", k=5, only=["i00", "i01", "i10"]).answers
    assert len(answer.items) <= 3
    assert len(set(ids(answer))) == len(answer.items)


def test_nothing_left(loaded: dict[str, LoadedRun]):
    """TR-1: a user who has everything gets an answer that says so."""
    (answer,) = recommend(loaded["bpr"], user="all").answers
    assert answer.items == ()
    assert answer.available == 0
    assert answer.note == NOTHING_LEFT
    (answer,) = recommend(loaded["bpr"], user="nine", exclude=["i00", "i10", "i11"]).answers
    assert answer.note == NOTHING_LEFT


def test_unknown_users_are_answered_so(loaded: dict[str, LoadedRun]):
    """CS-1: known, never seen, known: two answers and a label, in the order of the request."""
    found = recommend(loaded["itemknn"], users=["user07", "stranger", "user02", "user07"], k=3).answers
    assert [answer.user_id for answer in found] == ["user07", "stranger", "user02", "user07"]
    assert found[1].items == ()
    assert found[1].note == UNKNOWN_USER
    for answer in (found[0], found[2]):
        assert answer.items == recommend(loaded["itemknn"], user=answer.user_id, k=3).answers[0].items
    assert found[0] == found[3]


def test_what_a_user_had_is_never_recommended(loaded: dict[str, LoadedRun]):
    for user, had in rows_of_users().items():
        (answer,) = recommend(loaded["popularity"], user=user, k=N_ITEMS).answers
        assert sorted(ids(answer)) == sorted(f"i{n:02d}" for n in set(range(N_ITEMS)) - set(had))


@pytest.mark.parametrize("model", MODELS)
def test_as_evaluated_gives_the_lists_of_the_test(runs: dict[str, Path], loaded: dict[str, LoadedRun], model: str):
    lists = pl.read_parquet(runs[model] / "lists.parquet")
    users = lists["user_id"].unique().to_list()
    found = recommend(loaded[model], users=users, k=5, as_evaluated=True).answers
    for answer in found:
        own = lists.filter(pl.col("user_id") == answer.user_id).sort("rank")
        assert ids(answer) == own["item_id"].to_list()
        assert [item.score for item in answer.items] == own["score"].to_list()


def test_items_beyond_the_last_rows_are_in_no_list_of_the_test(cut_run: Path):
    """What only older rows than `max_len` hold did not compete; it is recommended, but not as it was evaluated."""
    loaded = load_run(cut_run)
    own = pl.read_parquet(cut_run / "lists.parquet").sort("rank")
    found = recommend(loaded, users=loaded.dataset.user_ids().to_list(), k=LOG_ITEMS, as_evaluated=True).answers
    for answer in found:
        lists = own.filter(pl.col("user_id") == answer.user_id)
        assert ids(answer) == lists["item_id"].to_list()
        assert [item.score for item in answer.items] == lists["score"].to_list()
        assert answer.available == len(lists)
    old = f"i{LONG_AGO:02d}"
    (as_it_is,) = recommend(loaded, user="u00", k=LOG_ITEMS).answers
    assert old in ids(as_it_is)
    (wanted,) = recommend(loaded, user="u00", k=5, only=[old], as_evaluated=True).answers
    assert wanted.note == NOTHING_LEFT


@pytest.mark.parametrize("model", MODELS)
def test_one_score_on_every_road(loaded: dict[str, LoadedRun], model: str):
    """SV-8: a list, the scores of its items, and a list of these candidates hold the same numbers in the same order."""
    everybody = loaded[model].dataset.user_ids().to_list()
    for answer in recommend(loaded[model], users=everybody, k=50).answers:
        listed = ids(answer)
        if not listed:
            continue
        assert score(loaded[model], user=answer.user_id or "", items=listed) == [item.score for item in answer.items]
        (among,) = recommend(loaded[model], user=answer.user_id, k=50, only=sorted(listed)).answers
        assert among.items == answer.items


def test_a_history_is_answered_as_its_user_would_be(loaded: dict[str, LoadedRun]):
    run = loaded["itemknn"]
    train = run.split.part(TRAIN)
    number = run.dataset.users_of(["user03"])[0]
    history = run.dataset.item_ids().gather(train.item[train.user == number]).to_list()
    (of_history,) = recommend(run, history=history, k=N_ITEMS).answers
    (of_user,) = recommend(run, user="user03", k=N_ITEMS, as_evaluated=True).answers
    assert of_history.user_id is None
    assert of_history.history == tuple(history)
    assert not set(history) & set(ids(of_history))
    assert [item for item in ids(of_history) if item in ids(of_user)] == ids(of_user)  # its mask holds one item more


def test_a_history_with_unknown_items(loaded: dict[str, LoadedRun]):
    found = recommend(loaded["itemknn"], history=["i01", "never", "i02"], k=3)
    assert "1 of 3 items of the history are not in the catalogue: never" in found.notices
    assert found.answers[0].items == recommend(loaded["itemknn"], history=["i01", "i02"], k=3).answers[0].items
    with pytest.raises(DataError, match="no item of this history"):
        recommend(loaded["itemknn"], history=["never"])


def test_models_that_cannot_answer_a_history_name_those_that_can(loaded: dict[str, LoadedRun]):
    assert {"itemknn", "popularity", "sasrec", "bpr"} <= set(models_that_answer_histories())
    neither = replace(loaded["bpr"], model=torch.nn.Linear(1, 1))
    with pytest.raises(ConfigError, match=r"'bpr' answers the users .* itemknn, .*popularity"):
        recommend(neither, history=["i01"])


def test_requests_that_make_no_sense(loaded: dict[str, LoadedRun]):
    with pytest.raises(ConfigError, match="exactly one of"):
        recommend(loaded["bpr"])
    with pytest.raises(ConfigError, match="exactly one of"):
        recommend(loaded["bpr"], user="nine", history=["i01"])
    with pytest.raises(ConfigError, match="was in no test"):
        recommend(loaded["itemknn"], history=["i01"], as_evaluated=True)
    with pytest.raises(ConfigError, match="at least 1"):
        recommend(loaded["bpr"], user="nine", k=0)
    with pytest.raises(ConfigError, match="user 'stranger' is not in shop"):
        score(loaded["bpr"], user="stranger", items=["i01"])
    with pytest.raises(ConfigError, match="not in shop: never"):
        score(loaded["bpr"], user="nine", items=["i01", "never"])


def test_users_without_train_rows_are_labelled(shop, tmp_path: Path):
    config = {
        "data": {"dataset": str(shop.root), "split": {"name": "cold_items", "ratio": 0.5}},
        "model": "popularity",
        "evaluation": {"ks": [5], "metrics": ["recall"]},
        "selection": "recall@5",
    }
    path = run(config, out=tmp_path / "cold").path
    found = recommend(path, users=shop.user_ids().to_list(), k=3, as_evaluated=True).answers
    without = np.bincount(load_train_users(path), minlength=shop.n_users) == 0
    for answer, bare in zip(found, without, strict=True):
        assert ("no training rows" in answer.note) == bare


def load_train_users(path: Path) -> np.ndarray:
    return load_run(path).view.user


def test_a_run_without_good_weights_refuses(shop, tmp_path: Path):
    """TR-4: no checkpoint, no recommendations."""
    config = {
        "data": {"dataset": str(shop.root)},
        "model": {"name": "bpr", "dim": 4},
        "training": {"epochs": 1, "checkpoint": "none"},
        "evaluation": {"ks": [5], "metrics": ["recall"]},
        "selection": "recall@5",
    }
    path = run(config, out=tmp_path / "none").path
    with pytest.raises(RunError, match="no weights"):
        recommend(path, user="nine")
    with pytest.raises(RunError, match="holds no run"):
        recommend(tmp_path / "nowhere", user="nine")


def test_lists_of_ids_are_not_texts(loaded: dict[str, LoadedRun], tmp_path: Path):
    with pytest.raises(ConfigError, match="lists of ids"):
        recommend(loaded["itemknn"], history="i01,i02")
    assert recommend(loaded["bpr"], users=[]).answers == ()
    stock = tmp_path / "stock.txt"
    stock.write_text("i00\n")
    (answer,) = recommend(
        loaded["bpr"], user="nine", only=str(stock)
    ).answers  # a text is a file's path, not its letters
    assert ids(answer) == ["i00"]
