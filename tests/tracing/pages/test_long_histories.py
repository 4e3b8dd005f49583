"""Histories longer than a model's window: pages say what `predict` and the evaluation say, and forget no answer."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sensorium.tracing.data.dataset import Answers
from sensorium.tracing.evaluation.predicting import predict
from sensorium.tracing.pages import learner as learner_page
from sensorium.tracing.pages.bundle import from_run
from sensorium.tracing.pages.learner import report_on
from sensorium.tracing.pages.log import make_log
from sensorium.tracing.pages.mastery import concept_weights, learner, mastery
from sensorium.tracing.pages.predicting import predict_open
from sensorium.tracing.pages.suggestions import candidates

ANSWERS = 230  # more than a window of 200
CONCEPT = 2


def own_questions(bundle, number):
    return np.flatnonzero((bundle.concepts[:-1].numpy() == number).any(axis=1))


@pytest.fixture(scope="module")
def bundle_of(make_run, ukt_run):
    def of(model):
        return from_run(ukt_run if model == "ukt" else make_run(model, epochs=1, **OPTIONS.get(model, {})))

    return of


OPTIONS = {"simplekt": {"dim": 16}, "dkt": {"dim": 16}}


def long_table(bundle):
    """Return 15 right answers on one concept, then others in turn, hard and easy."""
    own, rng = own_questions(bundle, CONCEPT), np.random.default_rng(1)
    others = np.setdiff1d(np.arange(30), own)
    asked = [*own[np.arange(15) % len(own)], *others[np.arange(ANSWERS - 15) % len(others)]]
    right = [*[1] * 15, *rng.integers(0, 2, ANSWERS - 15)]
    return pl.DataFrame(
        {"student": "ada", "question": [bundle.question_ids[number] for number in asked], "response": right},
        schema={"student": pl.String, "question": pl.String, "response": pl.Int64},
    )


@pytest.mark.parametrize("model", ["ukt", "simplekt", "dkt", "bestlr", "bkt"])
def test_mastery_is_the_mean_of_what_predict_says_at_every_length(bundle_of, model):
    """KT-6: the same learner, the same moment, one number, after 100 answers and after more than a window of them."""
    bundle = bundle_of(model)
    table = long_table(bundle)
    who = learner(make_log(table, bundle), "ada")
    known = mastery(bundle, who, np.array([CONCEPT]))
    question, weights = concept_weights(bundle, np.array([CONCEPT]))
    opened = pl.DataFrame(
        {"student": "ada", "question": [bundle.question_ids[number] for number in question], "response": None},
        schema=table.schema,
    )
    assert known.after[-1] == ANSWERS
    for place in (int(np.searchsorted(known.after, 100)), int(np.searchsorted(known.after, 212)), -1):
        seen = table.head(int(known.after[place]))
        found = predict_open(bundle, make_log(pl.concat([seen, opened]), bundle))
        assert known.mean[place, 0] == pytest.approx(float(found["p"].to_numpy() @ weights[0]), abs=1e-5)


def test_models_that_count_remember_what_came_before_the_window(make_run):
    """Fifteen right answers and then nineteen to others, where a window holds twenty."""
    bundle = from_run(make_run("bkt", windows={"length": 20, "stride": 10}))
    table = long_table(bundle).head(34)
    known = mastery(bundle, learner(make_log(table, bundle), "ada"), np.array([CONCEPT]), points=35)
    assert known.mean[-1, 0] == pytest.approx(known.mean[15, 0])  # other concepts say nothing of this one
    assert known.mean[15, 0] > known.mean[0, 0] + 0.1
    assert known.practice.tolist() == [15]


def test_a_learner_is_new_at_the_start_and_practice_counts_all_answers(bundle_of):
    bundle = bundle_of("ukt")
    table = long_table(bundle)
    who = learner(make_log(table, bundle), "ada")
    known = mastery(bundle, who, np.array([CONCEPT, 0]))
    fresh = mastery(bundle, learner(make_log(table.head(1), bundle), "ada"), np.array([CONCEPT, 0]))
    assert known.after[0] == 0
    assert known.mean[0] == pytest.approx(fresh.mean[0], abs=1e-6)
    assert known.practice.tolist() == who.concepts_of(np.arange(ANSWERS))[:, [CONCEPT, 0]].sum(axis=0).tolist()
    assert known.practice[0] == 15  # none of them in the last 199


def test_questions_answered_before_the_window_are_not_offered(bundle_of):
    bundle = bundle_of("ukt")
    who = learner(make_log(long_table(bundle), bundle), "ada")
    assert not len(candidates(bundle, who, np.arange(6)))  # all thirty have been answered


@pytest.mark.parametrize("model", ["ukt", "bkt"])
def test_surprises_are_those_of_the_evaluation(bundle_of, model, monkeypatch):
    monkeypatch.setattr(learner_page, "SURPRISE", 0.6)
    bundle = bundle_of(model)
    log = make_log(long_table(bundle), bundle)
    offsets, time, size = np.array([0, ANSWERS]), None, len(bundle.concept_ids)
    question, response = log.question.astype(np.int32), log.response.astype(np.int8)
    data = Answers(offsets, question, response, time, log.concepts, log.concept_weight, size, True)
    found = predict(bundle.model, data, np.array([0]))
    odd = found.position[np.abs(found.response - found.p) > 0.6]
    assert (odd < 199).any()
    report = report_on(bundle, log, "ada")
    assert [one.place - 1 for one in report.surprises] == odd[::-1][:12].tolist()
    expected = found.p[np.searchsorted(found.position, [one.place - 1 for one in report.surprises])]
    assert [one.p for one in report.surprises] == pytest.approx(expected.tolist(), abs=1e-5)
