"""Fits: signs, the pair term, and nothing of what is left out."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.seeds import numpy_generator
from sensorium.evaluation.agreement import spearman
from sensorium.judging.metric.fitting import Rated, fit

PROMPTS = np.repeat(np.arange(10), 4)


def rated(seed: int = 0) -> Rated:
    draw = numpy_generator(seed, "rated")
    table = draw.normal(size=(40, 3))
    copies = table[None] + np.array([1.5, 0.0, 0.0]) + 0.1 * draw.normal(size=(2, 40, 3))
    target = np.clip(3 - 0.5 * table[:, 0] + 0.4 * table[:, 1] + 0.2 * draw.normal(size=40), 1, 5)
    return Rated(table, copies, target, (-1, 1, 0), 1.0, (0.0, 0.0, 0.0))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999), signs=st.tuples(*[st.sampled_from([-1, 0, 1])] * 3), balance=st.sampled_from([0, 0.2, 3])
)
def test_signs_hold_whatever_the_data_say(seed: int, signs: tuple[int, ...], balance: float) -> None:
    found = replace(rated(seed), signs=signs, balance=balance).fit()
    assert all(weight * sign >= 0 for weight, sign in zip(found.weight, signs, strict=True))


def test_without_bounds_and_pairs_it_is_least_squares() -> None:
    one = rated()
    found = fit(one.table, one.target, (0, 0, 0))
    z = np.clip((one.table - one.table.mean(axis=0)) / one.table.std(axis=0), -3, 3)
    expected, *_ = np.linalg.lstsq(np.column_stack([z, np.ones(40)]), one.target, rcond=None)
    assert [*found.weight, found.intercept] == pytest.approx(expected)


def test_the_pair_term_is_that_of_its_formula() -> None:
    """Σ(ŷ−y)² + λ (n/|Q|) Σ(ŷ_a−ŷ_b−1)², by its normal equations, where no bound is met."""
    one = rated()
    better = np.concatenate([one.table, one.table])
    worse = one.copies.reshape(-1, 3)
    found = fit(one.table, one.target, (0, 0, 0), pairs=(better, worse), balance=0.7)
    mean, deviation = one.table.mean(axis=0), one.table.std(axis=0)
    z = [
        np.column_stack([np.clip((side - mean) / deviation, -3, 3), np.ones(len(side))])
        for side in (one.table, better, worse)
    ]
    gap, strength = z[1] - z[2], 0.7 * 40 / 80
    left = z[0].T @ z[0] + strength * gap.T @ gap
    right = z[0].T @ one.target + strength * gap.T @ np.ones(80)
    assert [*found.weight, found.intercept] == pytest.approx(np.linalg.solve(left, right))


def test_pairs_teach_what_ratings_hide() -> None:
    """Rated clips that never vary in a defect say nothing about it; their spoiled copies do."""
    one = rated()
    table, copies = one.table.copy(), one.copies.copy()
    table[:, 0], copies[:, :, 0] = 0.0, 1.0
    blind = replace(one, table=table, copies=copies, balance=0.0).fit()
    taught = replace(one, table=table, copies=copies, balance=1.0).fit()
    assert blind.weight[0] == pytest.approx(0, abs=1e-9)
    assert taught.weight[0] < -0.5
    assert (taught.predict(copies[0]) < taught.predict(table)).all()


def test_scores_stay_on_the_scale_and_gaps_count_as_average() -> None:
    found = rated().fit()
    assert found.predict(np.array([[-99.0, 99, 0], [99, -99, 0]])) == pytest.approx([5, 1], abs=1.5)
    assert ((found.predict(1e9 * np.ones((1, 3))) >= 1) & (found.predict(1e9 * np.ones((1, 3))) <= 5)).all()
    assert found.predict(np.full((1, 3), np.nan)) == pytest.approx([found.intercept])


def test_a_least_deviation_is_kept() -> None:
    table = np.zeros((20, 1))
    table[0] = 0.001
    found = fit(table, np.linspace(1, 5, 20), (0,), least=(0.2,))
    assert found.deviation == pytest.approx([0.2])


@pytest.mark.parametrize("held", [0, 7])
def test_nothing_of_a_held_out_prompt_reaches_its_fit(held: int) -> None:
    """7.9: neither ratings of a held-out prompt's clips nor their spoiled copies are in the fit that predicts them."""
    one, inside = rated(), held == PROMPTS
    before, copies_before = one.left_out(PROMPTS)
    target = np.where(inside, 5 - one.target, one.target)
    copies = one.copies.copy()
    copies[:, inside] += 100.0
    after, _ = replace(one, target=target, copies=copies).left_out(PROMPTS)
    assert np.array_equal(before[inside], after[inside])
    assert not np.allclose(before[~inside], after[~inside])  # the others' fits did see them
    _, copies_after = replace(one, target=target).left_out(PROMPTS)
    assert np.array_equal(copies_before[:, inside], copies_after[:, inside])


def test_dealt_out_ratings_predict_nothing() -> None:
    """7.9: mean rho of permuted ratings at most .10."""
    one, draw = rated(), numpy_generator(3, "dealt")
    values = []
    for _ in range(20):
        dealt = replace(one, target=draw.permutation(one.target))
        values.append(spearman(dealt.left_out(PROMPTS)[0], dealt.target))
    assert np.mean(values) <= 0.10
    assert spearman(one.left_out(PROMPTS)[0], one.target) > 0.6
