"""Questions and answers as Gaussians: the means of `tracing.embedding`, and spreads beside them.

    spread  x'_t = E'[q_t] + u'_q V'[q_t],  y'_t = x'_t + R'[r_t]        (unconstrained numbers)

E' and V' are concept tables, u' is a number per question, 0 at the start. **One mask of question dropout** covers u and
u': with u' left out of it, the question's own part is learned by heart all the same.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.tracing.base import TracingBatch, TracingView
from sensorium.tracing.embedding import ConceptMean, QuestionDeviation, QuestionEmbedding
from sensorium.tracing.ukt.config import UKTConfig

SPREAD_SD = 0.1


class Gaussians(NamedTuple):
    """Means and spreads of questions x and answers y: float32 [B, T, d] each; spreads are None in a point model.

    `keep` is the mask of question dropout that all were made with, float32 [B, T, 1], or None.
    """

    x: Tensor
    y: Tensor
    x_spread: Tensor | None
    y_spread: Tensor | None
    keep: Tensor | None


class GaussianEmbedding(nn.Module):
    """The embeddings of questions and answers of UKT.

    Args:
        view: Counts and the concept table.
        config: Width, difficulty, question dropout, covariance, question_shift.
    """

    def __init__(self, view: TracingView, config: UKTConfig) -> None:
        super().__init__()
        self.mean = QuestionEmbedding(
            view, config.dim, difficulty=config.difficulty, question_dropout=config.question_dropout
        )
        self.concept: ConceptMean | None = None
        self.variation: ConceptMean | None = None
        self.deviation: QuestionDeviation | None = None
        self.shared = config.question_shift == "shared"
        if config.has_spread:
            self.concept = ConceptMean(view, config.dim, sd=SPREAD_SD)
            self.response = nn.Parameter(torch.randn(2, config.dim) * SPREAD_SD)
            if self.mean.difficulty != "none" and not self.shared:
                self.variation = ConceptMean(view, config.dim, sd=SPREAD_SD)
                self.deviation = QuestionDeviation(view, 1)

    def forward(self, batch: TracingBatch, response: Tensor) -> Gaussians:
        """Embed a batch whose answers are read as `response`, int64 [B, T]."""
        keep = self.mean.keep(batch)
        x, u, x_spread = self.questions(batch, batch.question, keep)
        y = self.mean.answers(x, u, response)
        if x_spread is None:
            return Gaussians(x, y, None, None, keep)
        y_spread = x_spread + functional.embedding(response.clamp(0, 1), self.response)
        return Gaussians(x, y, x_spread, y_spread, keep)

    def questions(
        self, batch: TracingBatch, question: Tensor, keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Embed questions by id, int64 [...]: their means x, what sets them apart u, and their spreads x'."""
        x, u = self.mean.questions(batch, question, keep=keep)
        if self.concept is None:
            return x, u, None
        spread: Tensor = self.concept(batch, question)
        if self.shared and u is not None and self.mean.variation is not None:
            spread = spread + u * self.mean.variation(batch, question)
        if self.deviation is not None and self.variation is not None:
            own: Tensor = self.deviation(question)
            own = own if keep is None else own * keep
            spread = spread + own * self.variation(batch, question)
        return x, u, spread
