from __future__ import annotations

import numpy as np
import torch

from sensorium.recommenders.base import scores
from sensorium.recommenders.collaborative.popularity import Popularity
from sensorium.testing import tiny_view


def test_scores_are_counts_of_train_rows() -> None:
    view = tiny_view()
    model = Popularity(view, Popularity.Config())
    count = [int((view.item == item).sum()) for item in range(view.n_items)]
    assert scores(model, torch.tensor([0, 5])).tolist() == [count, count]
    assert count[-1] == 0


def test_a_history_changes_nothing() -> None:
    model = Popularity(tiny_view(), Popularity.Config())
    found = model.score_history([torch.tensor([1]), torch.tensor([], dtype=torch.int64)])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], scores(model, torch.tensor([0]))[0])


def test_complete_once_built() -> None:
    model = Popularity(tiny_view(), Popularity.Config())
    assert model.phases() == []
    assert np.array_equal(model.state_dict()["count"].numpy(), tiny_view().item_count)
