"""Counts against loops, regression against its own features, Bayesian tracing against enumeration of all paths."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from sensorium.core import registry
from sensorium.testing.tracers import CONCEPTS, QUESTIONS, tiny_answers
from sensorium.tracing.base import GROUP, TracingView, build_tracer
from sensorium.tracing.data.dataset import Answers, concept_table
from sensorium.tracing.data.splits import tracing_view
from sensorium.tracing.data.windows import make_batch, whole_histories
from sensorium.tracing.evaluation.metrics import auc
from sensorium.tracing.evaluation.predicting import predict
from sensorium.tracing.models.bestlr import BestLR
from sensorium.tracing.models.bkt import BKT, PSEUDO, chains_of, expected_counts, forward_pass
from sensorium.tracing.models.counts import concept_links, past_counts, rows_of


def test_counts_of_the_past_against_a_loop() -> None:
    answers = tiny_answers()
    batch = make_batch(answers, whole_histories(answers.lengths, np.arange(6)))
    rows = rows_of(batch)
    row, concept = concept_links(rows.question, answers.concepts.numpy(), CONCEPTS)
    attempts, wins = past_counts(rows.sequence[row], concept, rows.right[row])
    seen: dict[tuple[int, int], tuple[int, int]] = {}
    place = 0
    for index, (sequence, question, right) in enumerate(zip(rows.sequence, rows.question, rows.right, strict=True)):
        own = [c for c in answers.concepts[question].tolist() if c < CONCEPTS]
        for c in own:
            assert (row[place], concept[place]) == (index, c)
            assert (attempts[place], wins[place]) == seen.get((sequence, c), (0, 0))
            place += 1
        for c in own:
            n, won = seen.get((sequence, c), (0, 0))
            seen[sequence, c] = n + 1, won + int(right)
    assert place == len(row)


def fitted(name: str, **options: object) -> tuple[BestLR | BKT, Answers, TracingView]:
    answers = tiny_answers(students=120)
    view = tracing_view(answers, np.arange(100), seed=1)
    cls = registry.get(GROUP, name)
    return build_tracer(cls, view, cls.Config(**options)), answers, view


def test_regression_uses_the_past_alone_and_beats_the_question_alone() -> None:
    values = {}
    for name in ("irt", "pfa", "bestlr"):
        model, answers, _ = fitted(name)
        found = predict(model, answers, np.arange(100, 120))
        values[name] = auc(found.p, found.response)
    assert values["bestlr"] > values["pfa"] - 0.02
    assert values["bestlr"] > values["irt"] + 0.03


def test_regression_columns() -> None:
    model, answers, view = fitted("bestlr")
    assert isinstance(model, BestLR)
    assert len(model.coefficient) == QUESTIONS + 3 * CONCEPTS + 4
    batch = make_batch(answers, whole_histories(answers.lengths, np.array([0])))
    matrix = model.features(rows_of(batch), answers.concepts.numpy()).toarray()
    question, right = answers.question[: len(matrix)], answers.response[: len(matrix)]
    t = len(matrix) - 1
    assert matrix[t, question[t]] == 1
    totals = matrix[t, -4:]
    same = question[:t] == question[t]
    expected = [same.sum(), right[:t][same].sum(), t, right[:t].sum()]
    assert np.allclose(totals, np.log1p(expected))
    unseen = torch.from_numpy(view.question_count() == 0)
    assert (model.coefficient[:QUESTIONS][unseen] == 0).all()


def test_without_questions_only_their_easiness_alone_has_columns_of_questions() -> None:
    answers = tiny_answers(students=120)
    concepts, weight = concept_table(np.arange(CONCEPTS), np.arange(CONCEPTS), CONCEPTS, CONCEPTS)
    question = answers.question % CONCEPTS
    alone = replace(answers, question=question, concepts=concepts, concept_weight=weight, has_questions=False)
    columns = {}
    for name in ("irt", "pfa", "bestlr"):
        cls = registry.get(GROUP, name)
        model = build_tracer(cls, tracing_view(alone, np.arange(100), seed=1), cls.Config())
        assert isinstance(model, BestLR)
        columns[name] = len(model.coefficient), int((model.coefficient != 0).sum())
    assert columns["irt"] == (CONCEPTS + 3 * CONCEPTS + 4, CONCEPTS)
    assert columns["pfa"] == (3 * CONCEPTS + 2, 3 * CONCEPTS)
    assert columns["bestlr"] == (3 * CONCEPTS + 2, 3 * CONCEPTS + 2)  # counts in all beside
    batch = make_batch(alone, whole_histories(alone.lengths, np.arange(100, 120)))
    matrix = model.features(rows_of(batch), concepts.numpy())
    assert np.unique(matrix.toarray(), axis=1).shape == matrix.shape  # no column stands twice
    logit = matrix @ model.coefficient.numpy() + float(model.intercept)
    assert np.allclose(model(batch).logit[batch.mask], logit, atol=1e-5)


def brute_force(right: list[int], prior: float, learn: float, guess: float, slip: float, forget: float) -> float:
    """Return the probability of a sequence of answers, summed over all paths of mastery."""
    total = 0.0
    for path in product((0, 1), repeat=len(right)):
        p = prior if path[0] else 1 - prior
        for before, after in pairwise(path):
            change = forget if before else learn
            p *= change if before != after else 1 - change
        for state, answer in zip(path, right, strict=True):
            chance = 1 - slip if state else guess
            p *= chance if answer else 1 - chance
        total += p
    return total


@pytest.mark.parametrize("forget", [0.0, 0.15])
def test_forward_pass_and_likelihood_against_all_paths(forget: float) -> None:
    values = (0.3, 0.2, 0.25, 0.1, forget)
    sequences = [[1, 0, 1, 1], [0, 0], [1]]
    sequence = np.repeat(np.arange(3), [4, 2, 1])
    right = np.array([answer for answers in sequences for answer in answers])
    chains = chains_of(sequence, np.zeros(7, dtype=np.int64), right)
    parameters = np.array(values)[None, :, None]
    predicted = forward_pass(chains, parameters).predicted
    for index in range(3):
        entries = np.flatnonzero(sequence == index)
        for t, entry in enumerate(entries):
            before = sequences[index][:t]
            expected = brute_force([*before, 1], *values) / (brute_force(before, *values) if before else 1.0)
            assert predicted[0, chains.entry[entry]] == pytest.approx(expected)
    counts, likelihood = expected_counts(chains, parameters)
    assert likelihood[0, 0] == pytest.approx(sum(np.log(brute_force(answers, *values)) for answers in sequences))
    assert counts[0, 2:4].sum() == pytest.approx(7)  # every answer was guessed, slipped or neither
    assert counts[0, 0].sum() == pytest.approx(3)
    assert counts[0, [1, 4]].sum() == pytest.approx(4)  # every step from one answer to the next


def test_long_chains_stay_finite() -> None:
    """Hundreds of equal answers make one of the states impossible to the last bit: nothing may overflow."""
    right = np.concatenate([np.ones(500), np.zeros(1500), np.ones(1500), np.zeros(40)]).astype(np.int64)
    chains = chains_of(np.zeros(len(right), dtype=np.int64), np.zeros(len(right), dtype=np.int64), right)
    for values in ((0.5, 0.01, 0.02, 0.01, 0.0), (0.01, 0.5, 0.5, 1e-3, 0.2), (0.5, 0.1, 0.2, 0.1, 0.0)):
        with np.errstate(all="raise", under="ignore"):
            counts, likelihood = expected_counts(chains, np.array(values)[None, :, None])
        assert np.isfinite(counts).all()
        assert np.isfinite(likelihood).all()
        assert counts[0, 2:4].sum() == pytest.approx(len(right))
        passed = forward_pass(chains, np.array(values)[None, :, None])
        assert ((passed.mastery >= 0) & (passed.mastery <= 1 + 1e-12)).all()
        assert np.allclose(passed.mastery + passed.unmastered, 1, atol=1e-9)


def test_every_step_of_the_fit_raises_the_posterior() -> None:
    answers = tiny_answers(students=60)
    model = BKT.__new__(BKT)
    object.__setattr__(model, "config", BKT.Config())
    random = np.random.default_rng(0)
    skill = answers.question.astype(np.int64) % 4
    chains = chains_of(answers.student.astype(np.int64), skill, answers.response.astype(np.int64))
    parameters = random.uniform(0.05, 0.45, (2, 5, 4))
    parameters[:, 4] = 0
    before = np.full((2, 4), -np.inf)
    for _ in range(15):
        counts, likelihood = expected_counts(chains, parameters)
        inside = np.clip(parameters[:, :4], 1e-9, 1 - 1e-9)
        prior = (PSEUDO[:4, 0, None] * np.log(inside) + PSEUDO[:4, 1, None] * np.log1p(-inside)).sum(1)
        assert (likelihood + prior >= before - 1e-9).all()
        before = likelihood + prior
        parameters = BKT._maximise(model, counts)


def test_planted_parameters_are_recovered() -> None:
    random = np.random.default_rng(5)
    truth = {"prior": 0.25, "learn": 0.15, "guess": 0.2, "slip": 0.08}
    S, T = 600, 12
    mastered = random.random(S) < truth["prior"]
    right = np.empty((S, T), dtype=np.int8)
    for t in range(T):
        right[:, t] = random.random(S) < np.where(mastered, 1 - truth["slip"], truth["guess"])
        mastered |= random.random(S) < truth["learn"]
    concepts, weight = concept_table(np.array([0]), np.array([0]), 1, 1)
    answers = Answers(
        np.arange(S + 1) * T, np.zeros(S * T, dtype=np.int32), right.reshape(-1), None, concepts, weight, 1, False
    )
    model = build_tracer(BKT, tracing_view(answers, np.arange(S)), BKT.Config())
    found = model.parameters_by_skill[:4, 0].numpy()
    assert np.abs(found - np.array(list(truth.values()))).max() < 0.05
    assert model.notices() == []


def test_degenerate_skills_are_named() -> None:
    """KT-5: where guess + slip reaches 1, mastery means nothing."""
    model, _, _ = fitted("bkt")
    assert isinstance(model, BKT)
    model.parameters_by_skill[2:4, 0] = 0.5
    assert "1 of" in model.notices()[0]
    assert "guess + slip" in model.notices()[0]


@pytest.mark.parametrize("several", ["combination", "mean"])
def test_a_skill_without_rows_has_the_means_of_its_pseudo_counts(several: str) -> None:
    model, answers, view = fitted("bkt", several=several)
    found = predict(model, answers, np.array([119]))
    unseen = view.question_count()[found.question] == 0
    first = np.flatnonzero(unseen)[0]
    assert found.p[first] == pytest.approx(0.5 * (1 - 0.125) + 0.5 * 0.25, abs=1e-6)
