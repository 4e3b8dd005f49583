from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.seeds import catalogue_order
from sensorium.data.dataset import Features
from sensorium.data.view import TrainView
from sensorium.recommenders.base import AnswersHistory, scores
from sensorium.recommenders.collaborative.content import ItemContent, item_graphs
from sensorium.recommenders.collaborative.contentknn import ContentKNN
from sensorium.testing import tiny_view


def reference(view: TrainView, k: int, weights: dict[str, float], center: bool) -> npt.NDArray[np.float64]:
    """s [I, I] with loops over pairs of items."""
    moved, total = {}, sum(weights.values())
    for name in weights:
        x, present = view.features[name]
        middle = x[present & (view.item_count > 0)].mean(0) if center else 0
        moved[name] = x.astype(np.float64) - middle
    cosine = np.zeros((view.n_items, view.n_items))
    for i in range(view.n_items):
        for j in range(view.n_items):
            here = {name: weight / total for name, weight in weights.items()}
            has_i = {name: share for name, share in here.items() if view.features[name].present[i]}
            has_j = {name: share for name, share in here.items() if view.features[name].present[j]}
            if i == j or not has_i or not has_j:
                continue
            for name in has_i.keys() & has_j.keys():
                a, b = moved[name][i], moved[name][j]
                cosine[i, j] += here[name] * (a @ b) / np.linalg.norm(a) / np.linalg.norm(b)
            cosine[i, j] /= np.sqrt(sum(has_i.values()) * sum(has_j.values()))
    kept = np.zeros_like(cosine)
    for i in range(view.n_items):
        for j in np.argsort(-cosine[i])[:k]:
            kept[i, j] = max(cosine[i, j], 0)
    return kept


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("weights", [{"text": 1.0}, {"text": 3.0, "image": 1.0}, {"text": 1, "image": 1, "audio": 1}])
def test_scores_equal_the_definition(weights: dict[str, float], center: bool) -> None:
    """One, two and three modalities, a third of each missing."""
    view = tiny_view(modalities=("text", "image", "audio"), missing=0.3)
    config = ContentKNN.Config(k=4, features=list(weights), modality_weights=weights, center=center)
    model = ContentKNN(view, config)
    wanted = view.matrix.toarray() @ reference(view, 4, weights, center).T
    users, items = torch.tensor([7, 0, 42]), torch.tensor([3, 30])
    assert np.allclose(scores(model, users).numpy(), wanted[users], atol=1e-5)
    assert np.allclose(scores(model, users, items).numpy(), wanted[users][:, items], atol=1e-5)


def test_equal_weights_are_the_default() -> None:
    view = tiny_view()
    plain = ContentKNN(view, ContentKNN.Config())
    given = ContentKNN(view, ContentKNN.Config(modality_weights={"image": 2, "text": 2}))
    assert torch.equal(plain.similarity, given.similarity)
    assert len(plain.similarity) <= 10 * view.n_items


def test_equal_items_at_the_cut_are_taken_by_the_order_of_the_catalogue() -> None:
    """All contents point one way or the other: which of many equal neighbours are kept does not follow ids."""
    view = tiny_view()
    x = np.where(np.arange(31)[:, None] % 2 == 0, 1.0, -1.0).astype(np.float32) * np.ones((31, 3), np.float32)
    view = replace(view, features={"text": Features(x, np.ones(31, dtype=bool))})
    model = ContentKNN(view, ContentKNN.Config(k=5, center=False))
    place = catalogue_order(31, view.seed)
    for item in range(31):
        start, stop = model.neighbour_offset[item : item + 2].tolist()
        same = [other for other in range(31) if other != item and other % 2 == item % 2]
        assert set(model.neighbour[start:stop].tolist()) == set(sorted(same, key=lambda other: place[other])[:5])


def test_items_without_train_rows_are_found_by_their_content() -> None:
    """A new item like an item that the user had comes before one that is not."""
    x = np.eye(4, dtype=np.float32)[[0, 1, 0, 1, 2]] + np.float32(0.01)
    view = replace(
        tiny_view(users=3, items=5, rows_per_user=2),
        user=np.array([0, 1, 2]),
        item=np.array([0, 1, 4]),
        features={"text": Features(x, np.ones(5, dtype=bool))},
    )
    found = scores(ContentKNN(view, ContentKNN.Config(k=2)), torch.arange(2))
    assert found[0, 2] > found[0, 3]
    assert found[1, 3] > found[1, 2]


def test_an_item_that_dwarfs_the_others_leaves_twins_neighbours() -> None:
    """MM-3: here and in the graphs of alike items, a vector a million times as long is no part of the mean."""
    x = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    x[7] *= 1e6
    x[11] = x[12]
    every = np.arange(20)
    view = replace(
        tiny_view(users=20, items=20, rows_per_user=2),
        user=every,
        item=every,
        features={"image": Features(x, np.ones(20, dtype=bool))},
    )
    found = scores(ContentKNN(view, ContentKNN.Config(k=3)), torch.arange(20))
    assert found.isfinite().all()
    assert found[11].argmax() == 12
    assert found[12].argmax() == 11
    (graph,) = item_graphs(view, ItemContent(view, None, model="FREEDOM"), 4, "cosine")
    near = graph.toarray()
    np.fill_diagonal(near, 0)
    assert near[11].argmax() == 12
    assert near[12].argmax() == 11
    assert (near[:, 7] > 0).sum() < 10


def test_a_users_own_items_as_a_history_give_the_users_scores() -> None:
    view = tiny_view()
    model = ContentKNN(view, ContentKNN.Config(k=4))
    assert isinstance(model, AnswersHistory)
    items = torch.from_numpy(view.item[view.user == 7])
    assert torch.equal(model.score_history([items, items.flip(0)]), scores(model, torch.tensor([7, 7])))


def test_wrong_weights_and_missing_features_are_refused() -> None:
    with pytest.raises(ConfigError, match="modality_weights names sound and the model reads text, image"):
        ContentKNN(tiny_view(), ContentKNN.Config(modality_weights={"sound": 1.0}))
    with pytest.raises(ConfigError, match="must be above 0"):
        ContentKNN(tiny_view(), ContentKNN.Config(modality_weights={"text": 1.0, "image": 0.0}))
    with pytest.raises(DataError, match=r"contentknn needs item features.*`sensorium encode"):
        ContentKNN(tiny_view(modalities=()), ContentKNN.Config())
