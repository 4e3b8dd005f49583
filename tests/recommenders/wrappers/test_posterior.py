"""From evidence to weights: the regression against a reference, the share of noise, and the two sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from sensorium.recommenders.wrappers.posterior import (
    clean_rows,
    estimate_share,
    fit_density_ratio,
    weights,
)


def test_the_regression_is_that_of_a_reference() -> None:
    draw = np.random.default_rng(0)
    observed = draw.normal(loc=[0.8, 0.3, 0.0], size=(400, 3))
    null = draw.normal(size=(1000, 3)) * [2, 1, 1]
    ratio = fit_density_ratio(observed, null, not_negative=0)
    x = (np.concatenate([observed, null]) - null.mean(0)) / null.std(0)
    y = np.repeat([1, 0], [400, 1000])
    wanted = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-10, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(ratio.coefficients, wanted.coef_[0], atol=1e-4)
    assert ratio.intercept == pytest.approx(wanted.intercept_[0], abs=1e-4)
    np.testing.assert_allclose(ratio.of(observed), wanted.decision_function(x[:400]), atol=1e-3)


def test_evidence_that_counts_against_rows_is_dropped_and_the_rest_fitted_again() -> None:
    draw = np.random.default_rng(1)
    observed, null = draw.normal(loc=[1.0, -0.6, -0.5], size=(500, 3)), draw.normal(size=(500, 3))
    ratio = fit_density_ratio(observed, null, not_negative=2)
    assert ratio.coefficients[1] == 0
    assert ratio.coefficients[2] < 0  # the last one may be negative
    alone = fit_density_ratio(observed[:, [0, 2]], null[:, [0, 2]], not_negative=1)
    np.testing.assert_allclose(ratio.coefficients[[0, 2]], alone.coefficients, atol=1e-8)


def test_a_constant_feature_does_no_harm() -> None:
    draw = np.random.default_rng(2)
    observed, null = draw.normal(size=(50, 2)) + 1, draw.normal(size=(50, 2))
    observed[:, 1] = null[:, 1] = 0.0
    ratio = fit_density_ratio(observed, null, not_negative=2)
    assert np.isfinite(ratio.of(observed)).all()
    assert ratio.coefficients[1] == pytest.approx(0)


@given(st.floats(0.02, 0.9), st.integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_weights_have_the_mean_that_was_asked_for_and_the_order_of_the_evidence(share: float, seed: int) -> None:
    evidence = np.random.default_rng(seed).normal(scale=2, size=300)
    user = np.arange(300) // 6
    w = weights(evidence, share, user)
    assert w.mean() == pytest.approx(1 - share, abs=1e-6)
    assert ((w > 0) & (w < 1)).all()
    order = np.argsort(evidence)
    assert (np.diff(w[order]) >= 0).all()


def test_a_user_s_own_share_lowers_the_rows_of_a_noisy_account() -> None:
    draw = np.random.default_rng(3)
    user = np.repeat(np.arange(20), 30)
    evidence = draw.normal(size=600) - 2.0 * (user == 0)
    plain, own = weights(evidence, 0.3, user), weights(evidence, 0.3, user, user_prior=20)
    assert own[user == 0].mean() < plain[user == 0].mean() - 0.02
    assert own.mean() == pytest.approx(0.7, abs=1e-6)


def test_the_share_is_that_of_a_mixture_and_has_an_interval() -> None:
    draw = np.random.default_rng(4)
    null = draw.normal(size=20_000)
    observed = np.where(draw.random(10_000) < 0.25, draw.normal(size=10_000), draw.normal(loc=4, size=10_000))
    found = estimate_share(observed, null, np.arange(10_000) // 20)
    assert found.share == pytest.approx(0.25, abs=0.04)
    assert found.low < found.share < found.high
    assert estimate_share(null[:10_000], null, np.arange(10_000) // 20).share == pytest.approx(1.0, abs=0.1)


def test_clean_rows_are_the_likely_ones_and_at_least_half_of_every_user() -> None:
    user = np.array([0, 0, 0, 0, 0, 1, 1, 2])
    evidence = np.array([0.1, 0.5, 0.3, 0.9, 0.2, 2.0, 1.0, -5.0])
    w = np.array([0.1, 0.2, 0.2, 0.6, 0.1, 0.9, 0.8, 0.01])
    assert clean_rows(evidence, w, user).tolist() == [False, True, True, True, False, True, True, True]
