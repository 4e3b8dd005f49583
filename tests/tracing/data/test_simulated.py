"""The observer of simulated learners: a grid's posterior for one ability, calibrated, below the truth."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from sensorium.tracing.data.simulated import SimulationConfig, draw, ideal_observer
from sensorium.tracing.evaluation.metrics import auc, reliability


def test_with_one_ability_the_observer_is_the_posterior_on_a_grid():
    config = SimulationConfig(students=40, questions=12, concepts=3, own_sd=0.0, gain=0.05, shortest=10, longest=25)
    drawn = draw(config)
    found = ideal_observer(drawn, config)
    grid = np.linspace(-5, 5, 401)
    weight = np.zeros((12, 3))
    weight[drawn.link_question, drawn.link_concept] = 1
    member, weight = weight.copy(), weight / weight.sum(1, keepdims=True)
    gaps = []
    for student in range(5):
        log_belief, practice = -(grid**2) / 2, np.zeros(3)
        for row in np.flatnonzero(drawn.student == student):
            q = drawn.question[row]
            offset = weight[q] @ (drawn.gain * np.minimum(practice, config.practice_cap)) - drawn.difficulty[q]
            right = expit(drawn.discrimination[q] * (grid + offset))
            belief = np.exp(log_belief - log_belief.max())
            gaps.append(abs(found[row] - (belief * right).sum() / belief.sum()))
            log_belief += np.log(right if drawn.response[row] else 1 - right)
            practice += member[q]
    assert np.mean(gaps) < 0.004  # a Gaussian instead of the posterior's own shape
    assert np.max(gaps) < 0.02


def test_the_observer_is_calibrated_and_no_better_than_the_truth():
    config = SimulationConfig(students=400, seed=5)
    drawn = draw(config)
    p = ideal_observer(drawn, config)
    assert reliability(p, drawn.response).ece < 0.012
    assert auc(drawn.p, drawn.response) - 0.05 < auc(p, drawn.response) < auc(drawn.p, drawn.response) - 0.01


def test_where_all_learners_are_alike_the_observer_knows_the_truth():
    config = SimulationConfig(students=20, ability_sd=0.0, own_sd=0.0)
    drawn = draw(config)
    assert np.allclose(ideal_observer(drawn, config), drawn.p, atol=1e-6)
