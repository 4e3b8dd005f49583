"""UKT trained on learners whose ability is known: what it doubts, and what it does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from sensorium.tracing.base import build_tracer
from sensorium.tracing.data.dataset import Answers
from sensorium.tracing.ukt.model import UKT
from sensorium.tracing.uncertainty.frozen import FromState, choose_blocks, joint_likelihood, predict_blocks
from sensorium.tracing.uncertainty.planted import plant

pytestmark = pytest.mark.slow

TRAIN, TEST = slice(0, 700), slice(700, 1100)


def trained(world, steps=500):
    """Train with averaged weights, as a run does."""
    model = build_tracer(UKT, world.view(TRAIN), UKT.Config(dim=16, heads=2, hidden=32, dropout=0.1))
    mean = build_tracer(UKT, world.view(TRAIN), model.config)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    draws = np.random.default_rng(0)
    torch.manual_seed(0)
    for step in range(steps):
        batch = world.batch(draws.choice(700, 32, replace=False))
        optimizer.zero_grad()
        sum(model.train().loss(batch).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        with torch.no_grad():
            for average, now in zip(mean.parameters(), model.parameters(), strict=True):
                average.lerp_(now, 1 if step < 50 else 0.01)
    return mean.eval()


def joint_gain(model, world, size=5):
    n, length = world.question.shape
    offsets = np.arange(n + 1, dtype=np.int64) * length
    question, response = world.question.ravel().astype(np.int32), world.response.ravel().astype(np.int8)
    data = Answers(offsets, question, response, None, world.concepts, world.weight, world.n_concepts, True)
    blocks = choose_blocks(offsets, np.arange(700, 1100), size)
    draws = predict_blocks(FromState(model), data, blocks)
    return joint_likelihood(draws, response[blocks.rows()]).gain.mean()


def test_with_abilities_all_equal_there_is_no_joint_gain():
    world = plant(1100, 30, sd=0.0, seed=1)
    assert abs(joint_gain(trained(world), world)) <= 0.001


def test_doubt_follows_the_oracle_where_abilities_differ():
    world = plant(1100, 30, sd=1.2, seed=1)
    model = trained(world)
    with torch.no_grad():
        found = model(world.batch(TEST))
    mean, variance = world.oracle()
    rho = spearmanr(found.variance[:, 1:].ravel(), variance[TEST][:, 1:].ravel()).statistic
    assert rho >= 0.5
    assert found.variance[:, 1:5].mean() > 1.15 * found.variance[:, 22:].mean()  # evidence removes it
    assert joint_gain(model, world) > 0.002
    own = roc_auc_score(world.response[TEST][:, 1:].ravel(), found.p()[:, 1:].ravel())
    best = roc_auc_score(world.response[TEST][:, 1:].ravel(), mean[TEST][:, 1:].ravel())
    assert own > best - 0.02


def test_random_labels_teach_nothing():
    world = plant(1100, 30, seed=2)
    coins = np.random.default_rng(3).integers(0, 2, world.response.shape)
    world = replace(world, response=coins)
    model = trained(world, steps=150)
    with torch.no_grad():
        p = model(world.batch(TEST)).p()[:, 1:]
    assert abs(roc_auc_score(coins[TEST][:, 1:].ravel(), p.ravel()) - 0.5) <= 0.02
