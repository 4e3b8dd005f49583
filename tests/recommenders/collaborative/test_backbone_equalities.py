"""What wrappers lean on, swept over every registered backbone: exact equalities of weights, graphs and taps.

The contract (`sensorium.testing`) holds what any model must keep, third parties' too; it is swept in tests/testing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sensorium.core import registry
from sensorium.core.seeds import numpy_generator
from sensorium.recommenders.base import Backbone
from sensorium.testing import Subject, subject_of, tiny_data
from sensorium.testing.subject import all_scores, loss_terms, terms_and_gradients

GROUP = "sensorium.recommenders"
MODALITIES = ("text", "image", "audio")


def trained_backbones() -> list[str]:
    """Names of the registered models that wrappers can hold and train."""
    found = {name: registry.get(GROUP, name) for name in registry.names(GROUP)}
    return [name for name, model in found.items() if issubclass(model, Backbone) and model.info.trained]


BACKBONES = trained_backbones()
WRAPPERS = {"guider", "fmmrec"}
PLAIN = [name for name in BACKBONES if name not in WRAPPERS]
OF_CONTENT = [name for name in PLAIN if registry.get(GROUP, name).info.features == "required"]
OF_IDS = [name for name in PLAIN if registry.get(GROUP, name).info.features == "none"]


def subject(name: str, count: int = 2) -> Subject:
    """The model with vectors of 8, on tiny data of so many modalities."""
    return subject_of(name, {"dim": 8}, tiny_data(modalities=MODALITIES[:count]).view)


def backbone(of: Subject) -> Backbone:
    model = of.train()
    assert isinstance(model, Backbone)
    return model


def test_the_sweep_sees_the_family() -> None:
    assert {"bpr", "lightgcn", "selfcf"} <= set(OF_IDS)
    assert {"vbpr", "bm3", "dragon", "lgmrec", "freedom", "lattice", "mgcn", "smore"} <= set(OF_CONTENT)


@pytest.mark.parametrize("name", PLAIN)
def test_weights_of_one_change_no_bit(name: str) -> None:
    """Of any term of the loss, of any gradient, of any score: in the batch, in the graph, and in both."""
    of = subject(name)
    model, batch = backbone(of), of.batch()
    scores, (terms, gradients) = all_scores(model), terms_and_gradients(model, batch)
    for edges in (None, torch.ones(len(of.view.user))):
        model.set_edge_weight(edges)
        assert torch.equal(all_scores(model), scores)
        for weight in (None, torch.ones(len(batch))):
            found, moved = terms_and_gradients(model, replace(batch, weight=weight))
            assert all(torch.equal(value, terms[part]) for part, value in found.items())
            assert all(torch.equal(value, gradients[part]) for part, value in moved.items())


@pytest.mark.parametrize("name", PLAIN)
def test_weights_multiply_the_ranking_term_alone_row_by_row(name: str) -> None:
    """The term is linear in the weights, with the rows' own terms as coefficients; the others do not know them."""
    of = subject(name)
    model, batch = backbone(of), of.batch()
    plain = loss_terms(model, batch)
    weight = torch.from_numpy(numpy_generator(0, "weights").random(len(batch)).astype(np.float32))
    found = loss_terms(model, replace(batch, weight=weight))
    for part in plain.keys() - {"ranking"}:
        assert torch.equal(found[part], plain[part])
    # Half the rows and the other half add up to all of them, in any proportion.
    first = (torch.arange(len(batch)) % 2 == 0).float()
    halves = [loss_terms(model, replace(batch, weight=half))["ranking"] for half in (first, 1 - first)]
    assert torch.allclose(sum(halves), plain["ranking"], atol=1e-6)
    mixed = loss_terms(model, replace(batch, weight=0.5 * first + 1.5 * (1 - first)))["ranking"]
    assert torch.allclose(mixed, 0.5 * halves[0] + 1.5 * halves[1], atol=1e-6)
    assert torch.allclose(loss_terms(model, replace(batch, weight=2 * weight))["ranking"], 2 * found["ranking"])


@pytest.mark.parametrize("name", PLAIN)
def test_the_ranking_term_of_one_row_is_that_row(name: str) -> None:
    """Row 5 alone, by its weight: any other rows in the batch leave value and gradient of the term as they are."""
    of = subject(name)
    model, batch = backbone(of), of.batch()
    weight = torch.zeros(len(batch))
    weight[5] = len(batch)
    value, gradient = terms_and_gradients(model, replace(batch, weight=weight), only="ranking")
    order = torch.arange(len(batch)).roll(7)
    order[5] = 5
    shuffled = replace(batch, user=batch.user[order], pos=batch.pos[order], neg=batch.neg[order], weight=weight)
    other, moved = terms_and_gradients(model, shuffled, only="ranking")
    assert torch.allclose(other["ranking"], value["ranking"], atol=1e-6)
    for part, rows in gradient.items():
        assert torch.allclose(moved[part], rows, atol=1e-5 * max(1.0, float(rows.abs().max())))


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("name", OF_CONTENT)
def test_taps_of_content(name: str, count: int) -> None:
    """One for each modality, [I, d]; VBPR projects all together. Each passes gradients to the parameters."""
    of = subject(name, count)
    model = backbone(of)
    user, item, modal = model.represent()
    assert list(modal) == (["content"] if name == "vbpr" else list(MODALITIES[:count]))
    assert {tuple(tap.shape) for tap in modal.values()} == {(of.view.n_items, 8)}
    parameters = list(model.parameters())
    for tap in modal.values():
        found = torch.autograd.grad(tap.square().sum(), parameters, retain_graph=True, allow_unused=True)
        assert any(gradient is not None and gradient.any() for gradient in found)
    assert torch.allclose(user @ item.T, all_scores(model), atol=1e-5)


@pytest.mark.parametrize("name", OF_IDS)
def test_ids_have_no_taps(name: str) -> None:
    assert not backbone(subject(name)).represent().item_modal


@pytest.mark.parametrize("name", PLAIN)
def test_width_of_the_final_vectors(name: str) -> None:
    """d; twice that for VBPR and SELFCF; d for each modality of DRAGON."""
    user, item, _ = backbone(subject(name)).represent()
    assert user.shape[1] == item.shape[1] == {"vbpr": 16, "selfcf": 16, "dragon": 16}.get(name, 8)


@pytest.mark.parametrize("name", PLAIN)
def test_pointwise_models_are_these(name: str) -> None:
    assert registry.get(GROUP, name).pointwise == (name in {"bm3", "selfcf"})


@pytest.mark.parametrize("name", PLAIN)
def test_edge_weights_reach_the_graph_and_nothing_else(name: str) -> None:
    """Scores of a model with a graph move, those of one without do not; the state never does."""
    of = subject(name)
    model = backbone(of)
    before, state = all_scores(model), {part: value.clone() for part, value in model.state_dict().items()}
    weight = torch.from_numpy(numpy_generator(1, "edges").random(len(of.view.user)).astype(np.float32))
    model.set_edge_weight(weight)
    assert torch.equal(all_scores(model), before) == (name in {"bpr", "vbpr"})
    after = model.state_dict()
    assert after.keys() == state.keys()
    assert all(torch.equal(after[part], value) for part, value in state.items())
    model.set_edge_weight(None)
    assert torch.equal(all_scores(model), before)
