from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from sensorium.nn.losses import bpr
from sensorium.recommenders.base import scores
from sensorium.recommenders.collaborative import lgmrec
from sensorium.recommenders.collaborative.lgmrec import LGMRec, contrast_with_all, unit_rows
from sensorium.testing import tiny_view

from .dense import adjacency, content, first_batch, interactions, propagated, unit

VIEW = tiny_view()


def dense_parts(model: LGMRec) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
    """Final vectors, modality views and global views [U + I, d], by their definition."""
    view, config = VIEW, model.config
    had, matrix = interactions(view), adjacency(view)
    mean = had / had.sum(1, keepdim=True).clamp_min(1)
    embeddings = torch.cat([model.user_embedding, model.item_embedding]).double()
    collaborative = propagated(matrix, embeddings, config.graph_layers)
    views, global_views = {}, []
    for place, (name, x) in enumerate(content(view).items()):
        projected = x @ model.projections[place].weight.double().T
        nodes = torch.cat([mean @ projected, projected])
        for _ in range(config.graph_layers):
            nodes = matrix @ nodes
        views[name] = nodes
        logits = x @ model.memberships[place].weight.double().T
        of_items = torch.softmax(logits / config.temperature, dim=1)
        of_users = torch.softmax(had @ logits / config.temperature, dim=1)
        items = collaborative[view.n_users :] * (had.sum(0) > 0)[:, None]
        for _ in range(config.layers):
            edges = of_items.T @ items
            items, users = of_items @ edges, of_users @ edges
        global_views.append(torch.cat([users, items]))
    final = collaborative + sum(unit(nodes) for nodes in views.values())
    return final + config.alpha * unit(sum(global_views)), views, global_views


@pytest.mark.parametrize(("layers", "graph_layers", "hyperedges"), [(1, 2, 4), (2, 1, 3)])
def test_scores_and_taps_equal_the_formula(layers: int, graph_layers: int, hyperedges: int) -> None:
    config = LGMRec.Config(dim=6, layers=layers, graph_layers=graph_layers, hyperedges=hyperedges, alpha=0.7)
    model = LGMRec(VIEW, config).eval()
    with torch.no_grad():
        final, views, _ = dense_parts(model)
        wanted = final[: VIEW.n_users] @ final[VIEW.n_users :].T
        assert torch.allclose(scores(model, torch.arange(VIEW.n_users)).double(), wanted, atol=1e-5)
        modal = model.represent().item_modal
    for name, nodes in views.items():
        assert torch.allclose(modal[name].double(), nodes[VIEW.n_users :], atol=1e-5)


@pytest.mark.parametrize("block", [1 << 22, 100])
def test_loss_and_gradients_equal_the_formula(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise: BPR, the contrast with loops over the batch, the norms. In one block of anchors and in many."""
    monkeypatch.setattr(lgmrec, "BLOCK_COSINES", block)
    model = LGMRec(VIEW, LGMRec.Config(dim=6, keep=1.0, hcl=0.3, reg=0.2)).eval()
    weight = torch.rand(24, generator=torch.Generator().manual_seed(0)) * 2
    batch = first_batch(VIEW, weight=weight)
    assert len(batch.user.unique()) < 24  # users that stand twice count twice
    final, _, global_views = dense_parts(model)
    user, item = final[: VIEW.n_users], final[VIEW.n_users :]
    rows = user[batch.user], item[batch.pos], item[batch.neg[:, 0]]
    contrast = torch.zeros((), dtype=torch.float64)
    for one, other in combinations(global_views, 2):
        for part, ids in ((slice(0, VIEW.n_users), batch.user), (slice(VIEW.n_users, None), batch.pos)):
            anchors, nodes = unit(one[part]), unit(other[part])
            for b in ids.tolist():
                cosines = nodes @ anchors[b] / 0.2
                contrast = contrast - cosines[b] + cosines.exp().sum().log()
    wanted = {
        "ranking": bpr((rows[0] * rows[1]).sum(1), (rows[0] * rows[2]).sum(1), weight.double()),
        "hcl": 0.3 * contrast,
        "reg": 0.2 * sum(part.norm() for part in rows) / 24,
    }
    terms = model.loss(batch)
    for name, value in wanted.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-4)
    parameters = list(model.parameters())
    found = torch.autograd.grad(sum(terms.values()), parameters)
    for gradient, other in zip(found, torch.autograd.grad(sum(wanted.values()), parameters), strict=True):
        assert torch.allclose(gradient, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


def test_noise_is_for_training_alone() -> None:
    model = LGMRec(VIEW, LGMRec.Config(dim=6)).eval()
    assert torch.equal(model.represent().item, model.represent().item)
    model.train()
    assert not torch.allclose(model.represent().item, model.represent().item)


def test_one_modality_has_nothing_to_contrast() -> None:
    view = tiny_view(modalities=("text",))
    assert LGMRec(view, LGMRec.Config(dim=6)).loss(first_batch(view))["hcl"].item() == 0


def test_contrast_holds_one_block_of_cosines_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No product is larger than a block, however many nodes there are, and the sum is the same."""
    largest = 0
    plain = torch.log_softmax

    def watched(logits: Tensor, dim: int) -> Tensor:
        nonlocal largest
        largest = max(largest, logits.numel())
        return plain(logits, dim=dim)

    monkeypatch.setattr(lgmrec, "BLOCK_COSINES", 3_000)
    monkeypatch.setattr(torch, "log_softmax", watched)
    nodes = unit_rows(torch.randn(1_000, 4))
    total = contrast_with_all(nodes, nodes, torch.arange(50).repeat(2), 0.2)
    assert largest == 3_000
    monkeypatch.setattr(lgmrec, "BLOCK_COSINES", 1 << 22)
    once = contrast_with_all(nodes, nodes, torch.arange(50), 0.2)
    assert total.item() == pytest.approx(2 * once.item(), rel=1e-5)


def test_contrast_has_the_gradient_of_its_formula() -> None:
    """In double precision, for anchors and nodes, one of them counted three times."""
    draw = torch.Generator().manual_seed(0)
    anchors, nodes = (torch.randn(6, 3, dtype=torch.float64, generator=draw, requires_grad=True) for _ in range(2))
    ids = torch.tensor([4, 0, 4, 4])
    assert torch.autograd.gradcheck(lambda a, n: contrast_with_all(a, n, ids, 0.5), (anchors, nodes))


def test_a_vector_without_direction_keeps_its_gradient_small() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-20, 0.0]], requires_grad=True)
    found = unit_rows(rows)
    assert torch.allclose(found[0], torch.tensor([0.6, 0.8]))
    assert not found[1].any()
    (gradient,) = torch.autograd.grad(found.sum(), rows)
    assert float(gradient.abs().max()) <= 1.0
