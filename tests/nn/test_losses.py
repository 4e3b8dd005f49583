import math

import numpy as np
import pytest
import torch

from sensorium.nn.losses import bpr, embedding_norm, infonce, l2


def test_bpr_by_hand() -> None:
    positive, negative = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0])
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(3))) / 2
    assert bpr(positive, negative).item() == pytest.approx(expected)
    assert bpr(positive, negative.unsqueeze(1)).item() == pytest.approx(expected)


def test_bpr_takes_the_mean_over_several_negatives() -> None:
    positive, negative = torch.randn(5), torch.randn(5, 3)
    each = torch.stack([bpr(positive, negative[:, n]) for n in range(3)])
    torch.testing.assert_close(bpr(positive, negative), each.mean())


def test_bpr_weights_multiply_rows_and_the_sum_is_divided_by_the_batch() -> None:
    positive, negative = torch.tensor([0.0, 5.0]), torch.tensor([[0.0], [0.0]])
    assert bpr(positive, negative, torch.tensor([4.0, 0.0])).item() == pytest.approx(2 * math.log(2))
    assert torch.equal(bpr(positive, negative, torch.ones(2)), bpr(positive, negative))


def test_bpr_is_finite_for_scores_that_overflow_an_exponential() -> None:
    positive = torch.tensor([-500.0, 500.0], requires_grad=True)
    loss = bpr(positive, torch.tensor([500.0, -500.0]))
    loss.backward()
    assert loss.item() == pytest.approx(500)
    assert positive.grad is not None
    torch.testing.assert_close(positive.grad, torch.tensor([-0.5, 0.0]))


def test_embedding_norm_is_not_squared() -> None:
    one, other = torch.full((2, 2), 3.0), torch.full((4, 1, 1), 2.0)
    assert embedding_norm(one, other, batch=2).item() == pytest.approx((6 + 4) / 2)
    assert embedding_norm(2 * one, batch=2).item() == pytest.approx(2 * embedding_norm(one, batch=2).item())


def test_embedding_norm_of_zeros_has_a_gradient_of_zeros() -> None:
    zeros = torch.zeros(3, 2, requires_grad=True)
    embedding_norm(zeros, batch=3).backward()
    assert zeros.grad is not None
    assert torch.equal(zeros.grad, torch.zeros(3, 2))


def test_l2_by_hand() -> None:
    assert l2(torch.full((2, 2), 3.0), torch.full((4,), 2.0), batch=2).item() == pytest.approx((36 + 16) / 4)


def test_infonce_equals_its_formula() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 6, 4))
    cosine = (a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    e = np.exp(cosine / 0.2)
    expected = -np.log(np.diag(e) / e.sum(1)).mean()
    assert infonce(torch.from_numpy(a), torch.from_numpy(b), 0.2).item() == pytest.approx(expected)
    assert infonce(torch.from_numpy(3 * a), torch.from_numpy(b), 0.2).item() == pytest.approx(expected)
    assert infonce(torch.from_numpy(a), torch.from_numpy(a), 0.01).item() < 1e-6
