"""Embeddings of questions and answers ("Rasch" form; Ghosh et al., AKT, KDD 2020; question dropout is Sensorium's).

    x_t = e + u∘v            the question: mean of its concepts' embeddings, moved by what sets it apart
    y_t = R[r_t] + x_t + u∘F[r_t]   the answered question

e and v are means over the question's concepts from two tables, u is a deviation per question (a number or a vector,
0 at the start), R and F are tables of responses. **Question dropout**: in training, u is 0 at a random share of the
positions; one mask must cover everything that belongs to a single question, or it does nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from sensorium.tracing.base import TracingBatch, TracingView

Difficulty = Literal["scalar", "vector", "none", "variational"]
INITIAL_SD = 0.5  # with sd .1, sinusoids of rms .7 drown the content
_LARGEST_TABLE = 2**26  # cells of the dense question x concept table (float32: 256 MiB); above it, bags


class ConceptMean(nn.Module):
    """Mean over a question's concepts of the rows of one learned table.

    Concepts without a training row start at 0, so that what was never learned adds nothing at random.

    Args:
        view: Counts and the concept table.
        dim: Width d.
        sd: Standard deviation of the initial rows.
    """

    multi_hot: Tensor | None

    def __init__(self, view: TracingView, dim: int, *, sd: float = INITIAL_SD) -> None:
        super().__init__()
        weight = torch.randn(view.n_concepts + 1, dim) * sd  # the last row is padding and has weight 0 everywhere
        unseen = torch.from_numpy(view.concept_count() == 0)
        weight[:-1][unseen] = 0.0
        weight[-1] = 0.0
        self.weight = nn.Parameter(weight)
        rows, concepts = view.n_questions + 1, view.n_concepts
        dense = None
        if rows * (concepts + 1) <= _LARGEST_TABLE:
            dense = torch.zeros(rows, concepts + 1).scatter_add_(1, view.concepts, view.concept_weight)
        self.register_buffer("multi_hot", dense, persistent=False)

    def forward(self, batch: TracingBatch, question: Tensor | None = None) -> Tensor:
        """Return the means, float32 [..., d], of the batch's questions or of other ones by id, int64 [...]."""
        question = batch.question if question is None else question
        if self.multi_hot is not None and len(batch.concepts) == len(self.multi_hot):
            return (
                self.multi_hot[question] @ self.weight
            )  # one product: a gather of [..., Kmax, d] costs 20 % of a step
        listed, weight = batch.concepts[question.reshape(-1)], batch.concept_weight[question.reshape(-1)]
        means = functional.embedding_bag(listed, self.weight, mode="sum", per_sample_weights=weight)
        return means.view(*question.shape, -1)


class QuestionDeviation(nn.Module):
    """What sets a question apart from its concepts: one row per question, 0 at the start and for unknown questions.

    Args:
        view: Counts.
        width: 1 for a number, d for a vector.
    """

    def __init__(self, view: TracingView, width: int) -> None:
        super().__init__()
        self.n_questions = view.n_questions
        self.weight = nn.Parameter(torch.zeros(view.n_questions + 1, width))

    def forward(self, question: Tensor) -> Tensor:
        """Return the rows, float32 [..., width]."""
        return functional.embedding(question.clamp(max=self.n_questions), self.weight, padding_idx=self.n_questions)


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


class Embedded(NamedTuple):
    """The embeddings of a batch.

    Attributes:
        x: float32 [B, T, d], the questions.
        y: float32 [B, T, d], the answered questions.
        keep: float32 [B, T, 1] mask of question dropout that both were made with (1 = the question's own part is in),
            or None in evaluation; use it for every other table that belongs to single questions.
    """

    x: Tensor
    y: Tensor
    keep: Tensor | None


class QuestionEmbedding(nn.Module):
    """Questions and answers as vectors, in the form above.

    Args:
        view: Counts and the concept table. Without question ids, `difficulty` is "none".
        dim: Width d.
        difficulty: "scalar" (u is a number), "vector" (u has d numbers), "none" (x = e, y = R + x), "variational" (u is
            a number with a belief of its own, `VariationalDeviation`).
        question_dropout: Share of positions at which training sets u to 0.
        answers: "both" moves answers by u∘F too, "question" leaves F out (simpleKT as released).
    """

    def __init__(
        self,
        view: TracingView,
        dim: int,
        *,
        difficulty: Difficulty = "vector",
        question_dropout: float = 0.5,
        answers: Literal["both", "question"] = "both",
    ) -> None:
        super().__init__()
        self.difficulty: Difficulty = difficulty if view.has_questions else "none"
        self.question_dropout = question_dropout
        self.concept = ConceptMean(view, dim)
        self.response = nn.Parameter(torch.randn(2, dim) * INITIAL_SD)
        self.variation: ConceptMean | None = None
        self.deviation: QuestionDeviation | None = None
        self.response_variation: nn.Parameter | None = None
        if self.difficulty != "none":
            self.variation = ConceptMean(view, dim)
            if self.difficulty == "variational":
                self.deviation = VariationalDeviation(view)
            else:
                self.deviation = QuestionDeviation(view, 1 if self.difficulty == "scalar" else dim)
            if answers == "both":
                self.response_variation = nn.Parameter(torch.randn(2, dim) * INITIAL_SD)

    def keep(self, batch: TracingBatch) -> Tensor | None:
        """Draw the mask of question dropout, float32 [B, T, 1]; None in evaluation or without dropout."""
        if not self.training or not self.question_dropout or self.difficulty == "none":
            return None
        drawn = torch.rand(batch.question.shape, device=batch.question.device) >= self.question_dropout
        return drawn.unsqueeze(-1).to(self.concept.weight.dtype)

    def forward(self, batch: TracingBatch) -> Embedded:
        """Embed all positions of a batch; padding gets finite numbers that nothing may read."""
        keep = self.keep(batch)
        x, u = self.questions(batch, keep=keep)
        return Embedded(x, self.answers(x, u, batch.response), keep)

    def questions(
        self, batch: TracingBatch, question: Tensor | None = None, *, keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Embed the batch's questions, or others by id (int64 [...]).

        Returns:
            x float32 [..., d], and u float32 [..., 1 or d] after dropout, None without difficulty.
        """
        question = batch.question if question is None else question
        x: Tensor = self.concept(batch, question)
        if self.deviation is None or self.variation is None:
            return x, None
        u: Tensor = self.deviation(question)
        if keep is not None:
            u = u * keep
        return x + u * self.variation(batch, question), u

    def answers(self, x: Tensor, u: Tensor | None, response: Tensor) -> Tensor:
        """Embed answered questions: x float32 [..., d], u as from `questions`, response int64 [...] of 0 and 1."""
        response = response.clamp(0, 1)
        y = functional.embedding(response, self.response) + x
        if self.response_variation is not None and u is not None:
            y = y + u * functional.embedding(response, self.response_variation)
        return y

    def penalty(self, batch: TracingBatch, weight: float) -> dict[str, Tensor]:
        """Return what questions pay for being themselves, a scalar in nats by its name; nothing without difficulty.

        It is the mean square of u over the rows that count, times a weight; of a variational difficulty the divergence
        of its beliefs, which has its own weight.
        """
        if self.deviation is None:
            return {}
        if isinstance(self.deviation, VariationalDeviation):
            return {"question_divergence": self.deviation.divergence()}
        square = self.deviation(batch.question).square().mean(-1)  # [B, T]
        counted = batch.score_mask
        mean = torch.where(counted, square, torch.zeros_like(square)).sum() / counted.sum().clamp(min=1)
        return {"question_penalty": weight * mean}
