from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from sensorium.data.batches import PairBatches, Step
from sensorium.recommenders.base import scores
from sensorium.recommenders.collaborative.bpr import BPR
from sensorium.recommenders.collaborative.pairs import gather, gather_nodes
from sensorium.testing import subject_of, tiny_view
from sensorium.testing.data import view_of_rows

FIRST = Step(seed=0, phase="main", epoch=0, index=0)


@pytest.mark.parametrize("negatives", [1, 3])
def test_loss_is_the_formula(negatives: int) -> None:
    """The definition with loops over the rows."""
    view = tiny_view()
    model = BPR(view, BPR.Config(dim=8, reg=0.3))
    batch = PairBatches(view, batch_size=20, n_negatives=negatives).batch(FIRST)
    users, items = model.user_embedding.detach(), model.item_embedding.detach()
    ranking, squares = 0.0, [0.0, 0.0, 0.0]
    for user, positive, drawn in zip(batch.user.tolist(), batch.pos.tolist(), batch.neg.tolist(), strict=True):
        for negative in drawn:
            difference = float(users[user] @ items[positive] - users[user] @ items[negative])
            ranking += math.log1p(math.exp(-difference)) / negatives / 20
            squares[2] += float(items[negative].square().sum())
        squares[0] += float(users[user].square().sum())
        squares[1] += float(items[positive].square().sum())
    with torch.no_grad():
        terms = model.loss(batch)
    assert float(terms["ranking"]) == pytest.approx(ranking, rel=1e-5)
    assert float(terms["reg"]) == pytest.approx(0.3 * sum(map(math.sqrt, squares)) / 20, rel=1e-5)


def test_score_is_the_product_of_the_embeddings() -> None:
    model = BPR(tiny_view(), BPR.Config(dim=8))
    wanted = [
        [float(user @ item) for item in model.item_embedding.detach()] for user in model.user_embedding[:3].detach()
    ]
    assert torch.allclose(scores(model, torch.arange(3)), torch.tensor(wanted), atol=1e-6)


def test_rows_that_are_not_in_the_batch_have_no_gradient() -> None:
    view = tiny_view()
    model = BPR(view, BPR.Config(dim=8))
    batch = PairBatches(view, batch_size=4).batch(FIRST)
    sum(model.loss(batch).values(), torch.zeros(())).backward()
    assert model.user_embedding.grad is not None
    assert model.item_embedding.grad is not None
    touched_users = model.user_embedding.grad.abs().sum(1).nonzero().flatten()
    touched_items = model.item_embedding.grad.abs().sum(1).nonzero().flatten()
    assert touched_users.tolist() == sorted(set(batch.user.tolist()))
    assert touched_items.tolist() == sorted({*batch.pos.tolist(), *batch.neg.flatten().tolist()})


def test_gathers_equal_plain_indexing() -> None:
    view = tiny_view()
    batch = PairBatches(view, batch_size=10, n_negatives=2).batch(FIRST)
    users, items = torch.randn(view.n_users, 3), torch.randn(view.n_items, 3)
    for rows in (gather(users, items, batch), gather_nodes(torch.cat([users, items]), view.n_users, batch)):
        assert torch.equal(rows.user, users[batch.user])
        assert torch.equal(rows.positive, items[batch.pos])
        assert torch.equal(rows.negative, items[batch.neg])
        positive, negative = rows.scores()
        assert torch.allclose(positive, (users[batch.user] * items[batch.pos]).sum(1))
        assert torch.allclose(negative, torch.einsum("bd,bnd->bn", users[batch.user], items[batch.neg]), atol=1e-6)


def test_a_user_who_has_everything() -> None:
    """TR-1: A has all three items, B has item 1, C has item 2; three epochs end, and A can be scored."""
    view = view_of_rows([0, 0, 0, 1, 2], [0, 1, 2, 1, 2], users=3, items=3)
    assert PairBatches(view).skipped_rows == 3
    model = subject_of(BPR).train(view, epochs=3)
    assert torch.isfinite(scores(model, torch.arange(3))).all()


def test_more_dimensions_than_data() -> None:
    """TR-4, first half: 10 users x 10 items on a diagonal, d = 15."""
    view = view_of_rows(range(10), range(10), users=10, items=10)
    model = subject_of(BPR, {"dim": 15}).train(view, epochs=20)
    assert torch.isfinite(scores(model, torch.arange(10))).all()


def test_learns_a_diagonal() -> None:
    """Each user's one item ends above all others."""
    view = view_of_rows(range(10), range(10), users=10, items=10)
    model = subject_of(BPR, {"dim": 15, "reg": 0.0}).train(view, epochs=150)
    assert scores(model, torch.arange(10)).argmax(1).tolist() == list(range(10))


def test_weights_multiply_rows() -> None:
    view = tiny_view()
    model = BPR(view, BPR.Config(dim=8))
    batch = PairBatches(view, batch_size=6).batch(FIRST)
    batch.weight = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 1.0])
    rows = gather(model.user_embedding, model.item_embedding, batch)
    positive, negative = rows.scores()
    wanted = (batch.weight * functional.softplus(negative[:, 0] - positive)).sum() / 6
    assert torch.allclose(model.loss(batch)["ranking"], wanted)
