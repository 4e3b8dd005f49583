"""`protocol: pykt-expanded`: one row per concept, as most published figures have it. It contains the label.

From the second concept of a question on, its answer stands in the input: on random answers a model reaches about .65.
The protocol exists to compare with the literature and is marked as leaky wherever its numbers stand. From one set of
weights it prints

    KC one-by-one    every expanded row, with all rows before it: leaky
    KC all-in-one    every expanded row, with only the rows before its question
    question         the mean of a question's all-in-one predictions
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sensorium.tracing.base import TracingBatch
from sensorium.tracing.data.dataset import Answers
from sensorium.tracing.data.windows import BUDGET
from sensorium.tracing.evaluation.predicting import Predictions, device_of, predict

LEAKY = "KC one-by-one contains the label: random answers reach about .65"


@dataclass(frozen=True)
class Expanded:
    """Answers with one row per concept.

    Attributes:
        answers: The rows; each question is one pair (question, concept) with a single concept.
        source: int64 [n], the question row that each comes from.
        repeat: bool [n], whether another concept of the same answer stands before it (`is_repeat`).
    """

    answers: Answers
    source: npt.NDArray[np.int64]
    repeat: npt.NDArray[np.bool_]


def expand(answers: Answers) -> Expanded:
    """Return one row per concept of each answer, in the order of the concepts' ids."""
    table = answers.concepts[:-1].numpy()
    size = (table < answers.n_concepts).sum(1)  # [Q]
    first = np.concatenate([[0], np.cumsum(size)])  # first pair of each question
    repeats = size[answers.question]
    source = np.repeat(np.arange(len(answers.question)), repeats)
    place = np.arange(len(source)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    pair = first[answers.question[source]] + place
    concept = table[table < answers.n_concepts]  # by pair
    pairs = len(concept)
    concepts = np.full((pairs + 1, 1), answers.n_concepts, dtype=np.int64)
    concepts[:-1, 0] = concept
    lengths = np.bincount(answers.student, weights=repeats, minlength=answers.n_students).astype(np.int64)
    expanded = Answers(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        question=pair.astype(np.int32),
        response=answers.response[source],
        time=None if answers.time is None else answers.time[source],
        concepts=torch.from_numpy(concepts),
        concept_weight=torch.from_numpy((concepts < answers.n_concepts).astype(np.float32)),
        n_concepts=answers.n_concepts,
        has_questions=answers.has_questions,
    )
    return Expanded(expanded, source, place > 0)


@dataclass(frozen=True)
class ExpandedPredictions:
    """Three readings of one set of weights.

    Attributes:
        one_by_one: Every expanded row, leaky.
        all_in_one: Every expanded row, without the answer to its own question.
        question: Every question row, the mean of its all-in-one predictions.
    """

    one_by_one: Predictions
    all_in_one: Predictions
    question: Predictions


def predict_expanded(
    model: nn.Module, answers: Answers, students: npt.NDArray[np.int64], *, size: int, stride: int
) -> ExpandedPredictions:
    """Predict the expanded rows of some students in the three readings.

    Args:
        model: A tracer that was trained on expanded rows.
        answers: The rows before expansion.
        students: Whose rows.
        size: Longest window, L, in expanded rows.
        stride: New rows of a further window, S.
    """
    wide = expand(answers)
    leaky = predict(model, wide.answers, students, size=size, stride=stride)
    row = wide.answers.offsets[leaky.student] + leaky.position
    p = leaky.p.copy()
    repeated = wide.repeat[row]
    head = row - _places(wide.repeat)[row]  # the first expanded row of the same answer
    begun = head > wide.answers.offsets[leaky.student]  # a student's first answer is nobody's prediction
    p[repeated] = _without_own(model, wide.answers, row[repeated], head[repeated], size)
    kept = begun
    all_in_one = Predictions(
        leaky.student[kept], leaky.position[kept], leaky.question[kept], leaky.response[kept], p[kept]
    )
    source = wide.source[row[kept]]
    rows, back = np.unique(source, return_inverse=True)
    mean = (np.bincount(back, weights=all_in_one.p) / np.bincount(back)).astype(np.float32)
    question = Predictions(
        answers.student[rows],
        answers.position[rows],
        answers.question[rows],
        answers.response[rows],
        mean.astype(np.float32),
    )
    return ExpandedPredictions(leaky, all_in_one, question)


def _places(repeat: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the place of each expanded row within its answer."""
    n = np.arange(len(repeat))
    return n - np.maximum.accumulate(np.where(repeat, 0, n))


@torch.no_grad()
def _without_own(
    model: nn.Module,
    answers: Answers,
    row: npt.NDArray[np.int64],
    head: npt.NDArray[np.int64],
    size: int,
) -> npt.NDArray[np.float32]:
    """Predict rows as if they came directly after the answers before `head`, float32 [n]."""
    begin = np.maximum(answers.offsets[answers.student[row]], head - (size - 1))
    if getattr(model, "whole_history", False):
        begin = answers.offsets[answers.student[row]]
    length = head - begin + 1
    found = np.empty(len(row), dtype=np.float32)
    order = np.argsort(length, kind="stable")
    was_training, device = model.training, device_of(model)
    model.eval()
    at = 0
    while at < len(order):
        widths = np.arange(1, min(len(order) - at, BUDGET) + 1) * length[order[at : at + BUDGET]]
        chosen = order[at : at + max(1, int(np.searchsorted(widths, BUDGET, side="right")))]
        batch = _query_batch(answers, row[chosen], begin[chosen], length[chosen]).to(device)
        last = torch.from_numpy(length[chosen] - 1)
        p = model(batch).p().cpu()[torch.arange(len(chosen)), last]
        found[chosen] = p.float().numpy()
        at += len(chosen)
    model.train(was_training)
    return found


def _query_batch(
    answers: Answers, row: npt.NDArray[np.int64], begin: npt.NDArray[np.int64], length: npt.NDArray[np.int64]
) -> TracingBatch:
    """Return histories [begin, begin + length - 1) that end with one more row each."""
    place = np.arange(int(length.max()))[None, :]
    mask = place < length[:, None]
    last = place == length[:, None] - 1
    index = np.where(last, row[:, None], np.where(mask, begin[:, None] + place, begin[:, None]))
    return TracingBatch(
        question=torch.from_numpy(np.where(mask, answers.question[index], answers.n_questions).astype(np.int64)),
        concepts=answers.concepts,
        concept_weight=answers.concept_weight,
        response=torch.from_numpy(np.where(mask & ~last, answers.response[index], 0).astype(np.int64)),
        time=None,
        mask=torch.from_numpy(mask),
        score_mask=torch.from_numpy(last),
        student=torch.from_numpy(answers.student[row]),
        position=torch.from_numpy(np.where(mask, answers.position[index], -1).astype(np.int32)),
    )
