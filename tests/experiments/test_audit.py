"""The leak audit passes honest models and names a model that reads test rows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sensorium.core.registry import registered
from sensorium.core.seeds import numpy_generator
from sensorium.data.dataset import Dataset
from sensorium.data.splits import TEST, make_split
from sensorium.data.view import TrainView
from sensorium.experiments.audit import audit
from sensorium.experiments.setup import set_up
from sensorium.experiments.variants import write_variant
from sensorium.recommenders.base import ModelInfo, Recommender
from sensorium.training.protocols import Phase

from .world import run_config, write_world

TRAINING = {"epochs": 4, "batch_size": 256, "optimizer": {"lr": 0.02}, "validate_every": 2, "device": "cpu"}


class ReadsTestRows(Recommender):
    """A cheat: it finds the data set behind the lazy features, opens its test rows, and recommends them."""

    info = ModelInfo(summary="reads test rows", citation="none", features="optional", trained=False)

    def __init__(self, view: TrainView, config: Recommender.Config) -> None:
        super().__init__(view, config)
        dataset: Dataset = view.features._dataset  # type: ignore[attr-defined]
        rows = make_split(dataset, "column", seed=0).part(TEST)
        known = torch.zeros(view.n_users, view.n_items)
        known[rows.user, rows.item] = 1
        self.register_buffer("known", known)

    def phases(self) -> list[Phase]:
        return []

    def query_vectors(self, queries: Tensor) -> Tensor:
        return self.known[queries]

    def item_vectors(self) -> Tensor:
        return torch.eye(self.n_items)


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_world(tmp_path_factory.mktemp("larger") / "world", users=300, items=120, rows=14)


@pytest.mark.parametrize("model", ["popularity", "itemknn", "bpr", "vbpr"])
def test_honest_models_pass(larger: Dataset, model: str):
    result = audit(run_config(larger.root, model=model, training=TRAINING))
    assert result.passed, result.lines()
    assert [check.name for check in result.checks] == [
        "permuted items",
        "uniform items",
        "test rows replaced",
        "valid rows replaced",
    ]
    assert all(check.passed for check in result.checks)


def test_a_model_that_reads_test_rows_fails_every_check(larger: Dataset):
    with registered("sensorium.recommenders", "cheat", ReadsTestRows):
        result = audit(run_config(larger.root, model="cheat", training=TRAINING))
    assert not result.passed
    permuted, uniform, replaced, valid = result.checks
    assert (permuted.passed, uniform.passed, replaced.passed, valid.passed) == (False, False, False, True)
    for check in (permuted, uniform):
        assert check.difference is not None
        assert check.se is not None
        assert check.difference > 3 * check.se
        assert "cheat has recall@20 1.0000" in check.sentence
        assert f"SE {check.se:.4f}" in check.sentence
    assert "'known' of its weights changed" in replaced.sentence
    assert result.lines()[0].startswith("FAILED  permuted items")


def test_under_a_split_by_time_the_ceiling_is_shown_and_chance_decides(tmp_path: Path):
    world = write_world(tmp_path / "world", users=150, time=True)
    result = audit(run_config(world.root, model="itemknn"), overrides=["data.split=leave_last_out"])
    assert [check.passed for check in result.checks] == [None, True, True, True]
    assert result.passed
    assert "decides nothing" in result.checks[0].sentence


def test_the_data_set_is_left_alone(larger: Dataset):
    before = sorted(str(path.relative_to(larger.root)) for path in larger.root.rglob("*") if "splits" not in path.parts)
    audit(run_config(larger.root, model="popularity"))
    after = sorted(str(path.relative_to(larger.root)) for path in larger.root.rglob("*") if "splits" not in path.parts)
    assert after == before


def test_a_variant_is_the_same_data_with_other_items(larger: Dataset, tmp_path: Path):
    split = make_split(larger, "random_per_user", seed=0)
    item = numpy_generator(0, "test").permutation(split.n_items)[split.item]
    variant = write_variant(larger, split, item, tmp_path / "variant")
    again = make_split(variant, "column", seed=0)
    assert np.array_equal(again.label, split.label)
    assert np.array_equal(again.user, split.user)
    assert np.array_equal(again.item, item)
    assert np.array_equal(variant.features("text").x, larger.features("text").x)
    assert variant.item_ids().equals(larger.item_ids())


def test_models_are_trained_as_configured(larger: Dataset, monkeypatch: pytest.MonkeyPatch):
    """A history at test holds validation rows too; every trained variant has the configured model and schedule."""
    seen = []

    def spy(config: object, *arguments: object) -> object:
        seen.append(config)
        return set_up(config, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("sensorium.experiments.audit.set_up", spy)
    audit(run_config(larger.root, model={"name": "bpr", "dim": 4}, training=TRAINING))
    models = [config.model.name for config in seen]
    assert models == ["bpr", "popularity", "bpr", "bpr", "bpr", "bpr"]
    assert {config.model.config.dim for config in seen if config.model.name == "bpr"} == {4}
    assert [config.training.epochs for config in seen] == [4, 4, 4, 2, 2, 2]
