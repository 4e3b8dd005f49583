"""Decomposition, selective prediction, bands and temperatures against definitions and planted truths."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, logit

from sensorium.core.errors import ConfigError, DataError
from sensorium.tracing.uncertainty.bands import judge_bands, poisson_binomial, score_distribution
from sensorium.tracing.uncertainty.calibration import fit_temperature, scaled
from sensorium.tracing.uncertainty.decomposition import decompose, entropy, gaussian_nodes
from sensorium.tracing.uncertainty.noise import flip_history
from sensorium.tracing.uncertainty.resampling import difference, interval, weighted_mean
from sensorium.tracing.uncertainty.selective import accuracy_interval, accuracy_kept, scores_of, selective

RNG = np.random.default_rng(0)


# --- decomposition --------------------------------------------------------------------------------------------------


@given(arrays(np.float64, (6, 4), elements=st.floats(0.001, 0.999)))
@settings(max_examples=50, deadline=None)
def test_doubt_is_never_below_zero_and_parts_add_up(draws):
    found = decompose(draws)
    assert (found.epistemic >= -1e-9).all()
    assert np.allclose(found.aleatory + found.epistemic, found.total)
    assert np.allclose(found.variance, draws.var(axis=0))
    assert (found.total <= np.log(2) + 1e-12).all()


def test_draws_that_agree_have_no_doubt():
    found = decompose(np.tile([0.2, 0.9], (5, 1)))
    assert np.allclose(found.variance, 0)
    assert np.allclose(found.epistemic, 0)
    assert np.allclose(found.aleatory, entropy(np.array([0.2, 0.9])))
    assert set(scores_of(decompose(np.array([[0.3, 0.8]])))) == {"confidence"}


def test_nodes_of_a_gaussian_logit_equal_draws():
    m, v = np.array([0.4, -1.2]), np.array([0.5, 2.0])
    nodes = decompose(*gaussian_nodes(m, v))
    drawn = decompose(expit(m + np.sqrt(v) * RNG.standard_normal((400_000, 2))))
    for name in ("p", "variance", "total", "aleatory"):
        assert np.allclose(getattr(nodes, name), getattr(drawn, name), atol=2e-3)


# --- selective prediction -------------------------------------------------------------------------------------------


def answers(n=20_000):
    p = RNG.beta(2, 1.5, n)
    return p, (RNG.random(n) < p).astype(int)


def test_with_calibrated_probabilities_no_order_beats_confidence():
    p, response = answers()
    by_confidence = selective(p, response, np.abs(p - 0.5))
    by_chance = selective(p, response, RNG.random(len(p)))
    by_p = selective(p, response, p)
    assert by_confidence.accuracy[0.8] > max(by_p.accuracy[0.8], by_chance.accuracy[0.8]) + 0.02
    assert by_confidence.aurc < min(by_p.aurc, by_chance.aurc) - 0.02
    assert by_confidence.error_ratio > 1.4
    assert by_chance.error_ratio == pytest.approx(1, abs=0.06)
    assert by_confidence.accuracy[1.0] == by_chance.accuracy[1.0]


def test_the_oracle_has_no_excess_and_numbers_follow_their_definitions():
    p, response = np.array([0.9, 0.8, 0.4, 0.3, 0.7]), np.array([1, 0, 1, 0, 1])
    wrong = (p >= 0.5) != (response == 1)
    oracle = selective(p, response, -wrong.astype(float))
    assert oracle.excess == 0
    found = selective(p, response, [5, 4, 3, 2, 1])
    assert found.running.tolist() == pytest.approx([0, 1 / 2, 2 / 3, 2 / 4, 2 / 5])
    assert found.aurc == pytest.approx(np.mean([0, 1 / 2, 2 / 3, 2 / 4, 2 / 5]))
    assert found.accuracy[0.8] == pytest.approx(0.5)
    assert found.error_ratio == 0  # the deferred fifth is right
    assert found.numbers()["acc@1"] == pytest.approx(0.6)


def test_equal_scores_keep_the_order_of_rows():
    p, response = answers(1000)
    found = selective(p, response, np.zeros(1000))
    wrong = (p >= 0.5) != (response == 1)
    assert found.running[99] == pytest.approx(wrong[:100].mean())


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match="NaN"):
        selective([0.2, 0.3], [1, 0], [1.0, np.nan])
    with pytest.raises(DataError):
        selective([], [], [])


def test_weighted_accuracy_of_ones_is_the_accuracy_of_the_curve_and_intervals_hold_it():
    p, response = answers(4000)
    certainty = np.abs(p - 0.5)
    direct = selective(p, response, certainty).accuracy[0.8]
    assert accuracy_kept(p, response, certainty)(np.ones(4000)) == pytest.approx(direct, abs=1e-3)
    found = accuracy_interval(p, response, certainty, np.arange(4000) // 20)
    assert found.low < direct < found.high
    assert found.high - found.low < 0.06


# --- intervals over students ----------------------------------------------------------------------------------------


def test_intervals_over_students_are_wider_than_over_rows_where_students_differ():
    student = np.repeat(np.arange(40), 50)
    values = RNG.normal(0, 1, 40)[student] + RNG.normal(0, 0.1, 2000)
    by_student = interval(weighted_mean(values), student, resamples=300)
    by_row = interval(weighted_mean(values), np.arange(2000), resamples=300)
    assert by_student.high - by_student.low > 3 * (by_row.high - by_row.low)
    assert by_student.mean == pytest.approx(values.mean())


def test_paired_differences_cancel_what_students_share():
    student = np.repeat(np.arange(40), 25)
    base = RNG.normal(0, 1, 40)[student]
    found = difference(weighted_mean(base + 0.01), weighted_mean(base), student, resamples=200)
    assert found.low == pytest.approx(0.01)
    assert found.high == pytest.approx(0.01)
    same = difference(weighted_mean(base), weighted_mean(base), student, resamples=200)
    assert same.p == 1


# --- bands ----------------------------------------------------------------------------------------------------------


def test_poisson_binomial_equals_all_outcomes():
    p = RNG.random((3, 5))
    brute = np.zeros((3, 6))
    for outcome in product([0, 1], repeat=5):
        brute[:, sum(outcome)] += np.prod(np.where(np.array(outcome) == 1, p, 1 - p), axis=1)
    assert np.allclose(poisson_binomial(p), brute)


def test_shared_draws_give_a_wider_distribution_of_the_same_mean():
    draws = expit(RNG.normal(0.3, 1.2, (300, 4, 1)) + RNG.normal(0, 0.5, (1, 4, 10)))
    shared, apart = score_distribution(draws), poisson_binomial(draws.mean(axis=0))
    number = np.arange(11)
    assert np.allclose(shared @ number, apart @ number)
    assert ((shared @ number**2) > (apart @ number**2) + 0.5).all()


def test_right_bands_cover_their_level_and_too_narrow_ones_do_not():
    theta = RNG.normal(0, 1.5, 3000)
    p = expit(theta)
    right = RNG.binomial(10, p)
    draws = expit(RNG.normal(0, 1.5, (400, 1, 1)))
    believed = np.repeat(score_distribution(np.repeat(draws, 10, axis=2)), 3000, axis=0)
    independent = np.repeat(poisson_binomial(np.full((1, 10), draws.mean())), 3000, axis=0)
    honest, narrow = judge_bands(believed, right), judge_bands(independent, right)
    assert honest.covered.mean() == pytest.approx(0.8, abs=0.03)
    assert narrow.covered.mean() < 0.6
    assert honest.crps.mean() < narrow.crps.mean()
    assert honest.width.mean() > narrow.width.mean()
    assert abs(honest.pit.mean() - 0.5) < 0.03
    assert np.histogram(honest.pit, 5, (0, 1))[0].min() > 450  # uniform: 600 each


def test_crps_equals_its_definition_by_pairs():
    pmf = np.array([[0.1, 0.2, 0.4, 0.3]])
    for truth in range(4):
        values = np.arange(4)
        expected = (pmf[0] * abs(values - truth)).sum() - 0.5 * (
            pmf[0][:, None] * pmf[0] * abs(values[:, None] - values)
        ).sum()
        assert judge_bands(pmf, np.array([truth])).crps[0] == pytest.approx(expected)


# --- temperature and noise ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_planted_temperature_is_found_and_undone(temperature):
    p = RNG.beta(2, 2, 60_000)
    response = RNG.random(60_000) < p
    told = expit(logit(p) / temperature)  # over- or under-confident by a known factor
    found = fit_temperature(told, response)
    assert found == pytest.approx(1 / temperature, rel=0.05)
    assert np.abs(scaled(told, found) - p).max() < 0.02
    with pytest.raises(DataError):
        fit_temperature([], [])


def test_flips_are_the_same_for_all_rates_and_one_sided_where_asked():
    response = (RNG.random(50_000) < 0.6).astype(np.int8)
    some, more = flip_history(response, 0.1), flip_history(response, 0.3)
    assert (some != response).mean() == pytest.approx(0.1, abs=0.01)
    assert ((some != response) <= (more != response)).all()
    slips, guesses = (flip_history(response, 0.3, flip=side) for side in ("slip", "guess"))
    assert response[slips != response].all()
    assert not response[guesses != response].any()
    assert np.array_equal((slips != response) | (guesses != response), more != response)
    assert np.array_equal(flip_history(response, 0.0), response)
    assert np.array_equal(flip_history(response, 0.2), flip_history(response, 0.2))
    with pytest.raises(ConfigError):
        flip_history(response, 1.5)
