"""UKT as a whole: causality, padding, blocks, presets, positive deviations, and questions asked of a history."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from sensorium.core.config import build
from sensorium.core.errors import ConfigError
from sensorium.tracing.base import build_tracer
from sensorium.tracing.embedding import VariationalDeviation
from sensorium.tracing.ukt.contrastive import contrastive_loss, pooled, released_loss
from sensorium.tracing.ukt.gaussian import deviation
from sensorium.tracing.ukt.model import UKT
from sensorium.tracing.ukt.presets import UKTPoint, UKTReleased, UKTRobust
from sensorium.tracing.ukt.views import random_blocks
from sensorium.tracing.uncertainty.planted import plant

SMALL = {"dim": 16, "heads": 2, "hidden": 16}
PRESETS = [UKT, UKTPoint, UKTRobust, UKTReleased]
WORLD = plant(12, 14, seed=3)


def model_of(cls=UKT, **options):
    made = build_tracer(cls, WORLD.view(slice(0, 8)), cls.Config(**SMALL, **options))
    with torch.no_grad():  # what starts at 0 must carry numbers, or a leak through it would not show
        for name, parameter in made.named_parameters():
            if "deviation" in name or "prior" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
            if "loading" in name:
                parameter.mul_(20)
    return made.eval()


def answer(model, batch, **more):
    with torch.no_grad():
        found = model(batch, **more)
    return found.p()


@pytest.mark.parametrize("cls", PRESETS)
def test_an_answer_reaches_later_predictions_only(cls):
    model, batch = model_of(cls), WORLD.batch(slice(8, 12))
    before = answer(model, batch)
    changed = batch.response.clone()
    changed[:, 6] = 1 - changed[:, 6]
    after = answer(model, batch.replace(response=changed))
    assert (before - after)[:, :7].abs().max() <= 1e-5
    assert (before - after)[:, 7:].abs().max() > 1e-5
    question = batch.question.clone()
    question[:, 9] = (question[:, 9] + 7) % 40
    later = answer(model, batch.replace(question=question))
    assert (before - later)[:, :9].abs().max() <= 1e-5
    assert (before - later)[:, 9].abs().max() > 1e-5


@pytest.mark.parametrize("cls", PRESETS)
def test_padding_is_in_no_number(cls):
    model, batch = model_of(cls), WORLD.batch(slice(8, 12))
    alone = answer(model, batch)
    grown = {
        name: torch.cat([getattr(batch, name), torch.full((4, 9), fill, dtype=getattr(batch, name).dtype)], dim=1)
        for name, fill in [("question", 3), ("response", 1), ("mask", 0), ("score_mask", 0), ("position", -1)]
    }
    padded = batch.replace(**grown)
    assert (answer(model, padded)[:, :14] - alone).abs().max() <= 1e-4
    junk = padded.replace(response=torch.where(padded.mask, padded.response, torch.tensor(77)))
    assert torch.equal(answer(model, junk)[:, :14], answer(model, padded)[:, :14])
    model.train()
    losses = []
    for one in (padded, junk):
        torch.manual_seed(0)
        losses.append({name: term.detach() for name, term in model.loss(one).items()})
    for name in losses[0].keys() - {"contrastive"} if cls is UKTReleased else losses[0]:  # its pooling counts padding
        assert torch.equal(losses[0][name], losses[1][name])
    single = WORLD.batch(np.array([9]))
    model.eval()
    assert (answer(model, single)[0] - alone[1]).abs().max() <= 1e-4


@pytest.mark.parametrize("cls", PRESETS)
def test_an_answer_inside_a_block_reaches_no_prediction_of_the_block(cls):
    model, batch = model_of(cls), WORLD.batch(slice(8, 12))
    block = (torch.arange(14) // 5).expand(4, 14)
    before = answer(model, batch, block=block)
    changed = batch.response.clone()
    changed[:, 5:8] = 1 - changed[:, 5:8]
    after = answer(model, batch.replace(response=changed), block=block)
    assert (before - after)[:, :10].abs().max() <= 1e-5
    assert (before - after)[:, 10:].abs().max() > 1e-5


def test_a_block_of_one_is_the_ordinary_prediction():
    model, batch = model_of(), WORLD.batch(slice(8, 12))
    block = torch.arange(14).expand(4, 14)
    assert torch.allclose(answer(model, batch, block=block), answer(model, batch), atol=1e-6)


@pytest.mark.parametrize("cls", PRESETS)
@pytest.mark.parametrize("encoder", ["akt", "none"])
def test_questions_asked_of_a_history_get_the_number_of_the_sequence(cls, encoder):
    model, batch = model_of(cls, encoder=encoder), WORLD.batch(slice(8, 12))
    with torch.no_grad():
        expected, state = model.read(batch, batch.response)
        history = model.history(batch)
        after = torch.arange(14).expand(4, 14)
        m, loading = model.ask(history, batch, batch.question, after)
    assert (m - expected).abs().max() <= 1e-4
    if state.loading is not None:
        assert (loading - state.loading).abs().max() <= 1e-4


def test_every_option_of_the_released_code_changes_the_numbers():
    batch = WORLD.batch(slice(8, 12))
    default = answer(model_of(), batch)
    for option in (
        {"decay": "multiply"},
        {"decay": "none"},
        {"first_row": "zero"},
        {"ffn_residual": False},
        {"spread_norm": "shared"},
        {"spread_norm": "layer"},
        {"attention": "dot"},
        {"positions": "sinusoid"},
        {"question_shift": "shared"},
        {"encoder": "none"},
        {"covariance": "none"},
        {"covariance": "signed", "spread_norm": "shared"},
        {"loading": False},
    ):
        assert (answer(model_of(**option), batch) - default).abs().max() > 1e-4, option


def test_signed_covariances_need_the_shared_norm():
    with pytest.raises((ConfigError, ValidationError), match="no logarithm"):
        build(UKT.Config, {"covariance": "signed"}, source="test")
    with pytest.raises((ConfigError, ValidationError), match="multiple of heads"):
        build(UKT.Config, {"dim": 10, "heads": 4}, source="test")


def test_evaluation_knows_no_seed():
    model, batch = model_of(), WORLD.batch(slice(8, 12))
    torch.manual_seed(0)
    first = answer(model, batch)
    torch.manual_seed(1)
    assert torch.equal(first, answer(model, batch))


def test_one_mask_covers_everything_that_belongs_to_a_question():
    model, batch = model_of(question_dropout=0.5), WORLD.batch(slice(8, 12))
    model.train()
    with torch.no_grad():
        for deviations in (model.embedding.deviation, model.gaussians.deviation):
            deviations.weight.fill_(100.0)
        seen = model.gaussians(batch, batch.response)
    moved, spread_moved = seen.x.abs().amax(-1) > 20, seen.x_spread.abs().amax(-1) > 4
    assert torch.equal(moved, spread_moved)
    assert 0.2 < moved.float().mean() < 0.8


def test_every_deviation_is_above_zero_after_a_thousand_large_steps():
    model = build_tracer(UKT, WORLD.view(slice(0, 8)), UKT.Config(dim=8, heads=2, hidden=8, blocks=1, encoder="none"))
    batch = WORLD.batch(slice(0, 8))
    batch = batch.replace(
        **{name: getattr(batch, name)[:, :6] for name in ("question", "response", "mask", "score_mask", "position")}
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(1000):
        optimizer.zero_grad()
        sum(model.loss(batch).values()).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        _, state = model.read(batch, batch.response)
        block = model.blocks[0]
        seen = model.gaussians(batch, batch.response)
        keys = block.keys(seen.x, seen.x_spread, seen.y, seen.y_spread)
    assert state.loading.isfinite().all()
    assert deviation(state.spread).min() > 0
    assert keys.spread.min() > 0
    assert keys.variance.min() > 0


@pytest.mark.parametrize(("contrastive", "nearer"), [(1.0, True), ("released", False)])
def test_the_contrastive_term_brings_the_views_of_a_learner_together_and_the_released_one_drives_them_apart(
    contrastive, nearer
):
    world = plant(32, 16, seed=5)
    model = model_of(contrastive=contrastive, dropout=0.0, question_dropout=0.0, flip_max=0.5)
    term = released_loss if contrastive == "released" else contrastive_loss
    batch = world.batch(slice(None))

    def views(seed):
        torch.manual_seed(seed)
        states = [model.read(batch, model._augmented(batch))[1] for _ in range(2)]
        return [pooled(state.mean, deviation(state.spread), batch.mask) for state in states]

    def apart(a, b):  # W2 of positives
        return (a - b).square().sum(-1).mean().item()

    a, b = (one.detach().requires_grad_() for one in views(0))
    term(a, b).backward()
    assert (apart(a - 0.1 * a.grad, b - 0.1 * b.grad) < apart(a, b)) == nearer

    def share():  # W2 of positives by that of all pairs, which training spreads out as a whole
        with torch.no_grad():
            a, b = (functional.normalize(one, dim=-1) for one in views(0))
            return apart(a, b) / torch.cdist(torch.cat([a, b]), torch.cat([a, b])).square().mean().item()

    before = share()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(30):
        optimizer.zero_grad()
        term(*views(step + 1)).backward()
        optimizer.step()
    assert (share() < 0.7 * before) if nearer else (share() > 1.5 * before)


def test_terms_of_the_loss_follow_the_options():
    batch = WORLD.batch(slice(0, 8))
    assert set(model_of().train().loss(batch)) == {"answers", "joint", "question_penalty"}
    assert set(model_of(joint=0.0).train().loss(batch)) == {"answers", "question_penalty"}
    assert set(model_of(UKTReleased).train().loss(batch)) == {"answers", "contrastive", "question_penalty"}
    assert set(model_of(difficulty="none", joint=0.0).train().loss(batch)) == {"answers"}
    assert set(model_of(difficulty="variational").train().loss(batch)) == {"answers", "joint", "question_divergence"}


def test_flips_change_histories_and_never_targets():
    model, batch = (
        model_of(flip_view="A", flip_max=1.0, joint=0.0, dropout=0.0, question_dropout=0.0),
        WORLD.batch(slice(0, 8)),
    )
    seen = []
    original = model._answers
    model._answers = lambda logit, state, given: seen.append(given.response.clone()) or original(logit, state, given)
    model.train().loss(batch)
    assert torch.equal(seen[0], batch.response)


def test_variational_questions_draw_in_training_and_know_their_doubt():
    model, batch = model_of(difficulty="variational"), WORLD.batch(slice(8, 12))
    deviations = model.embedding.deviation
    assert isinstance(deviations, VariationalDeviation)
    assert deviations.sd().shape == (40,)
    assert torch.equal(deviations(batch.question), deviations(batch.question))
    model.train()
    assert not torch.equal(deviations(batch.question), deviations(batch.question))
    with torch.no_grad():
        deviations.weight.zero_()
        deviations.log_sd.copy_(deviations.log_tau.expand_as(deviations.log_sd))
    assert deviations.divergence().abs() < 1e-6  # a belief that is the prior costs nothing
    unknown = deviations(torch.tensor([[400]]))
    assert unknown.item() == 0


def test_a_source_without_questions_has_no_question_tables():
    view = WORLD.view(slice(0, 8))
    bare = build_tracer(UKT, view.__class__(**{**view.__dict__, "has_questions": False}), UKT.Config(**SMALL))
    assert not any("deviation" in name or "variation" in name for name, _ in bare.named_parameters())
    assert set(bare.loss(WORLD.batch(slice(0, 8)))) == {"answers", "joint"}


def test_blocks_and_flips_are_drawn_anew():
    mask = torch.ones(3, 50, dtype=torch.bool)
    assert not torch.equal(random_blocks(mask, 5), random_blocks(mask, 5))
