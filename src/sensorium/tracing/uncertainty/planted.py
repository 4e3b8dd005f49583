"""Learners with a planted ability, and what a Bayesian who knows the model would believe of them.

    theta_s ~ N(0, sd²), constant over time;  p(right) = sigma(theta_s + ease_q)

The oracle's belief about theta after some answers stands on a grid; from it come E[p] and Var[p] of the next answer.
With sd = 0 there is no doubt about anybody, and a model that reports some is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit

from sensorium.core.seeds import numpy_generator
from sensorium.tracing.base import TracingBatch, TracingView

Floats = npt.NDArray[np.float64]

GRID = 121
WIDEST = 4.0  # standard deviations that the grid covers on either side


@dataclass(frozen=True)
class Planted:
    """S learners with T answers each, to Q questions on C concepts.

    Attributes:
        sd: Standard deviation of the abilities.
        ability: float64 [S].
        ease: float64 [Q].
        concepts: int64 [Q + 1, 2], padded with C.
        weight: float32 [Q + 1, 2].
        question: int64 [S, T].
        response: int64 [S, T].
        n_concepts: C.
    """

    sd: float
    ability: Floats
    ease: Floats
    concepts: torch.Tensor
    weight: torch.Tensor
    question: npt.NDArray[np.int64]
    response: npt.NDArray[np.int64]
    n_concepts: int

    @property
    def probability(self) -> Floats:
        """The known probability of each answer, float64 [S, T]."""
        return np.asarray(expit(self.ability[:, None] + self.ease[self.question]))

    def view(self, students: slice, seed: int = 0) -> TracingView:
        """Return some learners as what training may see."""
        question, response = self.question[students], self.response[students]
        n, length = question.shape
        return TracingView(
            len(self.ease),
            self.n_concepts,
            True,
            self.concepts,
            self.weight,
            np.arange(n + 1, dtype=np.int64) * length,
            question.ravel().astype(np.int32),
            response.ravel().astype(np.int8),
            seed=seed,
        )

    def batch(self, students: slice | npt.NDArray[np.int64]) -> TracingBatch:
        """Return some learners as one batch."""
        question, response = self.question[students], self.response[students]
        n, length = question.shape
        position = np.broadcast_to(np.arange(length, dtype=np.int32), (n, length))
        return TracingBatch(
            question=torch.from_numpy(question),
            concepts=self.concepts,
            concept_weight=self.weight,
            response=torch.from_numpy(response),
            time=None,
            mask=torch.ones(n, length, dtype=torch.bool),
            score_mask=torch.from_numpy(position > 0),
            student=torch.arange(n, dtype=torch.int32),
            position=torch.from_numpy(position.copy()),
        )

    def oracle(self) -> tuple[Floats, Floats]:
        """Return E[p] and Var[p] of every answer under the belief from the answers before it, float64 [S, T] each."""
        theta = np.linspace(-WIDEST, WIDEST, GRID) * self.sd
        at = np.asarray(expit(theta + self.ease[self.question][..., None]))  # [S, T, grid]
        each = np.log(np.where(self.response[..., None] == 1, at, 1 - at))
        belief = np.cumsum(each, axis=1) - each - np.linspace(-WIDEST, WIDEST, GRID) ** 2 / 2
        belief = np.exp(belief - belief.max(axis=-1, keepdims=True))
        belief /= belief.sum(axis=-1, keepdims=True)
        mean = (belief * at).sum(axis=-1)
        return mean, (belief * (at - mean[..., None]) ** 2).sum(axis=-1)


def plant(
    students: int, length: int, *, questions: int = 40, concepts: int = 8, sd: float = 1.0, seed: int = 0
) -> Planted:
    """Draw learners and their answers.

    Args:
        students: S.
        length: T, answers of each.
        questions: Q; every fifth has two concepts.
        concepts: C.
        sd: Of the abilities; 0 makes all learners equal.
        seed: Decides everything.
    """
    draws = numpy_generator(seed, "planted learners")
    ability, ease = draws.normal(0, sd, students), draws.normal(0, 1, questions)
    listed = np.full((questions + 1, 2), concepts, dtype=np.int64)
    listed[:-1, 0] = np.arange(questions) % concepts
    two = np.arange(0, questions, 5)
    listed[two, 1] = (listed[two, 0] + 1 + draws.integers(0, concepts - 1, len(two))) % concepts
    weight = (listed < concepts) / np.maximum((listed < concepts).sum(axis=1, keepdims=True), 1)
    question = draws.integers(0, questions, (students, length))
    response = draws.random((students, length)) < expit(ability[:, None] + ease[question])
    return Planted(
        sd,
        ability,
        ease,
        torch.from_numpy(listed),
        torch.from_numpy(weight.astype(np.float32)),
        question,
        response.astype(np.int64),
        concepts,
    )
