from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from sensorium.recommenders.base import scores
from sensorium.recommenders.collaborative.selfcf import SELFCF
from sensorium.testing import tiny_view

from .dense import adjacency, first_batch, propagated


def filled(model: SELFCF) -> SELFCF:
    """The model with a bias that is not zero, in double precision where it is compared."""
    with torch.no_grad():
        model.predictor.bias.normal_()
    return model.eval()


def dense_nodes(model: SELFCF, layers: int) -> tuple[Tensor, Tensor]:
    embeddings = torch.cat([model.user_embedding, model.item_embedding]).double()
    nodes = propagated(adjacency(VIEW), embeddings, layers)
    return nodes[: VIEW.n_users], nodes[VIEW.n_users :]


def predicted(model: SELFCF, rows: Tensor) -> Tensor:
    return rows @ model.predictor.weight.double().T + model.predictor.bias.double()


VIEW = tiny_view(modalities=())


@pytest.mark.parametrize("layers", [1, 2])
def test_scores_are_the_two_terms(layers: int) -> None:
    """<h(u), i> + <u, h(i)>, written out with loops, from one dot product of vectors of twice the width."""
    model = filled(SELFCF(VIEW, SELFCF.Config(dim=6, layers=layers)))
    user, item = dense_nodes(model, layers)
    user_predicted, item_predicted = predicted(model, user), predicted(model, item)
    wanted = torch.zeros(VIEW.n_users, VIEW.n_items, dtype=torch.float64)
    for u in range(VIEW.n_users):
        for i in range(VIEW.n_items):
            wanted[u, i] = user_predicted[u] @ item[i] + user[u] @ item_predicted[i]
    with torch.no_grad():
        assert torch.allclose(scores(model, torch.arange(VIEW.n_users)).double(), wanted, atol=1e-5)
        found = model.represent()
    assert (found.user.shape, found.item.shape) == ((VIEW.n_users, 12), (VIEW.n_items, 12))
    assert not found.item_modal
    assert model.pointwise


def test_loss_and_gradients_equal_the_formula() -> None:
    """Without dropout; nothing flows into the copies that are predicted."""
    model = filled(SELFCF(VIEW, SELFCF.Config(dim=6, layers=1, dropout=0.0, reg=0.3)))
    weight = torch.rand(24, generator=torch.Generator().manual_seed(0)) * 2
    batch = first_batch(VIEW, weight=weight)
    nodes = dense_nodes(model, 1)
    user, item = nodes[0][batch.user], nodes[1][batch.pos]
    agreement = cosine_similarity(predicted(model, user), item.detach()) / 2
    agreement = agreement + cosine_similarity(predicted(model, item), user.detach()) / 2
    ranking = -(weight.double() * agreement).mean()
    reg = 0.3 * (user.square().sum() + item.square().sum()) / (2 * 24)
    terms = model.loss(batch)
    assert terms["ranking"].item() == pytest.approx(ranking.item(), rel=1e-5)
    assert terms["reg"].item() == pytest.approx(reg.item(), rel=1e-5)
    parameters = list(model.parameters())
    found = torch.autograd.grad(sum(terms.values()), parameters)
    for gradient, other in zip(found, torch.autograd.grad(ranking + reg, parameters), strict=True):
        assert torch.allclose(gradient, other, atol=1e-6)


def test_copies_are_damaged_in_training_and_negatives_are_not_read() -> None:
    model = SELFCF(VIEW, SELFCF.Config(dim=6))
    batch = first_batch(VIEW)
    torch.manual_seed(0)
    first, second = model.loss(batch)["ranking"], model.loss(batch)["ranking"]
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    batch.neg = batch.neg.flip(0)
    assert torch.equal(model.loss(batch)["ranking"], first)
