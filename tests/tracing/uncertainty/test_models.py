"""Uncertainty of real models: rows in one order, dropout passes, and the next answers from a frozen history."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.tracing.base import build_tracer
from sensorium.tracing.data.dataset import Answers
from sensorium.tracing.evaluation.predicting import predict
from sensorium.tracing.models.simplekt import SimpleKT
from sensorium.tracing.ukt.model import UKT
from sensorium.tracing.ukt.presets import UKTPoint
from sensorium.tracing.uncertainty.frozen import (
    FromDropout,
    FromMembers,
    FromState,
    choose_blocks,
    joint_likelihood,
    predict_blocks,
)
from sensorium.tracing.uncertainty.planted import plant
from sensorium.tracing.uncertainty.rows import (
    Asked,
    by_dropout,
    by_members,
    by_state,
    dropout_on,
    own_uncertainty,
    targets,
)

WORLD = plant(16, 30, seed=2)
SMALL = {"dim": 16, "heads": 2, "hidden": 16}


def packed(world=WORLD):
    n, length = world.question.shape
    offsets = np.arange(n + 1, dtype=np.int64) * length
    question, response = world.question.ravel().astype(np.int32), world.response.ravel().astype(np.int8)
    return Answers(offsets, question, response, None, world.concepts, world.weight, world.n_concepts, True)


def ukt(cls=UKT):
    model = build_tracer(cls, WORLD.view(slice(0, 8)), cls.Config(**SMALL)).eval()
    if model.readout.loading is not None:
        with torch.no_grad():
            model.readout.loading.weight.mul_(30)
    return model


def simplekt(seed=0):
    return build_tracer(SimpleKT, WORLD.view(slice(0, 8), seed=seed), SimpleKT.Config(**SMALL)).eval()


ASKED = Asked(packed(), np.arange(8, 16), size=16, stride=8)


def test_all_ways_give_the_same_rows_and_ukt_the_numbers_of_its_forward():
    model = ukt()
    ordinary = predict(model, ASKED.answers, ASKED.students, size=16, stride=8)
    found = by_state(model, ASKED)
    assert np.allclose(found.p, ordinary.p, atol=1e-6)
    assert np.allclose(found.variance, ordinary.variance, atol=1e-6)
    rows = targets(ASKED)
    assert np.array_equal(rows.response, ordinary.response)
    assert np.array_equal(rows.student, ordinary.student)
    assert (found.epistemic > 1e-6).all()


def test_passes_with_dropout_differ_and_leave_the_model_as_it_was():
    model = simplekt()
    before = predict(model, ASKED.answers, ASKED.students, size=16, stride=8).p
    found = by_dropout(model, ASKED, passes=4, seed=1)
    assert (found.variance > 0).mean() > 0.9
    assert np.array_equal(predict(model, ASKED.answers, ASKED.students, size=16, stride=8).p, before)
    assert np.array_equal(found.p, by_dropout(model, ASKED, passes=4, seed=1).p)
    with dropout_on(model):
        assert not model.embedding.training  # question dropout belongs to training alone
    without = build_tracer(SimpleKT, WORLD.view(slice(0, 8)), SimpleKT.Config(**SMALL, dropout=0.0)).eval()
    with pytest.raises(DataError, match="no dropout"), dropout_on(without):
        pass


def test_members_of_an_ensemble_and_a_single_model():
    single = own_uncertainty(simplekt(), ASKED)
    assert not single.variance.any()
    both = by_members([simplekt(0), simplekt(1)], ASKED)
    assert (both.variance > 0).mean() > 0.9
    first, second = (by_members([simplekt(seed)], ASKED).p for seed in (0, 1))
    assert np.allclose(both.p, (first + second) / 2)


def test_blocks_have_a_random_phase_and_lie_within_their_students():
    offsets = np.array([0, 3, 40, 90, 400])
    blocks = choose_blocks(offsets, np.arange(4), 5, seed=1)
    rows = blocks.rows()
    assert (rows[:, 0] >= offsets[blocks.student] + 1).all()
    assert (rows[:, -1] < offsets[blocks.student + 1]).all()
    assert len(np.unique(rows)) == rows.size
    assert 0 not in blocks.student  # three answers hold no block of five after the first
    phases = {choose_blocks(offsets, np.array([3]), 5, seed=seed).history.min() for seed in range(20)}
    assert phases == {1, 2, 3, 4, 5}
    assert len(choose_blocks(offsets, np.arange(4), 5, most=7)) == 7
    with pytest.raises(DataError, match="smaller block"):
        choose_blocks(offsets, np.array([0]), 5)


def test_answers_of_a_block_and_after_it_reach_none_of_its_predictions():
    data, model = packed(), ukt()
    blocks = choose_blocks(data.offsets, np.array([9]), 5, seed=0)
    block = type(blocks)(blocks.student[2:3], blocks.start[2:3], blocks.history[2:3], 5)
    for predictor in (FromState(model, draws=8), FromMembers([simplekt()]), FromDropout(simplekt(), passes=2)):
        before = predict_blocks(predictor, data, block)
        changed = data.response.copy()
        changed[block.start[0] :] = 1 - changed[block.start[0] :]
        assert np.array_equal(before, predict_blocks(predictor, _with(data, changed), block))
        changed = data.response.copy()
        changed[block.start[0] - 1] = 1 - changed[block.start[0] - 1]
        assert not np.array_equal(before, predict_blocks(predictor, _with(data, changed), block))


def _with(data, response):
    return Answers(
        data.offsets, data.question, response, None, data.concepts, data.concept_weight, data.n_concepts, True
    )


def test_asking_a_frozen_history_equals_the_masked_blocks_of_the_model_and_the_slow_way():
    data = packed()
    for cls in (UKT, UKTPoint):
        model = ukt(cls)
        blocks = choose_blocks(data.offsets, np.arange(8, 16), 5, seed=3)
        slow = predict_blocks(FromMembers([model]), data, blocks)[0]  # p of each question put behind the history
        if cls is UKTPoint:
            assert np.allclose(predict_blocks(FromState(model), data, blocks)[0], slow, atol=1e-5)
            continue
        many = predict_blocks(FromState(model, draws=20_000), data, blocks).mean(axis=0)
        assert np.abs(many - slow).max() < 0.02


def test_all_answers_of_a_block_share_the_mask_of_a_pass():
    data = packed()
    data.question[:] = 4  # the same question five times: one network says one thing
    blocks = choose_blocks(data.offsets, np.arange(8, 16), 5, seed=3)
    draws = predict_blocks(FromDropout(simplekt(), passes=3), data, blocks)
    assert np.allclose(draws, draws[:, :, :1], atol=1e-6)
    assert draws.std(axis=0).max() > 1e-3


def test_joint_likelihood_equals_the_formula_and_is_nothing_without_doubt():
    rng = np.random.default_rng(0)
    draws, response = rng.uniform(0.05, 0.95, (7, 3, 4)), rng.integers(0, 2, (3, 4))
    found = joint_likelihood(draws, response)
    each = np.where(response == 1, draws, 1 - draws)
    assert np.allclose(found.together * 4, np.log(each.prod(axis=2).mean(axis=0)))
    assert np.allclose(found.apart * 4, np.log(each.mean(axis=0)).sum(axis=1))
    assert np.allclose(joint_likelihood(draws[:1], response).gain, 0)


def test_draws_of_the_truth_gain_and_draws_of_noise_lose():
    world = plant(3000, 5, sd=1.2, seed=6)
    rng = np.random.default_rng(1)
    ability = rng.normal(0, 1.2, (256, 1, 1))
    p = 1 / (1 + np.exp(-(ability + world.ease[world.question])))
    gain = joint_likelihood(p, world.response).gain.mean()
    assert gain > 0.02
    flat = plant(3000, 5, sd=0.0, seed=6)
    assert joint_likelihood(p, flat.response).gain.mean() < 0
