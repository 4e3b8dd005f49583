"""What a student did before each row, without a loop over rows: sort by (who, what), cumulative sums minus self."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sensorium.tracing.base import TracingBatch

Ints = npt.NDArray[np.int64]


class Rows(NamedTuple):
    """The real rows of a batch, in the order of (sequence, position).

    Attributes:
        sequence: int64 [n].
        position: int64 [n], place in the batch's width.
        question: int64 [n].
        right: int64 [n], 0 or 1.
    """

    sequence: Ints
    position: Ints
    question: Ints
    right: Ints


def rows_of(batch: TracingBatch) -> Rows:
    """Return the rows under the mask of a batch."""
    mask = batch.mask.cpu().numpy()
    sequence, position = np.nonzero(mask)
    question, response = batch.question.cpu().numpy()[mask], batch.response.cpu().numpy()[mask]
    return Rows(sequence, position, question, response)


class Links(NamedTuple):
    """The concepts of rows, one entry per row and concept.

    Attributes:
        row: int64 [m].
        concept: int64 [m].
    """

    row: Ints
    concept: Ints


def concept_links(question: Ints, concepts: npt.NDArray[np.int64], n_concepts: int) -> Links:
    """Return the concepts of each row's question, rows ascending.

    Args:
        question: int64 [n].
        concepts: int64 [Q + 1, Kmax], padded with C.
        n_concepts: C.
    """
    listed = concepts[question]  # [n, Kmax]
    row, place = np.nonzero(listed < n_concepts)
    return Links(row, listed[row, place])


def past_counts(sequence: Ints, key: Ints, right: Ints) -> tuple[Ints, Ints]:
    """Return how often each row's key occurred before it in its sequence, and how often with a right answer.

    Args:
        sequence: int64 [n], whose row it is; rows of a sequence stand in their order.
        key: int64 [n], what is counted; one row may not have a key twice.
        right: int64 [n].

    Returns:
        Attempts and wins, int64 [n] each.
    """
    if not len(key):
        return key.copy(), key.copy()
    group = sequence * (int(key.max()) + 1) + key
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    starts = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    begin = np.maximum.accumulate(np.where(starts, np.arange(len(group)), 0))
    before = np.cumsum(right[order]) - right[order]
    attempts, wins = np.empty_like(group), np.empty_like(group)
    attempts[order] = np.arange(len(group)) - begin
    wins[order] = before - before[begin]
    return attempts, wins
