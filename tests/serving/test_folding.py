"""Folding in: what propagation brings, a mean of items, and what both are worth beside a twin."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.cli import main
from sensorium.core.errors import ConfigError
from sensorium.experiments.loading import LoadedRun, load_run
from sensorium.experiments.run import run
from sensorium.serving.folding import compare_with_twin, fold_in
from sensorium.serving.recommend import models_that_answer_histories, recommend

from .conftest import N_ITEMS


@pytest.fixture(scope="module")
def taste(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs on a world of groups, where a history tells the taste."""
    from ..experiments.world import run_config, write_world

    folder = tmp_path_factory.mktemp("taste")
    world = write_world(folder / "world", users=120, items=60)
    models = {
        "bpr": {"name": "bpr", "dim": 8, "reg": 0.001},
        "lightgcn": {"name": "lightgcn", "dim": 8, "layers": 2},
        "dssm": {"name": "dssm", "dim": 8, "tower": "id+features"},
    }
    return {name: run(run_config(world.root, model=model), out=folder / name).path for name, model in models.items()}


def test_propagation_of_one_layer_is_its_formula(loaded: dict[str, LoadedRun]) -> None:
    one = loaded["lightgcn"]  # one layer: u = (0 + sum_i e_i / sqrt(n d_i)) / 2, d_i with the new user
    history = torch.tensor([1, 4, 4, 7])
    (vector,), items, method = fold_in(one, [history])
    assert method == "propagate"
    assert len(items) == N_ITEMS
    embedding = one.model.item_embedding.detach()
    distinct = [1, 4, 7]
    degree = one.view.item_count[distinct] + 1
    wanted = sum(embedding[item] / np.sqrt(3 * d) for item, d in zip(distinct, degree, strict=True)) / 2
    assert torch.allclose(vector, wanted, atol=1e-6)


def test_others_are_the_mean_of_their_items(loaded: dict[str, LoadedRun]) -> None:
    model = loaded["bpr"].model
    people, items, method = fold_in(loaded["bpr"], [torch.tensor([2, 5, 5]), torch.tensor([], dtype=torch.int64)])
    assert method == "average"
    with torch.no_grad():
        assert torch.equal(items, model.item_vectors())
    assert torch.allclose(people[0], items[[2, 5]].mean(0))
    assert not people[1].any()


@pytest.mark.parametrize("model", ["bpr", "lightgcn"])
def test_histories_are_answered_and_hidden(loaded: dict[str, LoadedRun], model: str) -> None:
    found = recommend(loaded[model], history=["i01", "i04"], k=N_ITEMS)
    listed = {item.item_id for item in found.answers[0].items}
    assert listed == {f"i{number:02d}" for number in range(N_ITEMS)} - {"i01", "i04"}
    assert any("folded in" in notice for notice in found.notices)


def test_two_towers_take_the_mean_of_their_items(taste: dict[str, Path]) -> None:
    """DSSM is no backbone, and has two vectors of one width: that of an item's id beside that of its content."""
    loaded = load_run(taste["dssm"])
    people, _, method = fold_in(loaded, [torch.tensor([2, 5, 5])])
    assert method == "average"
    assert people.shape == (1, 16)
    with torch.no_grad():
        assert torch.allclose(people[0], loaded.model.item_vectors()[[2, 5]].mean(0))
    assert "dssm" in models_that_answer_histories()
    ids = loaded.dataset.item_ids().to_list()
    found = recommend(loaded, history=[ids[2], ids[5]], k=60)
    assert {item.item_id for item in found.answers[0].items} == set(ids) - {ids[2], ids[5]}
    assert any("folded in (average)" in notice for notice in found.notices)


@pytest.mark.parametrize("model", ["bpr", "lightgcn", "dssm"])
def test_folded_lists_are_nearer_to_the_twin_than_those_of_others(
    taste: dict[str, Path], model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compare_with_twin(taste[model], users=40, k=10)
    assert found.overlap.mean > found.by_chance.mean + 0.1
    assert found.above_chance.mean == pytest.approx(found.overlap.mean - found.by_chance.mean)
    for part in (found.overlap, found.by_chance, found.above_chance):
        assert part.low < part.mean < part.high
    assert found.above_chance.low > 0
    assert main(["fold-in", str(taste[model]), "--users", "5", "-k", "5"]) == 0
    said = capsys.readouterr().out
    assert "5 users were left out of training and folded in" in said
    assert len(re.findall(r"\.\d{3} \[-?\d\.\d{3}, \d\.\d{3}\]", said)) == 3  # the twin, another user, the difference


class Alike(torch.nn.Module):
    """A model to whom all users are one."""

    query_kind = "user"

    def query_vectors(self, queries: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(queries), 1)

    def item_vectors(self) -> torch.Tensor:
        return torch.arange(1.0, N_ITEMS + 1).unsqueeze(1)


def test_another_user_s_list_ranks_the_same_items(
    loaded: dict[str, LoadedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where everybody is answered alike, chance is all of it: no list holds what the other could not."""
    monkeypatch.setattr("sensorium.serving.folding._trained_without", lambda run, users: run)
    found = compare_with_twin(replace(loaded["bpr"], model=Alike()), users=10, k=2)
    assert (found.overlap.mean, found.by_chance.mean, found.above_chance.mean) == (1, 1, 0)


class Lopsided(torch.nn.Module):
    """A model whose vectors of users are wider than those of items."""

    query_kind = "user"

    def query_vectors(self, queries: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(queries), 3)

    def item_vectors(self) -> torch.Tensor:
        return torch.ones(N_ITEMS, 2)


def test_refusals(loaded: dict[str, LoadedRun]) -> None:
    for model in ("itemknn", "popularity"):
        with pytest.raises(ConfigError, match=f"'{model}' cannot fold in: it answers histories itself"):
            fold_in(loaded[model], [torch.tensor([1])])
        with pytest.raises(ConfigError, match="cannot fold in"):
            compare_with_twin(loaded[model], users=5)
    with pytest.raises(ConfigError, match="it has no vectors of users and items"):
        fold_in(replace(loaded["bpr"], model=torch.nn.Linear(1, 1)), [torch.tensor([1])])
    lopsided = replace(loaded["bpr"], model=Lopsided())
    with pytest.raises(ConfigError, match="a vector of a user has 3 numbers and one of an item 2"):
        fold_in(lopsided, [torch.tensor([1])])
    with pytest.raises(ConfigError, match="choose 2 to"):
        compare_with_twin(loaded["bpr"], users=30)
