from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import leaky_relu

from sensorium.core.errors import ConfigError
from sensorium.core.seeds import catalogue_order
from sensorium.nn.item_graphs import knn_graph
from sensorium.nn.losses import bpr
from sensorium.recommenders.base import scores
from sensorium.recommenders.collaborative.dragon import DRAGON, user_graph
from sensorium.testing import tiny_view

from .dense import adjacency, content, first_batch, unit

VIEW = tiny_view()


def users_by_loops(had: npt.NDArray[np.float64], neighbours: int, order: npt.NDArray[np.int64]) -> Tensor:
    """T by its definition: a softmax over the users with the most items in common."""
    n_users = len(had)
    result = torch.zeros(n_users, n_users, dtype=torch.float64)
    for u in range(n_users):
        common = {v: float(had[u] @ had[v]) for v in range(n_users) if v != u and had[u] @ had[v] > 0}
        chosen = sorted(common, key=lambda v: (-common[v], order[v]))[:neighbours]
        if chosen:
            result[u, chosen] = torch.softmax(torch.tensor([common[v] for v in chosen], dtype=torch.float64), 0)
    return result


def dense_vectors(model: DRAGON, mixture: tuple[float, float], neighbours: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Users, items and the item part of each view, by their definition."""
    matrix, order = adjacency(VIEW), catalogue_order(VIEW.n_items, VIEW.seed)
    users, items, alike = [], [], torch.zeros(VIEW.n_items, VIEW.n_items, dtype=torch.float64)
    for place, (name, x) in enumerate(content(VIEW).items()):
        inner, outer = model.inner[place], model.outer[place]
        hidden = leaky_relu(x @ inner.weight.double().T + inner.bias.double())
        feature = hidden @ outer.weight.double().T + outer.bias.double()
        start = unit(torch.cat([model.preferences[place].double(), feature]))
        nodes = start + matrix @ start + matrix @ matrix @ start
        users.append(model.shares[:, place : place + 1].double() * nodes[: VIEW.n_users])
        items.append(nodes[VIEW.n_users :])
        raw, present = VIEW.features[name]
        center = raw[present & (VIEW.item_count > 0)].mean(0)
        graph = knn_graph(raw, present, 10, "binary", center=center, order=order)
        alike += mixture[place] * torch.from_numpy(graph.toarray()).double()
    user, item = torch.cat(users, dim=1), torch.cat(items, dim=1)
    also = users_by_loops(VIEW.matrix.toarray().astype(float), neighbours, model._order)
    return user + also @ user, item + alike @ item, items


def filled(model: DRAGON) -> DRAGON:
    with torch.no_grad():
        for layer in (*model.inner, *model.outer):
            layer.bias.normal_()
    return model.eval()


@pytest.mark.parametrize(("weights", "neighbours"), [({}, 40), ({"text": 0.9, "image": 0.1}, 3)])
def test_scores_and_taps_equal_the_formula(weights: dict[str, float], neighbours: int) -> None:
    config = DRAGON.Config(dim=6, modality_weights=weights, user_neighbours=neighbours)
    model = filled(DRAGON(VIEW, config))
    mixture = (weights.get("text", 0.5), weights.get("image", 0.5))
    with torch.no_grad():
        user, item, taps = dense_vectors(model, mixture, neighbours)
        assert torch.allclose(scores(model, torch.arange(VIEW.n_users)).double(), user @ item.T, atol=1e-5)
        found = model.represent()
    assert found.item.shape == (VIEW.n_items, 12)
    for name, tap in zip(("text", "image"), taps, strict=True):
        assert torch.allclose(found.item_modal[name].double(), tap, atol=1e-5)


def test_loss_and_gradients_equal_the_formula() -> None:
    model = filled(DRAGON(VIEW, DRAGON.Config(dim=6, reg=0.3)))
    weight = torch.rand(24, generator=torch.Generator().manual_seed(0)) * 2
    batch = first_batch(VIEW, weight=weight)
    user, item, _ = dense_vectors(model, (0.5, 0.5), 40)
    u, i, j = user[batch.user], item[batch.pos], item[batch.neg[:, 0]]
    ranking = bpr((u * i).sum(1), (u * j).sum(1), weight.double())
    reg = sum(preference[batch.user].square().mean() for preference in model.preferences)
    reg = 0.3 * (reg + model.shares[batch.user].square().mean())
    terms = model.loss(batch)
    assert terms["ranking"].item() == pytest.approx(ranking.item(), rel=1e-5)
    assert terms["reg"].item() == pytest.approx(reg.item(), rel=1e-5)
    parameters = list(model.parameters())
    found = torch.autograd.grad(sum(terms.values()), parameters)
    for gradient, other in zip(found, torch.autograd.grad(ranking + reg, parameters), strict=True):
        assert torch.allclose(gradient, other, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    users=st.integers(1, 12),
    items=st.integers(1, 8),
    neighbours=st.integers(1, 4),
    weighted=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_the_user_graph_equals_its_definition(
    users: int, items: int, neighbours: int, weighted: bool, seed: int
) -> None:
    """Ties at the cut, users who share nothing, and weighted rows included."""
    draw = np.random.default_rng(seed)
    had = (draw.random((users, items)) < 0.4).astype(np.float64)
    if weighted:
        had *= draw.integers(0, 4, size=had.shape) / 4
    order = draw.permutation(users)
    found = user_graph(csr_matrix(had), neighbours, order)
    assert np.allclose(found.toarray(), users_by_loops(had, neighbours, order).numpy(), atol=1e-6)


def test_many_common_items_do_not_overflow() -> None:
    """exp(400) is no number: the largest count of a row is taken off first."""
    found = user_graph(csr_matrix(np.ones((3, 400), dtype=np.float32)), 2, np.arange(3)).toarray()
    assert np.allclose(found, (1 - np.eye(3)) / 2)


def test_a_graph_of_many_users_needs_no_matrix_of_all_pairs() -> None:
    """200,000 users: a dense matrix would take 160 GB."""
    draw = np.random.default_rng(0)
    rows, columns = np.repeat(np.arange(50_000), 2), draw.integers(10_000, size=100_000)
    found = user_graph(csr_matrix((np.ones(100_000), (rows, columns)), (50_000, 10_000)), 40, np.arange(50_000))
    assert 0 < found.nnz <= 50_000 * 40


def test_weights_of_modalities_that_are_not_read_are_refused() -> None:
    with pytest.raises(ConfigError, match="modality_weights"):
        DRAGON(VIEW, DRAGON.Config(modality_weights={"sound": 1.0}))


def test_shares_start_near_equal_and_sum_to_one() -> None:
    shares = DRAGON(VIEW, DRAGON.Config(dim=6)).shares.detach()
    assert torch.allclose(shares.sum(1), torch.ones(VIEW.n_users))
    assert float((shares - 0.5).abs().max()) < 0.25
