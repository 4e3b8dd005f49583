from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sensorium.data.batches import PairBatches, Step
from sensorium.data.view import TrainView
from sensorium.nn import sparse
from sensorium.nn.losses import bpr, embedding_norm
from sensorium.recommenders.base import scores
from sensorium.recommenders.collaborative.bpr import BPR
from sensorium.recommenders.collaborative.lightgcn import LightGCN
from sensorium.testing import subject_of, tiny_view
from sensorium.testing.data import view_of_rows

FIRST = Step(seed=0, phase="main", epoch=0, index=0)


def dense_adjacency(view: TrainView, weight: Tensor | None = None) -> Tensor:
    """Â by its definition, dense, in float64."""
    nodes = view.n_users + view.n_items
    matrix = torch.zeros(nodes, nodes, dtype=torch.float64)
    values = torch.ones(len(view.user)) if weight is None else weight
    user, item = torch.from_numpy(view.user), torch.from_numpy(view.item) + view.n_users
    matrix[user, item] = values.double()
    matrix[item, user] = values.double()
    scale = (matrix.sum(1) + 1e-7).rsqrt()
    return scale[:, None] * matrix * scale


def dense_vectors(model: LightGCN, adjacency: Tensor) -> Tensor:
    layer = torch.cat([model.user_embedding, model.item_embedding]).double()
    layers = [layer]
    for _ in range(model.config.layers):
        layers.append(adjacency @ layers[-1])
    return torch.stack(layers).mean(0)


@pytest.mark.parametrize("layers", [0, 1, 2, 4])
def test_vectors_and_gradients_equal_a_dense_reference(layers: int) -> None:
    """The definition written out, the loss of a batch included."""
    view = tiny_view()
    model = LightGCN(view, LightGCN.Config(dim=8, layers=layers, reg=0.1))
    vectors = dense_vectors(model, dense_adjacency(view))
    found = model.represent()
    assert torch.allclose(torch.cat([found.user, found.item]).double(), vectors, atol=1e-5)
    assert not found.item_modal

    batch = PairBatches(view, batch_size=32).batch(FIRST)
    user, positive = vectors[batch.user], vectors[view.n_users + batch.pos]
    negative = vectors[view.n_users + batch.neg[:, 0]]
    before = (model.user_embedding[batch.user], model.item_embedding[batch.pos], model.item_embedding[batch.neg[:, 0]])
    wanted = bpr((user * positive).sum(1), (user * negative).sum(1)) + 0.1 * embedding_norm(*before, batch=32)
    parameters = [model.user_embedding, model.item_embedding]
    expected = torch.autograd.grad(wanted, parameters)
    terms = model.loss(batch)
    assert sum(terms.values()).item() == pytest.approx(wanted.item(), rel=1e-6)
    for gradient, other in zip(torch.autograd.grad(sum(terms.values()), parameters), expected, strict=True):
        assert torch.allclose(gradient, other, atol=1e-6)


def test_without_layers_it_is_matrix_factorisation() -> None:
    view = tiny_view()
    model, plain = LightGCN(view, LightGCN.Config(layers=0)), BPR(view, BPR.Config())
    plain.load_state_dict(model.state_dict())
    users = torch.arange(view.n_users)
    assert torch.equal(scores(model, users), scores(plain, users))


def test_edge_weights_are_the_entries_of_the_graph() -> None:
    view = tiny_view()
    model = LightGCN(view, LightGCN.Config(dim=8, layers=2)).eval()
    weight = torch.from_numpy(np.random.default_rng(0).random(len(view.user)).astype(np.float32))
    with torch.no_grad():
        before = model.item_vectors().clone()
        model.set_edge_weight(weight)
        after = model.item_vectors()
        wanted = dense_vectors(model, dense_adjacency(view, weight))[view.n_users :]
        assert torch.allclose(after.double(), wanted, atol=1e-5)
        assert not torch.allclose(after, before, atol=1e-3)
        model.set_edge_weight(None)
        assert torch.equal(model.item_vectors(), before)


def test_a_row_of_weight_zero_is_a_row_that_is_not_there() -> None:
    view = tiny_view()
    kept = np.arange(len(view.user)) % 5 != 0
    fewer = view_of_rows(view.user[kept].tolist(), view.item[kept].tolist(), users=view.n_users, items=view.n_items)
    model, other = LightGCN(view, LightGCN.Config()), LightGCN(fewer, LightGCN.Config())
    other.load_state_dict(model.state_dict())
    model.set_edge_weight(torch.from_numpy(kept.astype(np.float32)))
    users = torch.arange(view.n_users)
    assert torch.allclose(scores(model, users), scores(other, users), atol=1e-6)


def test_a_step_propagates_once_forwards_and_once_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    products = []
    plain = sparse.CompressedRows.times
    monkeypatch.setattr(
        sparse.CompressedRows, "times", lambda self, dense: products.append(dense.shape) or plain(self, dense)
    )
    view = tiny_view()
    model = LightGCN(view, LightGCN.Config(layers=3))
    terms = model.loss(PairBatches(view, batch_size=32).batch(FIRST))
    assert len(products) == 3
    sum(terms.values(), torch.zeros(())).backward()
    assert len(products) == 6


def test_an_evaluation_propagates_once(monkeypatch: pytest.MonkeyPatch) -> None:
    view = tiny_view()
    model = LightGCN(view, LightGCN.Config(layers=3)).eval()
    products = []
    plain = sparse.CompressedRows.times
    monkeypatch.setattr(
        sparse.CompressedRows, "times", lambda self, dense: products.append(dense.shape) or plain(self, dense)
    )
    with torch.no_grad():
        for user in range(5):
            scores(model, torch.tensor([user]))
    assert len(products) == 3


def test_a_user_who_has_everything() -> None:
    """TR-1: A has all three items, B has item 1, C has item 2."""
    view = view_of_rows([0, 0, 0, 1, 2], [0, 1, 2, 1, 2], users=3, items=3)
    model = subject_of(LightGCN).train(view, epochs=3)
    assert torch.isfinite(scores(model, torch.arange(3))).all()


def test_more_dimensions_than_data() -> None:
    """TR-4, first half: 10 users x 10 items on a diagonal, d = 15."""
    view = view_of_rows(range(10), range(10), users=10, items=10)
    model = subject_of(LightGCN, {"dim": 15}).train(view, epochs=20)
    assert torch.isfinite(scores(model, torch.arange(10))).all()
