from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from sensorium.recommenders.base import scores
from sensorium.recommenders.collaborative.bm3 import BM3
from sensorium.testing import tiny_view

from .dense import adjacency, content, first_batch, propagated

VIEW = tiny_view()


def filled(model: BM3) -> BM3:
    """The model with biases that are not zero."""
    with torch.no_grad():
        for layer in (model.predictor, *model.projections):
            layer.bias.normal_()
    return model.eval()


def dense_nodes(model: BM3, layers: int) -> tuple[Tensor, Tensor]:
    embeddings = torch.cat([model.user_embedding, model.item_embedding]).double()
    nodes = propagated(adjacency(VIEW), embeddings, layers)
    return nodes[: VIEW.n_users], nodes[VIEW.n_users :] + model.item_embedding.double()


def layer(module: torch.nn.Linear, rows: Tensor) -> Tensor:
    return rows @ module.weight.double().T + module.bias.double()


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_scores_and_taps_equal_the_formula(layers: int) -> None:
    """<h(u), h(i)>, and z^m = W_m x^m + c_m."""
    model = filled(BM3(VIEW, BM3.Config(dim=6, layers=layers)))
    user, item = dense_nodes(model, layers)
    wanted = layer(model.predictor, user) @ layer(model.predictor, item).T
    with torch.no_grad():
        assert torch.allclose(scores(model, torch.arange(VIEW.n_users)).double(), wanted, atol=1e-5)
        modal = model.represent().item_modal
    for (name, x), projection in zip(content(VIEW).items(), model.projections, strict=True):
        assert torch.allclose(modal[name].double(), layer(projection, x), atol=1e-5)


@pytest.mark.parametrize("modalities", [("text",), ("text", "image", "audio")])
def test_loss_and_gradients_equal_the_formula(modalities: tuple[str, ...]) -> None:
    """Without dropout, for one and three modalities; nothing flows into the copies that are predicted."""
    view = tiny_view(modalities=modalities)
    model = filled(BM3(view, BM3.Config(dim=6, layers=2, dropout=0.0, reg=0.3, cl=1.5)))
    weight = torch.rand(24, generator=torch.Generator().manual_seed(0)) * 2
    batch = first_batch(view, weight=weight)
    users, items = dense_nodes(model, 2)
    user, item = users[batch.user], items[batch.pos]

    def away(one: Tensor, other: Tensor) -> Tensor:
        return 1 - cosine_similarity(one, other.detach())

    def h(rows: Tensor) -> Tensor:
        return layer(model.predictor, rows)

    pairs = away(h(user), item) + away(h(item), user)
    alike = torch.zeros((), dtype=torch.float64)
    for x, projection in zip(content(view).values(), model.projections, strict=True):
        z = layer(projection, x)[batch.pos]
        alike = alike + away(h(z), item).mean() + away(h(z), z).mean()
    wanted = {
        "ranking": (weight.double() * pairs).mean(),
        "reg": 0.3 * (users.norm() + items.norm()) / view.n_items,
        "content": 1.5 * alike,
    }
    terms = model.loss(batch)
    assert terms.keys() == wanted.keys()
    for name, value in wanted.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-5)
    parameters = list(model.parameters())
    found = torch.autograd.grad(sum(terms.values()), parameters)
    for gradient, other in zip(found, torch.autograd.grad(sum(wanted.values()), parameters), strict=True):
        assert torch.allclose(gradient, other, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "trained"),
    [
        ({}, False),
        ({"protocol": "mmrec"}, True),
        ({"train_features": True}, True),
        ({"protocol": "mmrec", "train_features": False}, False),
    ],
)
def test_features_are_trained_under_mmrec_or_where_asked(config: dict[str, object], trained: bool) -> None:
    model = BM3(VIEW, BM3.Config.model_validate(config))
    assert ("content.values" in dict(model.named_parameters())) == trained
    gradient = torch.autograd.grad(model.loss(first_batch(VIEW))["content"], model.content.values) if trained else None
    assert gradient is None or gradient[0].any()


def test_negatives_are_not_read() -> None:
    model, batch = BM3(VIEW, BM3.Config(dim=6)), first_batch(VIEW)
    torch.manual_seed(0)
    before = model.loss(batch)
    batch.neg = batch.neg.flip(0)
    torch.manual_seed(0)
    assert all(torch.equal(value, before[name]) for name, value in model.loss(batch).items())
    assert model.pointwise
