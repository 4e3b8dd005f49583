from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sensorium.data.windows import WindowBatch
from sensorium.recommenders.sequential.losses import full_cross_entropy, sampled_cross_entropy
from sensorium.recommenders.sequential.sasrec import SASRec
from sensorium.testing.histories import ordered_view


def drawn_batch(seed: int, windows: int = 5, length: int = 4, items: int = 12) -> WindowBatch:
    """Windows with duplicates between users, repeats inside, and padding of every length."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randint(items, (windows, length + 1), generator=draw)
    short = torch.randint(0, length, (windows,), generator=draw)
    rows[torch.arange(length + 1) < short.unsqueeze(1)] = -1
    return WindowBatch(torch.arange(windows), rows, torch.zeros(windows, length, 0, dtype=torch.int64))


def reference(model: SASRec, batch: WindowBatch) -> Tensor:
    """The definition, one (window, place, column) at a time, every occurrence a column of its own."""
    tokens = batch.items + 1
    n, width = tokens.shape
    length = width - 1
    vectors = model.tower(tokens.flatten()).view(n, width, -1)
    states = model.encoder(vectors[:, :-1], tokens[:, :-1] != 0)
    losses = []
    for b in range(n):
        for j in range(length):
            if tokens[b, j] == 0:
                continue
            scores = []
            for c in range(n):
                for k in range(width):
                    is_target = c == b and k == j + 1
                    token = int(tokens[c, k])
                    if not is_target and (token == 0 or token in tokens[b].tolist()):
                        scores.append(torch.tensor(-1e4))
                    else:
                        log_p = model.config.debias_alpha * model.log_p[token]
                        scores.append(states[b, j] @ vectors[c, k] - log_p)
            target = torch.tensor(b * width + j + 1)
            losses.append(functional.cross_entropy(torch.stack(scores), target))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_in_batch_is_the_triple_loop_in_value_and_gradient(alpha: float) -> None:
    model = SASRec(ordered_view(), SASRec.Config(dim=8, length=4, debias_alpha=alpha, blocks=1)).eval()
    parameters = list(model.parameters())
    for seed in range(50):
        batch = drawn_batch(seed)
        found, wanted = model.loss(batch)["ranking"], reference(model, batch)
        assert float(found.detach()) == pytest.approx(float(wanted.detach()), abs=1e-5)
        pairs = zip(torch.autograd.grad(found, parameters), torch.autograd.grad(wanted, parameters), strict=True)
        for one, other in pairs:
            assert torch.allclose(one, other, atol=1e-5)


def test_finite_differences() -> None:
    model = SASRec(ordered_view(), SASRec.Config(dim=4, length=4, blocks=1)).double().eval()
    batch = drawn_batch(1)
    weight = model.encoder.blocks[0].inner.weight  # type: ignore[union-attr, index]
    (gradient,) = torch.autograd.grad(model.loss(batch)["ranking"], weight)
    place, step = divmod(int(gradient.abs().argmax()), gradient.shape[1]), 1e-2
    values = []
    with torch.no_grad():
        for sign in (1, -1):
            weight[place] += sign * step
            values.append(float(model.loss(batch)["ranking"]))
            weight[place] -= sign * step
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(gradient[place]), rel=0.02, abs=1e-4)


def test_identical_windows_have_no_negative_and_no_loss() -> None:
    model = SASRec(ordered_view(), SASRec.Config(dim=8, length=4)).eval()
    rows = torch.tensor([[-1, 3, 4, 5, 6]]).expand(3, -1)
    loss = model.loss(WindowBatch(torch.arange(3), rows, torch.zeros(3, 4, 0, dtype=torch.int64)))["ranking"]
    assert float(loss.detach()) == 0.0
    loss.backward()
    assert all(torch.isfinite(value.grad).all() for value in model.parameters() if value.grad is not None)


def test_sampled_is_its_formula() -> None:
    states, positive, negative = torch.randn(6, 3), torch.randn(6, 3), torch.randn(6, 2, 3)
    wanted = 0.0
    for row in range(6):
        wanted += math.log1p(math.exp(-float(states[row] @ positive[row]))) / 6
        wanted += sum(math.log1p(math.exp(float(states[row] @ one))) for one in negative[row]) / 12
    assert float(sampled_cross_entropy(states, positive, negative).mean()) == pytest.approx(wanted, rel=1e-5)


def test_full_is_cross_entropy_over_what_competes_in_any_chunks() -> None:
    states = torch.randn(11, 5, requires_grad=True)
    vectors = torch.randn(9, 5, requires_grad=True)
    competing = torch.tensor([True] * 7 + [False, True])
    target = torch.randint(7, (11,))
    wanted = functional.cross_entropy((states @ vectors.T)[:, competing], target)
    expected = torch.autograd.grad(wanted, [states, vectors])
    weight = torch.rand(11)  # not all alike: another way to the gradient
    each = functional.cross_entropy((states @ vectors.T)[:, competing], target, reduction="none")
    weighted = torch.autograd.grad((weight * each).sum(), [states, vectors])
    for chunk in (1, 4, 100):
        found = full_cross_entropy(states, target, vectors, competing, chunk).mean()
        assert torch.allclose(found, wanted, atol=1e-6)
        for one, other in zip(torch.autograd.grad(found, [states, vectors]), expected, strict=True):
            assert torch.allclose(one, other, atol=1e-6)
        found = full_cross_entropy(states, target, vectors, competing, chunk)
        for one, other in zip(torch.autograd.grad((weight * found).sum(), [states, vectors]), weighted, strict=True):
            assert torch.allclose(one, other, atol=1e-6)
