"""Anchors: figures measured on the research sets, where these are at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from sensorium.core.seeds import catalogue_order
from sensorium.data.batches import PairBatches
from sensorium.data.catalogue import open_dataset
from sensorium.data.splits import make_split
from sensorium.data.view import TrainView, train_view
from sensorium.evaluation.ranking import evaluate
from sensorium.evaluation.selection import Selection
from sensorium.evaluation.tasks import RankingTask, ranking_task
from sensorium.recommenders.base import Recommender
from sensorium.recommenders.collaborative.contentknn import ContentKNN
from sensorium.recommenders.collaborative.itemknn import ItemKNN, nearest_neighbours
from sensorium.recommenders.collaborative.lightgcn import LightGCN
from sensorium.recommenders.collaborative.popularity import Popularity
from sensorium.training.config import OptimizerConfig, TrainingConfig
from sensorium.training.loop import train
from sensorium.training.protocols import TrainingData

Load = Callable[[str], tuple[TrainView, RankingTask]]

WITHOUT_TRAINING: list[tuple[str, Recommender.Config, type[Recommender], float]] = [
    ("lfm2k", Popularity.Config(), Popularity, 0.1221),
    ("lfm2k", ItemKNN.Config(), ItemKNN, 0.3944),
    ("lfm2k", ItemKNN.Config(shrink=10.0), ItemKNN, 0.3798),
    ("baby", Popularity.Config(), Popularity, 0.0447),
    ("baby", ItemKNN.Config(), ItemKNN, 0.0327),
    ("baby", ItemKNN.Config(shrink=10.0), ItemKNN, 0.0514),
    ("ml100k+", Popularity.Config(), Popularity, 0.1842),
    ("ml100k+", ItemKNN.Config(), ItemKNN, 0.3468),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def load(home: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.setenv("SENSORIUM_HOME", str(home))

    def load(name: str) -> tuple[TrainView, RankingTask]:
        dataset = open_dataset(name)
        # ml100k+ has no split of its own: the rule of docs/protocol.md, so another draw than the anchors'.
        split = make_split(dataset, "random_per_user" if name == "ml100k+" else "column", seed=0)
        return train_view(dataset, split), ranking_task(split, "test")

    return load


@pytest.mark.parametrize(("name", "config", "model", "anchor"), WITHOUT_TRAINING)
def test_models_without_training_reproduce_the_anchors(
    load: Load, name: str, config: Recommender.Config, model: type[Recommender], anchor: float
) -> None:
    """R@20 within .002 (ties), within .015 where the split is another draw."""
    view, task = load(name)
    found = evaluate(model(view, config), task, ks=[20], metrics=["recall"]).summary["recall@20"]
    assert found == pytest.approx(anchor, abs=0.015 if name == "ml100k+" else 0.002)


@pytest.mark.parametrize(
    ("name", "features", "center", "anchor"),
    [
        ("lfm2k", ["text"], True, 0.281),
        ("lfm2k", ["text"], False, 0.265),
        ("lfm2k", ["vggish"], True, 0.074),
        ("lfm2k", ["whisper"], True, 0.062),
        ("tiktok", ["image", "audio"], True, 0.024),
    ],
)
def test_content_neighbours_reproduce_the_anchors(
    load: Load, name: str, features: list[str], center: bool, anchor: float
) -> None:
    """R@20 within .0025 (ties, rounding). These figures were measured with eleven other items in a row."""
    view, task = load(name)
    model = ContentKNN(view, ContentKNN.Config(k=11, features=features, center=center))
    assert evaluate(model, task, ks=[20], metrics=["recall"]).summary["recall@20"] == pytest.approx(anchor, abs=0.0025)


def test_relabelling_real_items_keeps_every_neighbour(load: Load) -> None:
    """Relabelling, with ties at the cut: 200 of up to 1,400 neighbours are kept."""
    view, _ = load("lfm2k")
    order = catalogue_order(view.n_items, 0)
    moved = np.random.default_rng(0).permutation(view.n_items)
    carried = np.empty_like(order)
    carried[moved] = order
    before = nearest_neighbours(view.matrix, k=200, shrink=0.0, tie_order=order)
    relabelled = csr_matrix(view.matrix[:, np.argsort(moved)])
    after = nearest_neighbours(relabelled, k=200, shrink=0.0, tie_order=carried)
    span = [slice(before.neighbour_offset[i], before.neighbour_offset[i + 1]) for i in range(view.n_items)]
    for i, place in enumerate(moved):
        start = after.neighbour_offset[place]
        rows = slice(start, start + span[i].stop - span[i].start)
        assert np.array_equal(after.neighbour[rows], moved[before.neighbour[span[i]]])
        assert np.array_equal(after.similarity[rows], before.similarity[span[i]])


@pytest.mark.slow
def test_lightgcn_on_lfm2k(load: Load) -> None:
    """R@20 >= .39 with 2 layers, lr 5e-3, weight 1e-4 (.404 was measured, best near epoch 50)."""
    view, task = load("lfm2k")
    model = LightGCN(view, LightGCN.Config(layers=2, reg=1e-4))
    config = TrainingConfig(epochs=50, validate_every=50, optimizer=OptimizerConfig(lr=5e-3), device="cpu")
    data: TrainingData[LightGCN] = TrainingData(PairBatches(view, batch_size=2048), lambda _: {"last": 0.0})
    train(model, data, config, selection=Selection("last"), seed=0)
    assert evaluate(model, task, ks=[20], metrics=["recall"]).summary["recall@20"] >= 0.39
