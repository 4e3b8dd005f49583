from __future__ import annotations

import pytest
import torch
from pydantic import Field
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.recommenders.base import (
    AnswersHistory,
    Backbone,
    ModelInfo,
    Recommender,
    Representations,
    known_ids,
    scores,
)
from sensorium.testing import tiny_view


class Counting(Backbone):
    """A backbone that counts how often its representations are computed."""

    info = ModelInfo(summary="counts", citation="none")

    class Config(Recommender.Config):
        dim: int = Field(4, description="width")

    config: Config

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config)
        self.user = self.id_embedding("user", view.user_count, config.dim)
        self.item = self.id_embedding("item", view.item_count, config.dim)
        self.calls = 0

    def represent(self) -> Representations:
        self.calls += 1
        return Representations(self.user * 1, self.item * 1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"ranking": -(self.user[batch.user] * self.item[batch.pos]).sum(-1).mean()}


class Scoring(Recommender):
    """A recommender without vectors."""

    info = ModelInfo(summary="scores", citation="none", trained=False)

    def score(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        full = queries[:, None] * 100.0 + torch.arange(self.n_items)
        return full if items is None else full[:, items]


@pytest.fixture
def view() -> TrainView:
    return tiny_view()


def test_initial_values_do_not_depend_on_what_was_built_before(view: TrainView) -> None:
    first = Counting(view, Counting.Config())
    torch.rand(100)
    Scoring(view, Scoring.Config())
    second = Counting(view, Counting.Config())
    assert torch.equal(first.user, second.user)
    assert not torch.equal(first.user[: view.n_items], first.item)


def test_another_seed_gives_other_initial_values(view: TrainView) -> None:
    other = Counting(tiny_view(seed=1), Counting.Config())
    assert not torch.equal(Counting(view, Counting.Config()).user, other.user)


def test_embeddings_are_xavier_uniform(view: TrainView) -> None:
    values = Counting(view, Counting.Config(dim=400)).user
    bound = (6 / (view.n_users + 400)) ** 0.5
    assert float(values.detach().abs().max()) <= bound
    assert float(values.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.05)


def test_linear_layers_repeat_too(view: TrainView) -> None:
    model = Counting(view, Counting.Config())
    first, second = model.linear("a", 5, 3), model.linear("a", 5, 3)
    assert torch.equal(first.weight, second.weight)
    assert not first.bias.any()
    assert not torch.equal(first.weight, model.linear("b", 5, 3).weight)


def test_one_phase_of_all_parameters_by_default(view: TrainView) -> None:
    model = Counting(view, Counting.Config())
    (phase,) = model.phases()
    assert {id(parameter) for parameter in phase.parameters} == {id(model.user), id(model.item)}
    assert phase.steps == "pass"


def test_representations_are_computed_once_per_evaluation(view: TrainView) -> None:
    model = Counting(view, Counting.Config()).eval()
    with torch.no_grad():
        for user in range(10):
            model.query_vectors(torch.tensor([user]))
        model.item_vectors()
    assert model.calls == 1


def test_nothing_is_remembered_where_gradients_are_wanted(view: TrainView) -> None:
    model = Counting(view, Counting.Config()).eval()
    with torch.no_grad():
        model.item_vectors()
    assert model.item_vectors().requires_grad
    model.train()
    with torch.no_grad():
        model.item_vectors()
        model.item_vectors()
    assert model.calls == 4


@pytest.mark.parametrize("fused", [True, False])
def test_training_between_two_evaluations_is_seen(view: TrainView, fused: bool) -> None:
    """Fused optimisers change parameters without raising their version: train() has to be enough."""
    model = Counting(view, Counting.Config()).eval()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=fused)
    with torch.no_grad():
        before = model.item_vectors().clone()
    model.train()
    (model.user.sum() + model.item.sum()).backward()
    optimizer.step()
    model.eval()
    with torch.no_grad():
        assert not torch.equal(model.item_vectors(), before)
        assert torch.equal(model.item_vectors(), model.item)


def test_a_loaded_state_is_seen(view: TrainView) -> None:
    model, other = Counting(view, Counting.Config()).eval(), Counting(tiny_view(seed=1), Counting.Config())
    with torch.no_grad():
        model.item_vectors()
        model.load_state_dict(other.state_dict())
        assert torch.equal(model.item_vectors(), other.item)


def test_scores_by_vectors_and_by_score(view: TrainView) -> None:
    vectors, scoring = Counting(view, Counting.Config()), Scoring(view, Scoring.Config())
    users, items = torch.tensor([3, 0]), torch.tensor([5, 2, 7])
    expected = vectors.user[users] @ vectors.item.T
    assert torch.allclose(scores(vectors, users), expected)
    assert torch.allclose(scores(vectors, users, items), expected[:, items])
    assert scores(scoring, users, items).tolist() == [[305, 302, 307], [5, 2, 7]]


def test_a_model_without_vectors_has_none(view: TrainView) -> None:
    """The evaluator chooses by `hasattr`: what is declared for types must not look like a method."""
    assert not hasattr(Scoring(view, Scoring.Config()), "query_vectors")
    assert not hasattr(Counting(view, Counting.Config()), "score")
    assert not isinstance(Scoring(view, Scoring.Config()), AnswersHistory)


@pytest.mark.parametrize("wrong", [-1, 43, 10**6])
def test_an_unknown_id_is_an_error(view: TrainView, wrong: int) -> None:
    """CS-1: a negative index must not answer for the last user."""
    model = Counting(view, Counting.Config()).eval()
    with pytest.raises(DataError, match=f"user {wrong} is unknown to this model: it knows the ids 0 to 42"):
        model.query_vectors(torch.tensor([0, wrong]))


def test_no_ids_are_all_known() -> None:
    nothing = torch.tensor([], dtype=torch.int64)
    assert known_ids(nothing, 0, "user") is nothing
