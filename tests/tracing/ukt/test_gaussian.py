"""Geometry of diagonal Gaussians, and probabilities under a Gaussian logit, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sensorium.tracing.ukt.gaussian import (
    deviation,
    expected_answer,
    log_likelihood,
    negative_wasserstein,
    released_distance,
    squared_wasserstein,
)


def gaussians(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return mean, deviation(torch.randn(*shape, generator=generator, dtype=torch.float64))


def test_one_product_equals_the_loop_over_pairs_up_to_a_constant_of_the_row():
    (qm, qs), (km, ks) = gaussians(0, 2, 3, 5, 4), gaussians(1, 2, 3, 7, 4)
    scale = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)[:, None, None]
    loop = torch.zeros(2, 3, 5, 7, dtype=torch.float64)
    for b in range(2):
        for h in range(3):
            for i in range(5):
                for j in range(7):
                    loop[b, h, i, j] = -scale[h, 0, 0] * sum(
                        (qm[b, h, i, n] - km[b, h, j, n]) ** 2 + (qs[b, h, i, n] - ks[b, h, j, n]) ** 2
                        for n in range(4)
                    )
    f, g = torch.cat([qm, qs], -1), torch.cat([km, ks], -1)
    found = negative_wasserstein(f, g, scale)
    assert torch.allclose(found.softmax(-1), loop.softmax(-1), atol=1e-12)
    assert torch.allclose(found.float().softmax(-1), loop.float().softmax(-1), atol=1e-5)
    assert torch.allclose(negative_wasserstein(f, g, scale, row_constant=True), loop, atol=1e-10)
    spread = (found - loop).std(dim=-1)
    assert spread.max() < 1e-10


numbers = arrays(np.float64, (3, 2, 4), elements=st.floats(-5, 5))


@given(numbers)
@settings(max_examples=60, deadline=None)
def test_wasserstein_is_a_distance(values):
    (am, bm, cm), (as_, bs, cs) = torch.tensor(values[:, 0]), deviation(torch.tensor(values[:, 1]))
    ab, bc = (squared_wasserstein(am, as_, bm, bs).sqrt(), squared_wasserstein(bm, bs, cm, cs).sqrt())
    ac = squared_wasserstein(am, as_, cm, cs).sqrt()
    assert squared_wasserstein(am, as_, am, as_) == 0
    assert squared_wasserstein(bm, bs, am, as_).sqrt() == ab
    assert ac <= ab + bc + 1e-9


def test_the_released_distance_of_a_point_to_itself_can_be_below_zero_and_the_exact_one_cannot():
    mean, raw = torch.randn(6, 8), torch.randn(6, 8)
    assert released_distance(mean, raw, mean, raw).diagonal().min() < -1
    sd = deviation(raw)
    f = torch.cat([mean, sd], -1)
    assert negative_wasserstein(f, f, torch.ones(1, 1), row_constant=True).diagonal().abs().max() < 1e-4


def test_released_distance_equals_the_exact_one_where_variances_are_positive():
    (m, s), (n, u) = gaussians(2, 3, 4), gaussians(3, 5, 4)
    exact = squared_wasserstein(m[:, None], s[:, None], n[None], u[None])
    assert torch.allclose(released_distance(m, s.square(), n, u.square()), exact, atol=1e-9)


def test_gradients_of_the_product():
    (m, s), scale = gaussians(4, 3, 4), torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    f = torch.cat([m, s], -1).requires_grad_()
    for constant in (False, True):
        assert torch.autograd.gradcheck(
            lambda a, c, constant=constant: negative_wasserstein(a, a, c, row_constant=constant), (f, scale)
        )


@pytest.mark.parametrize("spread", [-1e4, -50.0, 0.0, 50.0])
def test_deviations_are_above_zero_for_any_number(spread):
    sd = deviation(torch.tensor(spread))
    assert sd >= 1e-3
    assert sd.isfinite()


def test_quadrature_equals_many_draws():
    draws = np.random.default_rng(0).standard_normal(2_000_000)
    for m, v in [(0.0, 0.3), (1.5, 1.0), (-2.0, 2.0)]:
        p = 1 / (1 + np.exp(-(m + math.sqrt(v) * draws)))
        mean, variance = expected_answer(torch.tensor([m]), torch.tensor([v]))
        assert mean.item() == pytest.approx(p.mean(), abs=1e-3)
        assert variance.item() == pytest.approx(p.var(), rel=0.03)


def test_likelihood_is_the_log_of_the_expected_answer_and_stays_finite():
    m, v = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.0, 0.5, 1.5])
    p, _ = expected_answer(m, v)
    assert torch.allclose(log_likelihood(m, v, torch.ones(3)).exp(), p, atol=1e-6)
    assert torch.allclose(log_likelihood(m, v, torch.zeros(3)).exp(), 1 - p, atol=1e-6)
    certain = torch.tensor([200.0], requires_grad=True)
    wrong = log_likelihood(certain, torch.zeros(1), torch.zeros(1))
    assert wrong.item() == pytest.approx(-200, abs=0.1)
    wrong.sum().backward()
    assert certain.grad.isfinite().all()
