from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sensorium.core.seeds import torch_generator
from sensorium.nn.losses import bpr, l2
from sensorium.recommenders.base import scores
from sensorium.recommenders.collaborative.lattice import LATTICE, _EdgeCosines
from sensorium.testing import subject_of, tiny_view

from .dense import alike_items, content, first_batch, interactions, propagated, symmetrically

VIEW = tiny_view(users=60, items=200, rows_per_user=12, missing=0.1)


def filled(config: LATTICE.Config) -> LATTICE:
    """A model whose shares and biases are no zeros."""
    model = LATTICE(VIEW, config)
    with torch.no_grad():
        model.theta.copy_(torch.tensor([0.3, -0.4]))
        for layer in model.projections:
            layer.bias.normal_(generator=torch_generator(0))
    return model


def dense_graph(model: LATTICE) -> Tensor:
    """S [I, I] with its gradient: every matrix whole, as the paper has it."""
    k = model.config.item_neighbours
    share = torch.softmax(model.theta.double(), dim=0)
    originals = alike_items(VIEW, k, "cosine").values()
    original = sum(part * graph for part, graph in zip(share, originals, strict=True))
    weights = torch.zeros(VIEW.n_items, VIEW.n_items, dtype=torch.float64)
    for place, (name, x) in enumerate(content(VIEW).items()):
        layer = model.projections[place]
        z = x @ layer.weight.double().T + layer.bias.double()
        z = z / z.norm(dim=1, keepdim=True)
        cosine = z @ z.T
        present = torch.from_numpy(VIEW.features[name].present)
        ranked = torch.where(present, cosine.detach(), -2.0)
        ranked.fill_diagonal_(2.0)
        chosen = torch.zeros_like(weights).scatter(1, ranked.topk(k, dim=1).indices, 1.0)
        chosen = torch.where(present[:, None], chosen, torch.eye(VIEW.n_items))
        weights = weights + share[place] * cosine.clamp_min(0) * chosen
    part = model.config.learned
    return part * symmetrically(weights) + (1 - part) * original


def dense_final(model: LATTICE, graph: Tensor) -> tuple[Tensor, Tensor]:
    """Final users [U, d] and items [I, d] of a graph S."""
    had = interactions(VIEW)
    n_users, n_items = had.shape
    matrix = torch.eye(n_users + n_items, dtype=torch.float64)
    matrix[:n_users, n_users:], matrix[n_users:, :n_users] = had, had.T
    matrix = matrix / matrix.sum(1, keepdim=True)
    embeddings = torch.cat([model.user_embedding, model.item_embedding]).double()
    user, item = propagated(matrix, embeddings, model.config.layers).split([n_users, n_items])
    alike = graph @ model.item_embedding.double()
    return user, item + alike / alike.norm(dim=1, keepdim=True).clamp_min(1e-6)


def dense_loss(model: LATTICE, graph: Tensor) -> Tensor:
    user, item = dense_final(model, graph)
    batch = first_batch(VIEW)
    rows = user[batch.user], item[batch.pos], item[batch.neg[:, 0]]
    ranking = bpr((rows[0] * rows[1]).sum(1), (rows[0] * rows[2]).sum(1))
    return ranking + model.config.reg * l2(*rows, batch=24)


CONFIG = LATTICE.Config(dim=6, item_neighbours=5, learned=0.4, reg=0.2)


def test_scores_equal_the_dense_reference() -> None:
    """200 items: to 1e-5."""
    model = filled(CONFIG).eval()
    with torch.no_grad():
        user, item = dense_final(model, dense_graph(model))
        assert torch.allclose(scores(model, torch.arange(VIEW.n_users)).double(), user @ item.T, atol=1e-5)
        modal = model.represent().item_modal
    for name, layer in zip(("text", "image"), model.projections, strict=True):
        x = content(VIEW)[name].float()
        assert torch.allclose(modal[name], layer(x), atol=1e-5)


def test_gradients_of_the_first_batch_equal_the_dense_reference() -> None:
    """Through the cosines, the row sums and the shares of the modalities."""
    model = filled(CONFIG)
    parameters = dict(model.named_parameters())
    found = torch.autograd.grad(sum(model.loss(first_batch(VIEW)).values()), list(parameters.values()))
    wanted = torch.autograd.grad(dense_loss(model, dense_graph(model)), list(parameters.values()))
    for name, one, other in zip(parameters, found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-5), name
        assert other.any(), f"{name} has a gradient"


def test_later_batches_of_an_epoch_keep_its_graph_without_gradient() -> None:
    model = filled(CONFIG)
    graph = dense_graph(model).detach()
    model.loss(first_batch(VIEW))
    with torch.no_grad():  # whatever training does to the projections and shares in between
        model.theta.copy_(torch.tensor([-1.0, 1.0]))
        model.projections[0].weight.normal_()
    parameters = dict(model.named_parameters())
    found = torch.autograd.grad(
        sum(model.loss(first_batch(VIEW)).values()), list(parameters.values()), allow_unused=True
    )
    wanted = torch.autograd.grad(dense_loss(model, graph), list(parameters.values()), allow_unused=True)
    for name, one, other in zip(parameters, found, wanted, strict=True):
        if name.endswith("embedding"):
            assert torch.allclose(one, other, atol=1e-5), name
        else:
            assert (one, other) == (None, None), name
    model.begin_epoch(1, torch_generator(0))
    terms = model.loss(first_batch(VIEW))
    assert sum(terms.values()).item() == pytest.approx(dense_loss(model, dense_graph(model)).item(), rel=1e-5)


def test_evaluation_builds_the_graph_from_the_weights_it_finds() -> None:
    model = filled(CONFIG)
    model.loss(first_batch(VIEW))
    with torch.no_grad():
        model.projections[0].weight.normal_()
        user, item = dense_final(model, dense_graph(model))
        found = scores(model.eval(), torch.arange(VIEW.n_users))
    assert torch.allclose(found.double(), user @ item.T, atol=1e-5)


@pytest.mark.parametrize("config", [{"item_neighbours": 1}, {"learned": 0.0}, {"learned": 1.0}, {"protocol": "mmrec"}])
def test_options_train(config: dict[str, object]) -> None:
    model = subject_of(LATTICE, {"dim": 4, **config}).train(epochs=2)
    with torch.no_grad():
        assert scores(model, torch.arange(3)).isfinite().all()


def test_gradient_of_the_edges_cosines() -> None:
    rows = torch.randn(9, 3, dtype=torch.float64, requires_grad=True)
    item = torch.randint(9, (9, 4))
    assert torch.autograd.gradcheck(lambda x: _EdgeCosines.apply(x, item), [rows])
    assert _EdgeCosines.apply(rows, item[:, :0]).shape == (9, 0)


MEMORY = """
import numpy as np, torch
from sensorium.core.resources import peak_memory
from sensorium.data.batches import PairBatches, Step
from sensorium.data.dataset import Features
from sensorium.data.view import TrainView
from sensorium.recommenders.collaborative.lattice import LATTICE
draw = np.random.default_rng(0)
users, items = 5_000, 20_000
pairs = np.unique(draw.integers(users * items, size=100_000))
features = {
    name: Features(draw.normal(size=(items, 32)).astype(np.float32), draw.random(items) < 0.9)
    for name in ("text", "image")
}
view = TrainView(users, items, pairs // items, pairs % items, None, 0, features, {})
model = LATTICE(view, LATTICE.Config())
batches = PairBatches(view)
for index in range(2):  # with the graph's gradient, and without
    sum(model.loss(batches.batch(Step(0, "main", 0, index))).values()).backward()
with torch.no_grad():
    assert model.eval().item_vectors().isfinite().all()
print(peak_memory())
"""


def test_twenty_thousand_items_within_two_gigabytes(tmp_path: Path) -> None:
    """One dense matrix of all pairs of items would hold 1.6 GB, and the published code has seven."""
    outcome = subprocess.run(
        [sys.executable, "-c", MEMORY],
        env={"OMP_NUM_THREADS": "1", "SENSORIUM_HOME": str(tmp_path), "PATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert int(outcome.stdout) < 2e9


def test_the_user_item_graph_averages_rows() -> None:
    """Rows of P sum to 1, weights of the train rows included; a node without rows has itself alone."""
    model = LATTICE(VIEW, LATTICE.Config(dim=4))
    model.set_edge_weight(torch.rand(len(VIEW.user)))
    ones = model._adjacency @ torch.ones(VIEW.n_users + VIEW.n_items, 1)
    assert torch.allclose(ones, torch.ones_like(ones), atol=1e-6)
    alone = np.flatnonzero(VIEW.user_count == 0)[0]
    unit = torch.zeros(VIEW.n_users + VIEW.n_items, 1)
    unit[alone] = 1
    assert (model._adjacency @ unit)[alone] == 1
