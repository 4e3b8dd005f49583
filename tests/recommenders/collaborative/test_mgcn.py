from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sensorium.recommenders.base import scores
from sensorium.recommenders.collaborative.content_views import upper_right
from sensorium.recommenders.collaborative.mgcn import MGCN
from sensorium.testing import tiny_view

from . import views
from .dense import adjacency, alike_items, first_batch

VIEW = tiny_view(modalities=("text", "image", "audio"))


def dense_parts(model: MGCN) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Behaviour and side of all nodes, and the views, by their definition; the model in double precision."""
    graphs = alike_items(VIEW, model.config.item_neighbours, "cosine").values()
    of_nodes = []
    for graph, gate, z in zip(graphs, model.gates, views.projected(model, VIEW), strict=True):
        gated = model.item_embedding * torch.sigmoid(z @ gate.weight.T + gate.bias)
        of_nodes.append(views.of_all_nodes(graph @ gated, VIEW))
    inner, query = model.attention[0], model.attention[2].weight[0]
    attention = torch.stack([torch.tanh(h @ inner.weight.T + inner.bias) @ query for h in of_nodes])
    share = attention.exp() / attention.exp().sum(0)
    common = sum(part[:, None] * h for part, h in zip(share, of_nodes, strict=True))
    before = views.behaviour(model, VIEW)
    special = sum(
        torch.sigmoid(before @ layer.weight.T + layer.bias) * (h - common)
        for layer, h in zip(model.preferences, of_nodes, strict=True)
    )
    return before, (special + common) / 4, of_nodes


CONFIG = MGCN.Config(dim=6, item_neighbours=4, reg=0.1, contrast=0.5)


def test_scores_and_taps_equal_the_formula() -> None:
    model = MGCN(VIEW, CONFIG).eval()
    found = scores(model, torch.arange(VIEW.n_users)).double()
    modal = model.represent().item_modal
    with torch.no_grad():
        before, side, of_nodes = dense_parts(model.double())
    user, item = (before + side).split([VIEW.n_users, VIEW.n_items])
    assert torch.allclose(found, user @ item.T, atol=1e-5)
    assert list(modal) == ["text", "image", "audio"]
    for vectors, nodes in zip(modal.values(), of_nodes, strict=True):
        assert torch.allclose(vectors.double(), nodes[VIEW.n_users :], atol=1e-5)


def test_loss_and_gradients_equal_the_formula() -> None:
    model = MGCN(VIEW, CONFIG)
    batch = first_batch(VIEW, 24, torch.rand(24))
    terms = model.loss(batch)
    names = [name for name, _ in model.named_parameters()]
    found = torch.autograd.grad(sum(terms.values()), list(model.parameters()))
    before, side, _ = dense_parts(model.double())
    wanted_terms = views.loss(model, VIEW, (before, side), batch)
    wanted = torch.autograd.grad(sum(wanted_terms.values()), list(model.parameters()))
    for name, value in wanted_terms.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-4), name
    for name, one, other in zip(names, found, wanted, strict=True):
        assert torch.allclose(one.double(), other, atol=1e-5), name


def test_the_block_of_users_and_items_follows_edge_weights() -> None:
    weight = torch.rand(len(VIEW.user))
    model = MGCN(VIEW, CONFIG)
    model.set_edge_weight(weight)
    wanted = adjacency(VIEW, weight)[: VIEW.n_users, VIEW.n_users :]
    assert torch.allclose((model._of_users @ torch.eye(VIEW.n_items)).double(), wanted, atol=1e-6)
    again = upper_right(model._adjacency, VIEW.n_users)
    assert torch.allclose((again.T @ torch.eye(VIEW.n_users)).double(), wanted.T, atol=1e-6)


def test_one_modality_has_nothing_special() -> None:
    """What all modalities share is then the one view itself: side = h / 2."""
    view = tiny_view(modalities=("text",))
    model = MGCN(view, CONFIG).eval()
    behaviour, nodes = model._nodes()
    assert torch.allclose(model.join([nodes], behaviour), nodes / 2, atol=1e-6)
