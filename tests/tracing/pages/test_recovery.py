"""Mastery on simulated learners whose knowledge is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from sensorium.experiments.run import run
from sensorium.tracing.data.simulated import SimulationConfig, simulate, simulation_of
from sensorium.tracing.data.splits import split_students
from sensorium.tracing.pages.bundle import from_run
from sensorium.tracing.pages.mastery import concept_weights, learner, mastery
from sensorium.tracing.pages.tested import log_of_tested
from sensorium.tracing.setup import load_trained

pytestmark = pytest.mark.slow


def test_mastery_is_recovered_and_its_band_is_no_decoration(tmp_path):
    data = simulate(tmp_path / "learners", SimulationConfig(students=600, seed=3))
    tree = {
        "kind": "trace",
        "data": {"dataset": str(data.root)},
        # ten answers at once hold pairs on one concept, which is what the doubt about one concept is learned from
        "model": {"name": "ukt-report", "dim": 32, "heads": 2, "hidden": 64},
        "training": {"epochs": 15, "device": "cpu", "optimizer": {"lr": 2e-3}},
        "draws": 100,
    }
    path = run(tree, out=tmp_path / "run").path
    bundle, log, truth, setup = from_run(path), log_of_tested(path), simulation_of(data), load_trained(path)
    split = split_students(setup.dataset, setup.answers, setup.config.data.split, seed=0)
    concepts = np.arange(12)
    question, weights = concept_weights(bundle, concepts)
    table = bundle.concepts[:-1].numpy()
    member = np.stack([(table[question] == number).any(axis=1) for number in concepts], axis=1)  # [N, C]
    share = member / member.sum(axis=1, keepdims=True)
    errors, covered = [], []
    for student in split.test[:60]:
        name = f"student-{student}"
        known = mastery(bundle, learner(log, name), concepts, points=1)
        theta = share @ truth.theta[student]
        p = expit(truth.discrimination[question] * (theta - truth.difficulty[question]))
        true = weights @ p
        errors.append(np.abs(known.mean[-1] - true))
        covered.append((known.low[-1] <= true) & (true <= known.high[-1]))
    print(f"mean absolute error {np.mean(errors):.4f}, 80 % band covers {np.mean(covered):.3f}")  # noqa: T201
    assert np.mean(errors) <= 0.12
    assert 0.7 <= np.mean(covered) <= 0.9  # of a point model's band, 0; with blocks of five, about .56
