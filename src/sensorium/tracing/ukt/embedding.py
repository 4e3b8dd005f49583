"""Questions and answers as Gaussians: the means of `tracing.embedding`, and spreads beside them.

    spread  x'_t = E'[q_t] + u'_q V'[q_t],  y'_t = x'_t + R'[r_t]        (unconstrained numbers)

E' and V' are concept tables, u' is a number per question, 0 at the start. **One mask of question dropout** covers u and
u': with u' left out of it, the question's own part is learned by heart all the same.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.tracing.base import TracingBatch, TracingView
from sensorium.tracing.embedding import ConceptMean, QuestionDeviation, QuestionEmbedding
from sensorium.tracing.ukt.config import UKTConfig

SPREAD_SD = 0.1


class Gaussians(NamedTuple):
    """Means and spreads of questions x and answers y: float32 [B, T, d] each; spreads are None in a point model."""

    x: Tensor
    y: Tensor
    x_spread: Tensor | None
    y_spread: Tensor | None


class VariationalDeviation(QuestionDeviation):
    """A number per question with a belief of its own: u_q ~ N(m_q, s_q²) against N(0, tau²), tau learned.

    Training draws u anew at every position; evaluation takes the mean. A question with few answers stays near 0 with a
    wide belief: `sd()` says how wide.
    """

    def __init__(self, view: TracingView) -> None:
        super().__init__(view, 1)
        self.rows = max(view.n_rows, 1)
        self.log_sd = nn.Parameter(torch.full((view.n_questions + 1, 1), math.log(0.1)))
        self.log_tau = nn.Parameter(torch.tensor(math.log(0.3)))

    def forward(self, question: Tensor) -> Tensor:
        """Return draws in training, means otherwise: float32 [..., 1]; 0 for unknown questions."""
        mean = super().forward(question)
        if not self.training:
            return mean
        known = (question < self.n_questions)[..., None]
        sd = functional.embedding(question.clamp(max=self.n_questions), self.log_sd).exp()
        return mean + torch.where(known, sd * torch.randn_like(mean), torch.zeros_like(mean))

    def sd(self) -> Tensor:
        """Return the standard deviation of every question's number, float32 [Q]."""
        return self.log_sd[:-1, 0].exp()

    def divergence(self) -> Tensor:
        """Return the KL divergence to the prior, summed over questions, per training row; a scalar in nats."""
        mean, log_sd = self.weight[:-1, 0], self.log_sd[:-1, 0]
        each = self.log_tau - log_sd + (log_sd.exp().square() + mean.square()) / (2 * (2 * self.log_tau).exp()) - 0.5
        return each.sum() / self.rows


class GaussianEmbedding(nn.Module):
    """The embeddings of questions and answers of UKT.

    Args:
        view: Counts and the concept table.
        config: Width, difficulty, question dropout, covariance, question_shift.
    """

    def __init__(self, view: TracingView, config: UKTConfig) -> None:
        super().__init__()
        difficulty = "scalar" if config.difficulty == "variational" else config.difficulty
        self.mean = QuestionEmbedding(view, config.dim, difficulty=difficulty, question_dropout=config.question_dropout)
        if config.difficulty == "variational" and view.has_questions:
            self.mean.deviation = VariationalDeviation(view)
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
            return Gaussians(x, y, None, None)
        return Gaussians(x, y, x_spread, x_spread + functional.embedding(response.clamp(0, 1), self.response))

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

    def penalty(self, batch: TracingBatch, weight: float) -> dict[str, Tensor]:
        """Return what questions pay for being themselves: a divergence, or the mean square of u times the weight."""
        if isinstance(self.mean.deviation, VariationalDeviation):
            return {"question_divergence": self.mean.deviation.divergence()}
        penalty = self.mean.penalty(batch)
        return {} if penalty is None else {"question_penalty": weight * penalty}
