from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sensorium.core.errors import ConfigError
from sensorium.recommenders.base import scores
from sensorium.recommenders.collaborative.smore import SMORE
from sensorium.testing import subject_of, tiny_view

from . import views
from .dense import alike_items, first_batch

VIEW = tiny_view(modalities=("text", "image", "audio"))


def spectrum(dim: int) -> Tensor:
    """The matrix of the orthonormal Fourier transform, for the frequencies 0 to dim // 2: complex [d // 2 + 1, d]."""
    frequency, place = torch.arange(dim // 2 + 1)[:, None], torch.arange(dim)[None]
    return torch.exp(-2j * math.pi * frequency * place / dim).to(torch.complex128) / math.sqrt(dim)


def inverse(values: Tensor, dim: int) -> Tensor:
    """The real signal of a half spectrum [n, d // 2 + 1], by its sum of waves."""
    frequency, place = torch.arange(dim // 2 + 1), torch.arange(dim)
    twice = torch.where((frequency == 0) | (2 * frequency == dim), 1.0, 2.0).double()
    waves = torch.exp(2j * math.pi * frequency[:, None] * place[None] / dim).to(torch.complex128)
    return ((values * twice) @ waves).real / math.sqrt(dim)


def dense_parts(model: SMORE) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Behaviour and side of all nodes, and the views, by their definition; the model in double precision."""
    dim = model.config.dim
    spectra = [z.to(torch.complex128) @ spectrum(dim).T for z in views.projected(model, VIEW)]
    filters = torch.complex(model.filters[..., 0], model.filters[..., 1])
    product = spectra[0] * spectra[1] * spectra[2]
    filtered = [inverse(values * own, dim) for values, own in zip([*spectra, product], filters, strict=True)]
    graphs = list(alike_items(VIEW, model.config.item_neighbours, "cosine").values())
    graphs.append(torch.maximum(torch.maximum(graphs[0], graphs[1]), graphs[2]))
    of_nodes = []
    for graph, gate, values in zip(graphs, model.gates, filtered, strict=True):
        gated = model.item_embedding * torch.sigmoid(values @ gate.weight.T + gate.bias)
        of_nodes.append(views.of_all_nodes(graph @ gated, VIEW))
    before = views.behaviour(model, VIEW)
    parts = []
    for place, h in enumerate(of_nodes):
        if place < 3:
            first, second = model.channels[place][0], model.channels[place][2]
            logits = torch.tanh(of_nodes[3] @ first.weight.T + first.bias) @ second.weight.T
            h = logits.exp() / logits.exp().sum(1, keepdim=True) * h
        layer = model.preferences[place]
        parts.append(torch.sigmoid(before @ layer.weight.T + layer.bias) * h)
    return before, sum(parts) / 4, of_nodes


@pytest.mark.parametrize("dim", [6, 7])
def test_scores_and_taps_equal_the_formula(dim: int) -> None:
    model = SMORE(VIEW, SMORE.Config(dim=dim, item_neighbours=4)).eval()
    found = scores(model, torch.arange(VIEW.n_users)).double()
    modal = model.represent().item_modal
    with torch.no_grad():
        before, side, of_nodes = dense_parts(model.double())
    user, item = (before + side).split([VIEW.n_users, VIEW.n_items])
    assert torch.allclose(found, user @ item.T, atol=1e-5)
    assert list(modal) == ["text", "image", "audio"]
    for vectors, nodes in zip(modal.values(), of_nodes[:3], strict=True):
        assert torch.allclose(vectors.double(), nodes[VIEW.n_users :], atol=1e-5)


def test_loss_and_gradients_equal_the_formula() -> None:
    model = SMORE(VIEW, SMORE.Config(dim=6, item_neighbours=4, reg=0.1, contrast=0.5, dropout=0))
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


def test_dropout_is_of_training_alone() -> None:
    model = SMORE(VIEW, SMORE.Config(dim=6, dropout=0.5))
    batch = first_batch(VIEW)
    assert model.loss(batch)["ranking"] != model.loss(batch)["ranking"]
    model.eval()
    assert torch.equal(model.represent().item, model.represent().item)


def test_modalities_can_have_their_own_numbers_of_neighbours() -> None:
    view = tiny_view(missing=0)
    model = SMORE(view, SMORE.Config(dim=4, item_neighbours=3, neighbours_by_modality={"image": 6}))
    counts = [np.diff(matrix.rows.on(torch.device("cpu")).crow_indices().numpy()).max() for matrix in model._alike]
    assert counts[0] <= 3 < counts[1] <= 6 < counts[2] <= 8
    with pytest.raises(ConfigError, match="'img' is not read by the model"):
        SMORE(view, SMORE.Config(neighbours_by_modality={"img": 6}))


def test_raw_features_under_mmrec_are_trained() -> None:
    model = subject_of(SMORE, {"dim": 4, "protocol": "mmrec"}).train()
    assert "content.values" in model.state_dict()
    with torch.no_grad():
        assert scores(model, torch.arange(3)).isfinite().all()
