"""What the networks promise beside the contract: question dropout, averaged weights, learning the right way round."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.core import registry
from sensorium.data.batches import Step
from sensorium.testing.tracers import tiny_answers
from sensorium.tracing.averaging import Averaged, answering, averaged
from sensorium.tracing.base import GROUP, Tracer, TracingBatch, build_tracer
from sensorium.tracing.data.dataset import TracingDataset
from sensorium.tracing.data.simulated import SimulationConfig, ideal_observer, simulate, simulation_of
from sensorium.tracing.data.splits import SplitConfig, split_students, tracing_view
from sensorium.tracing.data.windows import WindowBatches, Windows, make_batch, training_windows
from sensorium.tracing.embedding import QuestionEmbedding
from sensorium.tracing.evaluation.metrics import auc
from sensorium.tracing.evaluation.predicting import predict
from sensorium.tracing.models.dkt import DKT
from sensorium.tracing.setup import random_labels

NETWORKS = ("dkt", "sakt", "akt", "simplekt")
SMALL = {"dim": 16, "heads": 2, "hidden": 16, "dropout": 0.0}


def small(name: str, **options: object) -> dict[str, object]:
    fields = registry.get(GROUP, name).Config.model_fields
    return {key: value for key, value in (SMALL | options).items() if key in fields}


def one_batch() -> TracingBatch:
    answers = tiny_answers()
    zero = np.zeros(6, dtype=np.int64)
    return make_batch(answers, Windows(np.arange(6), zero, answers.lengths[:6], zero + 1))


def embedding(**options: object) -> QuestionEmbedding:
    torch.manual_seed(0)
    made = QuestionEmbedding(tracing_view(tiny_answers(), np.arange(38)), 8, **options)  # type: ignore[arg-type]
    assert made.deviation is not None
    with torch.no_grad():
        made.deviation.weight.normal_()
    return made


def test_question_dropout_takes_everything_that_belongs_to_one_question() -> None:
    made, batch = embedding(question_dropout=0.5).train(), one_batch()
    torch.manual_seed(1)
    x, y, keep = made(batch)
    assert keep is not None
    assert 0.4 < float(keep.mean()) < 0.6
    plain = made.concept(batch)
    dropped = keep[..., 0] == 0
    assert torch.allclose(x[dropped], plain[dropped])
    base = plain + torch.nn.functional.embedding(batch.response, made.response)
    assert torch.allclose(y[dropped], base[dropped])  # u leaves the answer's part too
    kept = ~dropped & batch.mask
    assert ((x - plain).abs().sum(-1)[kept] > 1e-4).all()
    assert made.eval()(batch).keep is None


def test_embeddings_against_their_formula() -> None:
    made, batch = embedding(difficulty="scalar").eval(), one_batch()
    x, y, _ = made(batch)
    assert made.deviation is not None
    assert made.variation is not None
    assert made.response_variation is not None
    q, r = int(batch.question[2, 3]), int(batch.response[2, 3])
    own = [c for c in batch.concepts[q].tolist() if c < 9]
    e, v = made.concept.weight[own].mean(0), made.variation.weight[own].mean(0)
    u = made.deviation.weight[q]
    assert torch.allclose(x[2, 3], e + u * v, atol=1e-6)
    assert torch.allclose(y[2, 3], made.response[r] + e + u * v + u * made.response_variation[r], atol=1e-6)


def test_the_two_ways_to_the_mean_of_concepts_agree() -> None:
    made, batch = embedding(), one_batch()
    dense = made.concept(batch)
    made.concept.multi_hot = None
    assert torch.allclose(dense, made.concept(batch), atol=1e-6)


def test_questions_that_were_never_met_have_no_deviation_and_their_concept_starts_at_0() -> None:
    made = embedding()
    assert (made.concept.weight[8] == 0).all()
    assert (made.concept.weight[:8].abs().sum(-1) > 0).all()


def train(model: torch.nn.Module, source: WindowBatches, epochs: int, lr: float = 5e-3) -> torch.nn.Module:
    (phase,) = model.phases()  # type: ignore[operator]
    optimizer = torch.optim.Adam(phase.parameters, lr=lr)
    torch.manual_seed(0)
    model.train()
    for epoch in range(epochs):
        for index in range(len(source)):
            optimizer.zero_grad()
            terms = phase.loss(source.batch(Step(0, "answers", epoch, index)))
            sum(terms.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model.eval()


def test_averaged_weights_are_the_average_and_answer_in_evaluation() -> None:
    answers = tiny_answers()
    view = tracing_view(answers, np.arange(38))
    config = DKT.Config(dim=8, ema=0.5)
    model = averaged(build_tracer(DKT, view, config))
    assert isinstance(model, Averaged)
    assert model.average is answering(model)
    expected = {name: p.detach().clone() for name, p in model.model.named_parameters()}
    for n in range(4):
        keep = min(0.5, (1 + n) / (10 + n))
        with torch.no_grad():
            for name, p in model.model.named_parameters():
                p.add_(1.0)
                expected[name] = keep * expected[name] + (1 - keep) * p
        model.take_in()
    for name, p in model.average.named_parameters():
        assert torch.allclose(p, expected[name], atol=1e-5)
    batch = one_batch()
    assert torch.equal(model.eval()(batch).logit, model.average(batch).logit)
    assert not torch.allclose(model(batch).logit, model.model(batch).logit)
    assert not isinstance(averaged(build_tracer(DKT, view, DKT.Config(dim=8, ema=0))), Averaged)


def histories(responses: list[int]) -> TracingBatch:
    """Return one history on question 1 with these answers."""
    answers = tiny_answers()
    batch = make_batch(answers, Windows(np.array([3]), np.zeros(1, int), np.array([len(responses)]), np.ones(1, int)))
    return batch.replace(question=torch.ones_like(batch.question), response=torch.tensor([responses]))


@pytest.mark.parametrize("name", [*NETWORKS, "bkt", "pfa", "bestlr"])
def test_right_answers_raise_the_prediction(name: str) -> None:
    """KT-5: ten right answers on a question against ten wrong ones, after training on usual data."""
    answers = tiny_answers(students=80)
    view = tracing_view(answers, np.arange(78), seed=0)
    cls = registry.get(GROUP, name)
    model: Tracer = build_tracer(cls, view, cls.Config(**small(name, ema=0.0)))
    if cls.info.trained:
        source = WindowBatches(answers, training_windows(answers.lengths, np.arange(78), 50), size=16)
        train(model, source, 10)
    with torch.no_grad():
        high, low = (model.eval()(histories([r] * 11)) for r in (1, 0))
    assert high.p()[0, -1] > low.p()[0, -1] + 0.1
    if name == "bkt":
        assert high.state["mastery"][0, -1] > low.state["mastery"][0, -1] + 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_coins_teach_nothing(name: str, learners: TracingDataset) -> None:
    answers = random_labels(learners.answers(), seed=0)
    split = split_students(learners, answers, SplitConfig())
    cls = registry.get(GROUP, name)
    model = build_tracer(cls, tracing_view(answers, split.train), cls.Config(**small(name, ema=0.0)))
    train(model, WindowBatches(answers, training_windows(answers.lengths, split.train, 200), size=16), 2)
    found = predict(model, answers, split.test)
    assert len(found) == 2780
    assert abs(auc(found.p, found.response) - 0.5) < 0.035  # three standard deviations of a perfect null


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NETWORKS, "ukt", "ukt-point", "bestlr"])
def test_simulated_learners_are_predicted_nearly_as_well_as_by_who_knows_the_questions(
    name: str, tmp_path: Path
) -> None:
    """Within .02 of the AUC of an observer who knows everything but the learners."""
    config = SimulationConfig(students=600, seed=3)
    learners = simulate(tmp_path / "learners", config)
    answers = learners.answers()
    split = split_students(learners, answers, SplitConfig())
    cls = registry.get(GROUP, name)
    model = averaged(
        build_tracer(cls, tracing_view(answers, split.train), cls.Config(**small(name, dropout=0.1, dim=32)))
    )
    if cls.info.trained:
        train(model, WindowBatches(answers, training_windows(answers.lengths, split.train, 200), size=16), 12, 3e-3)
    found = predict(model, answers, split.test)
    row = answers.offsets[found.student] + found.position
    best = auc(ideal_observer(simulation_of(learners), config)[row], found.response)
    assert auc(found.p, found.response) > best - 0.02
