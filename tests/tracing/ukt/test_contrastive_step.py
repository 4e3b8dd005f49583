"""What one step of training with the contrastive term does to a whole model: the views of a learner, near or far."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from sensorium.tracing.base import build_tracer
from sensorium.tracing.ukt.contrastive import RELEASED_WEIGHT, pooled
from sensorium.tracing.ukt.gaussian import deviation
from sensorium.tracing.ukt.model import UKT
from sensorium.tracing.uncertainty.planted import plant

WORLD = plant(32, 40, seed=5)
BATCH = WORLD.batch(slice(None))
FAR = {"dropout": 0.5, "question_dropout": 0.5, "flip_max": 1.0}  # views that have little in common at the start


def model_of(contrastive, **options):
    config = UKT.Config(contrastive=contrastive, joint=0.0, **options)
    return build_tracer(UKT, WORLD.view(slice(None)), config).train()


def distances(model, seed):
    """Return W2 of the two views of a learner, and the same on the unit sphere by that of all pairs of states."""
    torch.manual_seed(seed)
    with torch.no_grad():
        states = [model.read(BATCH, answers)[1] for answers in (BATCH.response, model._augmented(BATCH))]
        a, b = (pooled(state.mean, deviation(state.spread), BATCH.mask) for state in states)
        positives = (a - b).square().sum(-1).mean().item()
        a, b = (functional.normalize(one, dim=-1) for one in (a, b))
        every = torch.cat([a, b])
        share = (a - b).square().sum(-1).mean() / torch.cdist(every, every).square().mean()
    return positives, share.item()


def after_one_step(model, seed):
    """Return the distances before and after one step of Adam on the contrastive term, and the term before it."""
    before = distances(model, seed)
    torch.manual_seed(seed)
    term = model.loss(BATCH)["contrastive"]
    term.backward()
    torch.optim.Adam(model.parameters(), lr=1e-3).step()
    return before, distances(model, seed), term.item()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("options", [{}, FAR])
def test_one_step_brings_the_views_of_a_learner_nearer_and_one_of_the_released_term_drives_them_apart(options, seed):
    """Beside the distance of all states: these start close together, and a step of either term spreads them."""
    before, after, _ = after_one_step(model_of(1.0, **options), seed)
    assert after[1] < 0.95 * before[1]
    before, after, _ = after_one_step(model_of("released", **options), seed)
    assert after[1] > 1.05 * before[1]
    assert after[0] > before[0]  # and by themselves


def test_a_model_at_its_random_start_is_near_chance():
    chance = math.log(2 * len(BATCH.mask) - 1)
    _, _, term = after_one_step(model_of(1.0, **FAR), 0)
    assert term == pytest.approx(chance, rel=0.05)
    _, _, term = after_one_step(model_of(1.0), 0)  # the views share their questions, which is a little to pick by
    assert 0.9 * chance < term < chance
    _, _, term = after_one_step(model_of("released", **FAR), 0)
    assert term / RELEASED_WEIGHT > chance  # the minus makes the partner the last choice
