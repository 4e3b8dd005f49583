"""Priors of the logit: counts against a loop over rows, no history that a network may not see, a start at nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sensorium.testing.tracers import CONCEPTS, tiny_answers
from sensorium.tracing.attention import visible_keys
from sensorium.tracing.base import build_tracer
from sensorium.tracing.data.splits import tracing_view
from sensorium.tracing.data.windows import Windows, make_batch
from sensorium.tracing.models.simplekt import SimpleKT
from sensorium.tracing.priors import Priors, count_past
from sensorium.tracing.ukt.model import UKT

ANSWERS = tiny_answers()
VIEW = tracing_view(ANSWERS, np.arange(38))
SMALL = {"dim": 8, "heads": 2, "hidden": 8, "dropout": 0.0}


def some(students=6):
    zero = np.zeros(students, dtype=np.int64)
    return make_batch(ANSWERS, Windows(np.arange(students), zero, ANSWERS.lengths[:students], zero + 1))


def moved(priors):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in priors.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return priors


def test_counts_equal_a_loop_over_rows():
    batch = some()
    found = count_past(batch, batch.response, batch.question, visible_keys(batch.mask, current=False)[:, 0])
    for b, length in enumerate(batch.mask.sum(1).tolist()):
        question, right = batch.question[b].tolist(), batch.response[b].tolist()
        own = [[c for c in batch.concepts[q].tolist() if c < CONCEPTS] for q in question]
        for t in range(length):
            each = []
            for concept in own[t]:
                rows = [j for j in range(t) if concept in own[j]]
                each.append(np.log1p([len(rows), sum(right[j] for j in rows)]))
            same = [j for j in range(t) if question[j] == question[t]]
            expected = np.concatenate(
                [np.mean(each, axis=0), np.log1p([len(same), sum(right[j] for j in same), t, sum(right[:t])])]
            )
            assert np.allclose(found.all[b, t], expected, atol=1e-6)
            assert np.allclose(found.concept[b, t, : len(each)], each, atol=1e-6)
            assert not found.concept[b, t, len(each) :].any()


@pytest.mark.parametrize("kind", ["bias", "counts"])
def test_the_term_against_its_formula(kind):
    batch, priors = some(), moved(Priors(VIEW, kind))
    visible = visible_keys(batch.mask, current=False)[:, 0]
    with torch.no_grad():
        found = priors(batch, batch.response, batch.question, visible)[2, 3]
        q = int(batch.question[2, 3])
        own = [c for c in batch.concepts[q].tolist() if c < CONCEPTS]
        expected = priors.question.weight[q, 0] + priors.concept.weight[own, 0].mean()
        if kind == "counts":
            counts = count_past(batch, batch.response, batch.question, visible)
            z, each = counts.all[2, 3], counts.concept[2, 3, : len(own)]
            expected = expected + priors.linear.weight[0] @ z + priors.mlp(z)[0]
            expected = expected + (priors.by_concept[own] * each).sum(1).mean()
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("cls", [SimpleKT, UKT])
def test_a_network_with_priors_begins_as_the_one_without(cls):
    batch = some()
    plain, other = (build_tracer(cls, VIEW, cls.Config(**SMALL, priors=kind)).eval() for kind in ("none", "counts"))
    with torch.no_grad():
        assert torch.equal(plain(batch).logit, other(batch).logit)


def test_question_dropout_takes_the_easiness_of_a_question_too():
    batch, priors = some(), moved(Priors(VIEW, "bias"))
    visible = visible_keys(batch.mask, current=False)[:, 0]
    with torch.no_grad():
        dropped = priors(batch, batch.response, batch.question, visible, torch.zeros(*batch.mask.shape, 1))
        assert torch.equal(dropped, priors.concept(batch)[..., 0])


def test_counts_of_a_hidden_block_and_of_a_flipped_history():
    """In the view of the joint loss the answers of a row's own block reach no count; counts read what is flipped."""
    model = build_tracer(UKT, VIEW, UKT.Config(**SMALL, priors="counts")).eval()
    moved(model.priors)
    batch = some()
    block = torch.arange(batch.mask.shape[1]).expand(len(batch.question), -1) // 5
    changed = batch.response.clone()
    changed[:, 5:8] = 1 - changed[:, 5:8]
    with torch.no_grad():
        before, _ = model.read(batch, batch.response, block)
        after, _ = model.read(batch, changed, block)
    assert torch.allclose(before[:, :10], after[:, :10], atol=1e-6)
    there = batch.mask[:, 10:]
    assert not torch.allclose(before[:, 10:][there], after[:, 10:][there], atol=1e-4)
    shown = visible_keys(batch.mask, current=False)[:, 0]
    true, flipped = (count_past(batch, r, batch.question, shown).all for r in (batch.response, 1 - batch.response))
    assert not torch.equal(true[..., 1], flipped[..., 1])
    assert torch.equal(true[..., 0], flipped[..., 0])


def test_asked_questions_have_the_counts_of_their_place():
    model = build_tracer(UKT, VIEW, UKT.Config(**SMALL, priors="counts")).eval()
    moved(model.priors)
    batch = some()
    with torch.no_grad():
        logit, _ = model.read(batch, batch.response)
        after = torch.arange(1, 5).expand(len(batch.question), -1)
        asked, _ = model.ask(model.history(batch), batch, batch.question[:, 1:5], after)
    assert torch.allclose(asked, logit[:, 1:5], atol=1e-5)
