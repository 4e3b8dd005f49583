from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from sensorium.core.errors import ConfigError
from sensorium.core.seeds import torch_generator
from sensorium.nn.item_graphs import knn_graph
from sensorium.nn.losses import bpr
from sensorium.recommenders.base import scores
from sensorium.recommenders.collaborative.freedom import FREEDOM, rows_to_keep
from sensorium.testing import subject_of, tiny_view

from .dense import adjacency, alike_items, content, first_batch, propagated

VIEW = tiny_view()


def dense_parts(model: FREEDOM, kept: np.ndarray | None = None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Final users and items and projected content, by their definition; from the kept rows, or all."""
    weight = None
    if kept is not None:
        weight = torch.zeros(len(VIEW.user))
        weight[kept] = 1
    embeddings = torch.cat([model.user_embedding, model.item_embedding]).double()
    nodes = propagated(adjacency(VIEW, weight), embeddings, model.config.layers)
    weights = model.config.modality_weights or {name: 1 / len(VIEW.features) for name in VIEW.features}
    mixed = sum(
        weights[name] * graph for name, graph in alike_items(VIEW, model.config.item_neighbours, "binary").items()
    )
    items = nodes[VIEW.n_users :] + mixed @ model.item_embedding.double()
    projected = {
        name: x @ layer.weight.double().T + layer.bias.double()
        for (name, x), layer in zip(content(VIEW).items(), model.projections, strict=True)
    }
    return nodes[: VIEW.n_users], items, projected


@pytest.mark.parametrize("weights", [{}, {"image": 0.1, "text": 0.9}])
def test_scores_and_taps_equal_the_formula(weights: dict[str, float]) -> None:
    model = FREEDOM(VIEW, FREEDOM.Config(dim=6, item_neighbours=4, modality_weights=weights)).eval()
    model.begin_epoch(0, torch_generator(0))  # what an epoch leaves out is there for evaluation
    with torch.no_grad():
        user, item, projected = dense_parts(model)
        assert torch.allclose(scores(model, torch.arange(VIEW.n_users)).double(), user @ item.T, atol=1e-5)
        modal = model.represent().item_modal
    assert modal.keys() == projected.keys()
    for name, z in projected.items():
        assert torch.allclose(modal[name].double(), z, atol=1e-5)


def test_loss_and_gradients_equal_the_formula() -> None:
    """On the thinned graph of an epoch, with weights of the rows in the ranking term alone."""
    model = FREEDOM(VIEW, FREEDOM.Config(dim=6, item_neighbours=4, reg=0.3, pruned=0.5))
    model.begin_epoch(0, torch_generator(1))
    batch = first_batch(VIEW, 24, torch.rand(24))
    user, item, projected = dense_parts(model, model._kept)
    u, negatives = user[batch.user], batch.neg[:, 0]
    ranking = bpr((u * item[batch.pos]).sum(1), (u * item[negatives]).sum(1), batch.weight.double())
    by_content = sum(bpr((u * z[batch.pos]).sum(1), (u * z[negatives]).sum(1)) for z in projected.values())
    terms = model.loss(batch)
    assert terms["ranking"].item() == pytest.approx(ranking.item(), rel=1e-5)
    assert terms["content"].item() == pytest.approx(0.3 * by_content.item(), rel=1e-5)
    parameters = list(model.parameters())
    found = torch.autograd.grad(sum(terms.values()), parameters)
    wanted = torch.autograd.grad(ranking + 0.3 * by_content, parameters)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(("pruned", "kept"), [(0.8, 0.2), (0.5, 0.5), (0.999, 0)])
def test_an_epoch_keeps_its_share_of_the_rows(pruned: float, kept: float) -> None:
    model = FREEDOM(VIEW, FREEDOM.Config(dim=4, pruned=pruned))
    model.begin_epoch(0, torch_generator(0, 0))
    rows = len(VIEW.user)
    assert len(model._kept) == max(int(kept * rows + 1e-9), 1)
    assert len(np.unique(model._kept)) == len(model._kept)
    first = model._kept
    model.begin_epoch(1, torch_generator(0, 1))
    assert len(first) < 10 or not np.array_equal(first, model._kept)
    model.begin_epoch(0, torch_generator(0, 0))
    assert np.array_equal(first, model._kept), (
        "the epoch's generator alone decides, so that a resumed run goes on alike"
    )


def test_nothing_is_left_out_where_nothing_is_asked_to() -> None:
    model = FREEDOM(VIEW, FREEDOM.Config(dim=4, pruned=0))
    model.begin_epoch(0, torch_generator(0))
    assert model._thinned is model._adjacency


def test_the_first_row_is_drawn_in_inverse_proportion_to_its_scale() -> None:
    """10,000 draws of one row among four, and the order of two: each frequency within 5 standard errors."""
    scale = np.array([1.0, 2.0, 4.0, 4.0])
    share = (1 / scale) / (1 / scale).sum()
    generator = torch_generator(0)
    one = Counter(int(rows_to_keep(scale, 1, generator)[0]) for _ in range(10_000))
    two = Counter(tuple(rows_to_keep(scale, 2, generator).tolist()) for _ in range(10_000))
    for row in range(4):
        assert abs(one[row] / 1e4 - share[row]) < 5 * np.sqrt(share[row] * (1 - share[row]) / 1e4)
    for a in range(4):
        for b in range(a + 1, 4):
            wanted = share[a] * share[b] / (1 - share[a]) + share[b] * share[a] / (1 - share[b])
            assert abs(two[a, b] / 1e4 - wanted) < 5 * np.sqrt(wanted * (1 - wanted) / 1e4)


def test_more_rows_than_torch_can_draw_from() -> None:
    """`multinomial` ends at 2^24 rows; and rows of popular items are left out more often."""
    rows = (1 << 24) + 1000
    scale = np.ones(rows)
    scale[: rows // 2] = 4.0
    kept = rows_to_keep(scale, rows // 5, torch_generator(0))
    assert len(kept) == rows // 5
    assert kept[-1] > 1 << 24
    assert np.all(np.diff(kept) > 0)
    # For one t, a row is left out with probability exp(-t / scale): y = exp(-t / 4) solves (y + y^4) / 2 = 4 / 5.
    (left_out,) = (root.real for root in np.roots([1, 0, 0, 1, -1.6]) if abs(root.imag) < 1e-9 and root.real > 0)
    assert (kept < rows // 2).sum() / (rows // 2) == pytest.approx(1 - left_out, abs=1e-3)


def test_edge_weights_hold_in_the_thinned_graph_too() -> None:
    weight = torch.rand(len(VIEW.user))
    first, second = (FREEDOM(VIEW, FREEDOM.Config(dim=4)) for _ in range(2))
    first.begin_epoch(0, torch_generator(0))
    first.set_edge_weight(weight)
    second.set_edge_weight(weight)
    second.begin_epoch(0, torch_generator(0))
    plain = FREEDOM(VIEW, FREEDOM.Config(dim=4))
    plain.begin_epoch(0, torch_generator(0))
    one, other, unweighted = (model.train().represent() for model in (first, second, plain))
    assert torch.equal(one.user, other.user)
    assert not torch.allclose(one.user, unweighted.user)


def test_weights_must_be_those_of_the_modalities() -> None:
    with pytest.raises(ConfigError, match=r"modality_weights names image and the model reads text, image"):
        FREEDOM(VIEW, FREEDOM.Config(modality_weights={"image": 1.0}))


def test_raw_features_and_graphs_under_mmrec_are_trained() -> None:
    model = FREEDOM(VIEW, FREEDOM.Config(dim=4, protocol="mmrec", item_neighbours=3))
    assert isinstance(model.content.values, torch.nn.Parameter)
    before = model.content.values.detach().clone()
    x, present = VIEW.features["text"]
    assert np.array_equal(before[:, :5].numpy()[present], x[present])
    graphs = [knn_graph(*VIEW.features[m], 3, "binary", center=None, order=VIEW.item_order) for m in VIEW.features]
    wanted = torch.from_numpy(sum(graphs).toarray() / 2) @ model.item_embedding
    assert torch.allclose(model._alike @ model.item_embedding, wanted, atol=1e-6)
    trained = subject_of(FREEDOM, {"dim": 4, "protocol": "mmrec"}).train()
    assert not torch.equal(trained.content.values, before)
    assert "content.values" in trained.state_dict()
    frozen = FREEDOM(VIEW, FREEDOM.Config(dim=4, protocol="mmrec", train_features=False))
    assert "content.values" not in frozen.state_dict()
