"""Contract tests for tracers, built-in or of a third party. They need no test framework:

    from sensorium.testing.tracers import check_tracer
    check_tracer(MyTracer, {"dim": 16})

raises one `ContractError` that lists what is wrong, and returns what was checked. `tiny_answers` makes data for a
model's own tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.core import registry
from sensorium.core.config import build
from sensorium.core.seeds import numpy_generator
from sensorium.testing.subject import ContractError, NotApplicable, run_checks
from sensorium.tracing.averaging import averaged
from sensorium.tracing.base import GROUP, Tracer, TracerInfo, TracingBatch, TracingOutput, TracingView, build_tracer
from sensorium.tracing.data.dataset import Answers, concept_table
from sensorium.tracing.data.splits import tracing_view
from sensorium.tracing.data.windows import Windows, make_batch
from sensorium.tracing.evaluation.predicting import predict
from sensorium.tracing.probing import CAUSAL, FURTHER, PADDED, with_padding
from sensorium.tracing.setup import without_rows
from sensorium.training.protocols import BeginsEpochs

SIZE, STRIDE = 16, 6  # of the windows whose edges are checked
QUESTIONS, CONCEPTS, STUDENTS = 30, 9, 40
UNSEEN_QUESTION, UNSEEN_CONCEPT = QUESTIONS - 1, CONCEPTS - 1  # of the tiny data: no training row has them


def tiny_answers(*, seed: int = 0, students: int = STUDENTS) -> Answers:
    """Return answers of a few learners: every third question has three concepts, learners differ in ability.

    The last question and the last concept stand in the rows of the last two students alone.
    """
    random = numpy_generator(seed, "tiny answers")
    links = []
    for place in range(QUESTIONS - 1):
        several = 3 if place % 3 == 0 else 1
        links += [(place, (place + step) % (CONCEPTS - 1)) for step in range(several)]
    links.append((UNSEEN_QUESTION, UNSEEN_CONCEPT))
    linked = np.array(links)
    concepts, weight = concept_table(linked[:, 0], linked[:, 1], QUESTIONS, CONCEPTS)
    lengths = random.integers(5, 45, students)
    student = np.repeat(np.arange(students), lengths)
    question = random.integers(0, QUESTIONS - 1, len(student)).astype(np.int32)
    late = student >= students - 2
    question[late & (np.arange(len(student)) % 4 == 0)] = UNSEEN_QUESTION
    level = random.normal(0, 1.5, students)[student] - random.normal(0, 1, QUESTIONS)[question]
    response = (random.random(len(student)) < 1 / (1 + np.exp(-level))).astype(np.int8)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Answers(offsets, question, response, None, concepts, weight, CONCEPTS, True)


@dataclass(frozen=True)
class TracerSubject:
    """What is checked: a class, its config, and tiny data."""

    model: type[Tracer]
    config: Tracer.Config
    answers: Answers
    view: TracingView

    @cached_property
    def built(self) -> Tracer:
        """A model in evaluation mode; one whose parameters start at 0 is moved, so that they count."""
        return self.build()

    def build(self, view: TracingView | None = None) -> Tracer:
        """Return a new model in evaluation mode."""
        model = build_tracer(self.model, self.view if view is None else view, self.config)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(5)
            for parameter in model.parameters():
                if not parameter.any():
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        return model.eval()

    def batch(self, students: list[int] | None = None) -> TracingBatch:
        """Return whole histories of some students."""
        chosen = np.arange(8, 16) if students is None else np.array(students)
        zero = np.zeros(len(chosen), dtype=np.int64)
        return make_batch(self.answers, Windows(chosen, zero, self.answers.lengths[chosen], zero + 1))


@torch.no_grad()
def _logits(model: Tracer, batch: TracingBatch) -> Tensor:
    output: TracingOutput = model(batch)
    return output.logit


def _require(condition: object, message: str) -> None:
    if not condition:
        raise ContractError(message)


def check_description(subject: TracerSubject) -> None:
    """Its class says what it is, and whose idea."""
    info = getattr(subject.model, "info", None)
    _require(isinstance(info, TracerInfo), "there is no `info: TracerInfo`")
    assert info is not None
    _require(info.summary and info.citation, "summary or citation is empty")


def check_output(subject: TracerSubject) -> None:
    """One finite logit per position, probabilities inside (0, 1), variances that are none below 0."""
    batch = subject.batch()
    with torch.no_grad():
        output = subject.built(batch)
    _require(output.logit.shape == batch.question.shape, f"logits have shape {tuple(output.logit.shape)}")
    _require(output.logit.dtype == torch.float32, f"logits are {output.logit.dtype}")
    p = output.p()[batch.mask]
    _require(output.logit[batch.mask].isfinite().all(), "a logit is not finite")
    _require(((p >= 0) & (p <= 1)).all(), "a probability lies outside [0, 1]")
    if output.variance is not None:
        variance = output.variance[batch.mask]
        _require((variance.isfinite() & (variance >= 0) & (variance <= 0.25 + 1e-6)).all(), "a variance of p is none")


def check_causality(subject: TracerSubject) -> None:
    """No answer reaches its own prediction or an earlier one, it reaches a later one; nor does a later question.

    The flipped rows include questions with three concepts: none of them may see the answer of the others.
    """
    batch, model = subject.batch([3, 4]), subject.built
    before = _logits(model, batch)
    reached = 0.0
    for t in range(0, min(20, int(batch.mask.sum(1).min()) - 1)):
        flipped = batch.response.clone()
        flipped[:, t] = 1 - flipped[:, t]
        after = _logits(model, batch.replace(response=flipped))
        moved = (after - before).abs() * batch.mask
        _require(moved[:, : t + 1].max() <= CAUSAL, f"answer {t} changes a logit at or before {t} by {moved.max():.2g}")
        reached = max(reached, float(moved[:, t + 1 :].max()))
        asked = batch.question.clone()
        asked[:, t + 1] = (asked[:, t + 1] + 1) % (QUESTIONS - 1)
        moved = (_logits(model, batch.replace(question=asked)) - before).abs()
        _require(moved[:, : t + 1].max() <= CAUSAL, f"question {t + 1} changes a logit at or before {t}")
    if getattr(subject.model, "reads_answers", True):
        _require(reached > CAUSAL, "no answer changes any later prediction")


def check_window_edges(subject: TracerSubject) -> None:
    """The same across the windows of the evaluation, whose rows are predicted exactly once."""
    answers = subject.answers
    longest = int(answers.lengths.argmax())
    students = np.array([longest])
    before = predict(subject.built, answers, students, size=SIZE, stride=STRIDE)
    n = int(answers.lengths[longest])
    _require(np.array_equal(before.position, np.arange(1, n)), "rows are not predicted exactly once")
    begin = int(answers.offsets[longest])
    edges = sorted({SIZE - 1, SIZE, SIZE + STRIDE - 1, SIZE + STRIDE, n - 2} & set(range(1, n - 1)))
    for t in edges:
        flipped = answers.response.copy()
        flipped[begin + t] = 1 - flipped[begin + t]
        after = predict(subject.built, answers, students, size=SIZE, stride=STRIDE, response=flipped)
        moved = np.abs(after.p - before.p)[before.position <= t].max()
        _require(moved <= CAUSAL, f"answer {t} changes a prediction at or before {t}, at the edge of a window")


def check_padding(subject: TracerSubject) -> None:
    """A sequence alone, in a batch, under any padding and any content of padded cells has the same logits."""
    model, batch = subject.built, subject.batch()
    together = _logits(model, batch)
    for place in range(3):
        n = int(batch.mask[place].sum())
        alone = subject.batch([8 + place])
        gap = (_logits(model, alone)[0, :n] - together[place, :n]).abs().max()
        _require(gap <= PADDED, f"a sequence alone and in a batch differ by {gap:.2g}")
    T, generator = batch.mask.shape[1], torch.Generator().manual_seed(0)
    for further in FURTHER:
        other = _logits(model, with_padding(batch, further, generator))[:, :T]
        gap = ((other - together).abs() * batch.mask).max()
        _require(gap <= PADDED, f"content of padded cells changes a logit by {gap:.2g}")
    order = torch.arange(len(batch.mask) - 1, -1, -1)
    names = ("question", "response", "mask", "score_mask", "position", "student")
    turned = {name: getattr(batch, name)[order] for name in names}
    gap = ((_logits(model, batch.replace(**turned))[order] - together).abs() * batch.mask).max()
    _require(gap <= PADDED, f"the order of a batch changes a logit by {gap:.2g}")


def check_unseen(subject: TracerSubject) -> None:
    """Questions and concepts without a training row get finite predictions; a new question is known by its concepts."""
    _require(subject.view.question_count()[UNSEEN_QUESTION] == 0, "the tiny data have no unseen question")
    found = predict(subject.built, subject.answers, np.array([STUDENTS - 1]), size=SIZE, stride=STRIDE)
    _require(np.isfinite(found.p).all(), "the prediction of an unseen question or concept is not finite")
    batch = subject.batch([3])
    # one more question, with the concepts of question 1, before the padding question
    wider = batch.replace(
        concepts=torch.cat([batch.concepts[:-1], batch.concepts[1:2], batch.concepts[-1:]]),
        concept_weight=torch.cat([batch.concept_weight[:-1], batch.concept_weight[1:2], batch.concept_weight[-1:]]),
    )
    same = (_logits(subject.built, wider) - _logits(subject.built, batch)).abs().max()
    _require(same <= PADDED, f"a wider table of questions changes a logit by {same:.2g}")
    asked = batch.question.clone()
    asked[:, 2] = QUESTIONS
    _require(_logits(subject.built, wider.replace(question=asked)).isfinite().all(), "a new question is not finite")


def check_state(subject: TracerSubject) -> None:
    """A state loaded into a model that was built without rows answers as before."""
    batch = subject.batch()
    other = build_tracer(subject.model, without_rows(subject.view), subject.config)
    other.load_state_dict(subject.built.state_dict())
    gap = (_logits(other.eval(), batch) - _logits(subject.built, batch)).abs().max()
    _require(gap <= 1e-6, f"a loaded state answers otherwise, by {gap:.2g}")


def check_determinism(subject: TracerSubject) -> None:
    """The same view and config give the same model, bit by bit, whatever was drawn before."""
    torch.rand(3)
    again = subject.build().state_dict()
    _require(
        all(torch.equal(value, again[name]) for name, value in subject.built.state_dict().items()),
        "two models of one seed differ",
    )


def _two_steps(subject: TracerSubject) -> dict[str, Tensor]:
    """Return the state of a new model after two steps of each phase, averaged weights among it."""
    model = averaged(subject.build()).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if isinstance(model, BeginsEpochs):
            model.begin_epoch(0, torch.Generator().manual_seed(0))
        for phase in model.phases():
            optimizer = torch.optim.Adam(phase.parameters, lr=1e-2)
            for students in (list(range(8)), list(range(8, 16))):
                optimizer.zero_grad()
                terms = phase.loss(subject.batch(students))
                sum(terms.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return dict(model.state_dict())


def check_identity(subject: TracerSubject) -> None:
    """Two steps of training, twice with one seed, give the same weights bit by bit: flips, phases and draws too."""
    if not all(phase.repeats for phase in subject.build().phases()):
        raise NotApplicable("a phase says that it does not repeat")
    first = _two_steps(subject)
    torch.rand(3)
    again = _two_steps(subject)
    _require(all(torch.equal(value, again[name]) for name, value in first.items()), "two trainings of one seed differ")
    if subject.model.info.trained:
        before = averaged(subject.build()).state_dict()
        _require(any(not torch.equal(value, first[name]) for name, value in before.items()), "two steps move nothing")


def check_loss(subject: TracerSubject) -> None:
    """The loss has named finite scalars, reads no padded cell and no row that does not count, and has gradients."""
    if not subject.model.info.trained:
        _require(subject.built.phases() == [], "a model that is complete once built has phases")
        raise NotApplicable("complete once built")
    model, batch = subject.build(), subject.batch()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        terms = model.loss(batch)
        _require(all(term.ndim == 0 and term.isfinite() for term in terms.values()), "a term is no finite number")
        torch.manual_seed(0)
        garbage = torch.where(batch.mask, batch.response, 1 - batch.response)
        again = model.loss(batch.replace(response=garbage))
    gap = max(abs(float((terms[name] - again[name]).detach())) for name in terms)
    _require(gap <= PADDED, f"padded cells change the loss by {gap:.2g}")
    model.train()
    sum(model.loss(batch).values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    _require(any(p.grad is not None and bool(p.grad.any()) for p in model.parameters()), "the loss has no gradient")


CHECKS: dict[str, Callable[[TracerSubject], None]] = {
    "description": check_description,
    "output": check_output,
    "causality": check_causality,
    "window edges": check_window_edges,
    "padding": check_padding,
    "unseen": check_unseen,
    "state": check_state,
    "determinism": check_determinism,
    "identity": check_identity,
    "loss": check_loss,
}


def tracer_subject(
    model: str | type[Tracer], config: Tracer.Config | Mapping[str, object] | None = None
) -> TracerSubject:
    """Return what the checks work on.

    Raises:
        ConfigError: The config does not fit the model.
    """
    cls: type[Tracer] = registry.get(GROUP, model) if isinstance(model, str) else model
    values: Any = {} if config is None else config
    checked = values if isinstance(values, cls.Config) else build(cls.Config, values, source=cls.__name__)
    answers = tiny_answers()
    view = tracing_view(answers, np.arange(STUDENTS - 2), seed=3)
    return TracerSubject(cls, checked, answers, view)


def check_tracer(
    model: str | type[Tracer], config: Tracer.Config | Mapping[str, object] | None = None
) -> dict[str, str]:
    """Run every check on a tracer.

    Args:
        model: A registered name, or a class.
        config: The config of every instance, or its values; None takes the defaults.

    Returns:
        Name of the check -> "passed", or "not applicable: " and why.

    Raises:
        ContractError: A check fails; the message holds all that fail.
        ConfigError: The config does not fit the model.
    """
    subject = tracer_subject(model, config)
    return run_checks(CHECKS, subject, subject.model.__name__)
