"""Logistic regression on counts of the past (Gervet, Koedinger, Schneider and Mitchell: "When is Deep Learning the Best
Approach to Knowledge Tracing?", JEDM 2020), and two of its subsets.

Features of a row, all of the same student's past: the question (one-hot), its concepts (multi-hot), and log(1 + n) of
attempts and of right answers: per concept of the question, each with a column of its own, on the question, and in all.
Q + 3C + 4 columns, L2 penalty 1/C, lbfgs until it converges. Where questions are concepts, those of the question would
repeat those of its concept: 3C + 2 columns.

    bestlr  all of them
    pfa     concepts and their counts (performance factors analysis, Pavlik, Cen and Koedinger 2009)
    irt     the question alone (the one-parameter model for learners who are new)
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor

from sensorium.core.errors import TrainingError
from sensorium.tracing.base import Tracer, TracerInfo, TracingBatch, TracingOutput, TracingView
from sensorium.tracing.models.counts import Ints, Rows, concept_links, past_counts, rows_of

OWN, EVERYTHING = 2, 2  # counts on the question, and in all


class BestLR(Tracer):
    """Logistic regression on all counts. Complete once built from the training rows.

    Questions and concepts without a training row have weight 0.
    """

    class Config(Tracer.Config):
        """Keys of the regression."""

        c: float = Field(1.0, gt=0, description="inverse strength of the L2 penalty")
        iterations: int = Field(1000, ge=1, description="steps of lbfgs at most")

    info: ClassVar[TracerInfo] = TracerInfo(
        summary="logistic regression on counts of the past, by question and concept",
        citation="Gervet, Koedinger, Schneider, Mitchell: When is Deep Learning the Best Approach to Knowledge "
        "Tracing? JEDM 2020",
        trained=False,
    )
    whole_history: ClassVar[bool] = True
    uses: ClassVar[frozenset[str]] = frozenset({"question", "concepts", "totals"})

    config: Config
    coefficient: Tensor
    intercept: Tensor

    def __init__(self, view: TracingView, config: Config) -> None:
        super().__init__(view, config)
        # a question that is its concept has no columns of its own, but where they are all that there is
        self.apart = view.has_questions or "concepts" not in self.uses
        self.register_buffer("coefficient", torch.zeros(self.columns, dtype=torch.float64))
        self.register_buffer("intercept", torch.zeros((), dtype=torch.float64))
        if view.n_rows:  # without rows, a state is loaded
            self._fit(view)

    @property
    def columns(self) -> int:
        """Number of features."""
        own = self.n_questions + OWN if self.apart else 0
        return own + 3 * self.n_concepts + EVERYTHING

    def _fit(self, view: TracingView) -> None:
        from sklearn.linear_model import LogisticRegression

        sequence = np.repeat(np.arange(len(view.offsets) - 1), np.diff(view.offsets))
        position = np.arange(view.n_rows) - view.offsets[sequence]
        rows = Rows(sequence, position, view.question.astype(np.int64), view.response.astype(np.int64))
        if len(np.unique(rows.right)) < 2:
            raise TrainingError("all training answers are alike: there is nothing that a regression could learn")
        matrix = self.features(rows, view.concepts.numpy())
        used = np.flatnonzero(np.diff(matrix.tocsc().indptr))  # an empty column would have weight 0 in any case
        solver = LogisticRegression(C=self.config.c, solver="lbfgs", max_iter=self.config.iterations, tol=1e-4)
        solver.fit(matrix[:, used], rows.right)
        self.coefficient[torch.from_numpy(used)] = torch.from_numpy(solver.coef_[0].astype(np.float64))
        self.intercept.fill_(float(solver.intercept_[0]))

    def features(self, rows: Rows, concepts: npt.NDArray[np.int64]) -> sparse.csr_matrix:
        """Return the features of rows as a sparse matrix [n, Q + 3C + 4], or [n, 3C + 2] without questions.

        Args:
            rows: Sequences in their order, from their first row on.
            concepts: int64 [questions + 1, Kmax], padded with C.
        """
        n, C = len(rows.question), self.n_concepts
        Q = self.n_questions if self.apart else 0
        parts: list[tuple[Ints, Ints, npt.NDArray[np.float64]]] = []  # row, column, value
        if "question" in self.uses and self.apart:
            known = np.flatnonzero(rows.question < Q)
            parts.append((known, rows.question[known], np.ones(len(known))))
        if "concepts" in self.uses:
            row, concept = concept_links(rows.question, concepts, C)
            attempts, wins = past_counts(rows.sequence[row], concept, rows.right[row])
            for block, values in enumerate((np.ones(len(row)), np.log1p(attempts), np.log1p(wins))):
                parts.append((row, Q + block * C + concept, values))
        if "totals" in self.uses:
            counted = [*past_counts(rows.sequence, rows.question, rows.right)] if self.apart else []
            counted += past_counts(rows.sequence, np.zeros_like(rows.question), rows.right)
            for place, values in enumerate(counted):
                parts.append((np.arange(n), np.full(n, Q + 3 * C + place), np.log1p(values)))
        row, column, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return sparse.coo_matrix((value, (row, column)), shape=(n, self.columns)).tocsr()

    def forward(self, batch: TracingBatch) -> TracingOutput:
        """Predict every position; a sequence is taken to begin with its student's first row."""
        rows = rows_of(batch)
        matrix = self.features(rows, batch.concepts.cpu().numpy())
        values = matrix @ self.coefficient.cpu().numpy() + float(self.intercept)
        logit = torch.zeros(batch.mask.shape, dtype=torch.float32)
        logit[torch.from_numpy(rows.sequence), torch.from_numpy(rows.position)] = torch.from_numpy(values).float()
        return TracingOutput(logit.to(batch.mask.device))


class PFA(BestLR):
    """Performance factors: concepts and their counts."""

    info: ClassVar[TracerInfo] = TracerInfo(
        summary="logistic regression on counts of the past, by concept (performance factors analysis)",
        citation="Pavlik, Cen, Koedinger: Performance Factors Analysis. AIED 2009",
        trained=False,
    )
    uses: ClassVar[frozenset[str]] = frozenset({"concepts"})


class IRT(BestLR):
    """The question's easiness alone: the same for every learner, whatever the past."""

    info: ClassVar[TracerInfo] = TracerInfo(
        summary="one easiness per question (one-parameter item response model for new learners)",
        citation="Rasch: Probabilistic Models for Some Intelligence and Attainment Tests. 1960",
        trained=False,
    )
    uses: ClassVar[frozenset[str]] = frozenset({"question"})
    reads_answers: ClassVar[bool] = False
