"""Mastery of a concept: the chance of a right answer to its average question.

    m_k(t) = sum_q w_q p(right | history to t, q),  over the concept's questions of the training set

w_q is proportional to n_q / (n_q + 10), n_q the question's training rows, for the 50 questions that have most: an
average of questions that learners met, not a bare embedding of a concept that none ever met. The band holds 80 % of
the same mean under the state's draws, each draw the same for all questions; a model without draws has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.tracing.base import Tracer
from sensorium.tracing.data.dataset import Answers
from sensorium.tracing.pages.asking import DRAWS, ask
from sensorium.tracing.pages.bundle import Bundle
from sensorium.tracing.pages.log import OPEN, Log

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_QUESTIONS = 50
MOST_POINTS = 60
SHRINK = 10
BAND = (0.1, 0.9)


@dataclass(frozen=True)
class Mastery:
    """Mastery of C' concepts at M points of a learner's history.

    Attributes:
        concept: int64 [C'], dense ids.
        after: int64 [M], answers before each point.
        mean: float64 [M, C'].
        low: float64 [M, C'] or None, 10 % of the state's distribution.
        high: float64 [M, C'] or None, 90 %.
        practice: int64 [C'], answers of the learner to questions of the concept.
        population: float64 [C'], share of right answers in training.
    """

    concept: Ints
    after: Ints
    mean: Floats
    low: Floats | None
    high: Floats | None
    practice: Ints
    population: Floats


@dataclass(frozen=True)
class Learner:
    """One learner's answers: all of them, however few a model sees at once.

    Attributes:
        name: External id.
        question: int64 [T].
        question_id: T external ids.
        response: int64 [T] of 0 and 1.
        log: Where they come from, with the table of concepts.
    """

    name: str
    question: Ints
    question_id: list[str]
    response: Ints
    log: Log

    def answers(self) -> Answers:
        """Return them as the data of one student."""
        table = self.log.concepts
        return Answers(
            offsets=np.array([0, len(self.question)], dtype=np.int64),
            question=self.question.astype(np.int32),
            response=self.response.astype(np.int8),
            time=None,
            concepts=table,
            concept_weight=self.log.concept_weight,
            n_concepts=int(table[-1, 0]),
            has_questions=True,
        )

    def concepts_of(self, rows: Ints) -> npt.NDArray[np.bool_]:
        """Return which concepts each row belongs to, bool [n, C]."""
        table = self.log.concepts.numpy()
        size = int(table[-1, 0])
        member = np.zeros((len(rows), size + 1), dtype=bool)
        np.put_along_axis(member, table[self.question[rows]], True, axis=1)
        return member[:, :-1]


def learner(log: Log, name: str) -> Learner:
    """Return a learner's answers of a log.

    Raises:
        DataError: There is no such learner, or no answer of theirs.
    """
    rows = log.rows_of(name)
    rows = rows[log.response[rows] != OPEN]
    if not len(rows):
        raise DataError(f"student '{name}' has no answers yet: there is nothing to report")
    return Learner(name, log.question[rows], [log.question_id[row] for row in rows], log.response[rows], log)


def concept_weights(bundle: Bundle, concept: Ints) -> tuple[Ints, Floats]:
    """Return the questions that concepts are measured by, int64 [N], and their weights, float64 [C', N], rows sum to 1.

    A concept none of whose questions has a training row is measured by all its questions alike.
    """
    table = bundle.concepts[:-1].numpy()
    rows = np.zeros((len(concept), len(table)))
    for place, number in enumerate(concept.tolist()):
        own = np.flatnonzero((table == number).any(axis=1))
        count = bundle.question_rows[own]
        best = own[np.argsort(-count, kind="stable")[:MOST_QUESTIONS]]
        weight = bundle.question_rows[best] / (bundle.question_rows[best] + SHRINK)
        rows[place, best] = weight if weight.any() else 1.0
    used = np.flatnonzero(rows.any(axis=0))
    weights = rows[:, used]
    return used.astype(np.int64), weights / weights.sum(axis=1, keepdims=True)


def mastery(
    bundle: Bundle,
    who: Learner,
    concept: Ints,
    *,
    members: Sequence[Tracer] = (),
    points: int = MOST_POINTS,
    draws: int = DRAWS,
    seed: int = 0,
) -> Mastery:
    """Measure concepts along a history, at each point from what the model sees of the answers before it.

    Args:
        bundle: The tracer.
        who: The learner.
        concept: int64 [C'], which.
        members: Further models of the same data, which make an ensemble with the bundle's own.
        points: Points of the history at most, the beginning and the end among them; 1 = the end alone.
        draws: Of the state.
        seed: Of the draws.
    """
    length = len(who.question)
    after = np.unique(np.linspace(0, length, min(points, length + 1)).round().astype(np.int64))
    after = np.array([length]) if points == 1 else after
    question, weights = concept_weights(bundle, concept)
    batch = who.log.batch(who.question[None], who.response[None])
    reach = bundle.window - 1
    found = ask([bundle.model, *members], batch, question, after, reach=reach, draws=draws, seed=seed)
    low = high = None
    if found.draws is not None:
        low, high = np.quantile(found.draws @ weights.T, BAND, axis=0)
    practice = who.concepts_of(np.arange(length))[:, concept].sum(axis=0)
    return Mastery(
        concept, after, found.p @ weights.T, low, high, practice.astype(np.int64), bundle.population()[concept]
    )
