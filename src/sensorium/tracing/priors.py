"""What every network can be given beside its state: how easy questions are, and what regression on counts knows.

    bias    b_q + mean_k b_k                                   k over the question's concepts
    counts  + w·z + MLP(z) + mean_k (c_k·[log(1 + n_k), log(1 + w_k)])

z are the six log counts of Best-LR (Gervet et al., JEDM 2020): attempts n and right answers w of the learner before the
row, on its concepts (mean over them), on the same question, and in all; c_k is a concept's own pair of weights. Counts
are of the rows that the network itself may see, so that a window's beginning and a hidden block are without history.
Everything starts at 0 but the MLP's first layer: a network with priors begins as the one without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.tracing.embedding import ConceptMean, QuestionDeviation

if TYPE_CHECKING:
    from sensorium.tracing.base import TracingBatch, TracingView

Kind = Literal["bias", "counts"]
HIDDEN = 32
COUNTS = 6


class Counts(NamedTuple):
    """Log counts of the past of asked questions.

    Attributes:
        concept: float [B, n, Kmax, 2], log(1 + attempts) and log(1 + right) on each concept; 0 on padding.
        all: float [B, n, 6], mean over concepts, same question, everything: attempts and right of each.
    """

    concept: Tensor
    all: Tensor


@torch.no_grad()
def count_past(batch: TracingBatch, response: Tensor, question: Tensor, visible: Tensor) -> Counts:
    """Count what a learner did before questions are asked.

    Args:
        batch: B histories of T rows, with the table of concepts.
        response: int64 [B, T], the answers as they are read.
        question: int64 [B, n], what is asked.
        visible: bool [B or 1, n, T], which rows of the history each of them may see.
    """
    right = response.clamp(0, 1)[:, None, :] == 1  # [B, 1, T]

    def both(rows: Tensor) -> Tensor:
        return torch.stack([rows.sum(-1), (rows & right).sum(-1)], dim=-1).float().log1p()

    asked, held = batch.concepts[question], batch.concepts[batch.question]  # [B, n, Kmax], [B, T, Kmax]
    padding = batch.concepts[-1, 0]
    each = []
    for own in asked.unbind(-1):
        met = torch.zeros_like(visible.expand(len(question), -1, -1))
        for other in held.unbind(-1):
            met |= own[:, :, None] == other[:, None, :]
        each.append(both(met & visible & (own != padding)[:, :, None]))
    concept = torch.stack(each, dim=2)
    mean = (batch.concept_weight[question][..., None] * concept).sum(2)
    same = both((question[:, :, None] == batch.question[:, None, :]) & visible)
    return Counts(concept, torch.cat([mean, same, both(visible.expand(len(question), -1, -1))], dim=-1))


class Priors(nn.Module):
    """A term of the logit that needs no state. Made once per model, the same for all.

    Args:
        view: Counts and the table of concepts. Without question ids there is no b_q.
        kind: "bias" or "counts".
    """

    def __init__(self, view: TracingView, kind: Kind) -> None:
        super().__init__()
        self.question = QuestionDeviation(view, 1) if view.has_questions else None
        self.concept = ConceptMean(view, 1, sd=0.0)
        self.linear: nn.Linear | None = None
        if kind == "counts":
            self.linear = nn.Linear(COUNTS, 1, bias=False)
            last = nn.Linear(HIDDEN, 1, bias=False)
            self.mlp = nn.Sequential(nn.Linear(COUNTS, HIDDEN), nn.ReLU(), last)
            self.by_concept = nn.Parameter(torch.zeros(view.n_concepts + 1, 2))
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(last.weight)

    def forward(
        self, batch: TracingBatch, response: Tensor, question: Tensor, visible: Tensor, keep: Tensor | None = None
    ) -> Tensor:
        """Return the term, float [B, n]; arguments as in `count_past`.

        Args:
            keep: float [B, n, 1] mask of question dropout: b_q belongs to a single question too.
        """
        term: Tensor = self.concept(batch, question)[..., 0]
        if self.question is not None:
            own = self.question(question)
            term = term + (own if keep is None else own * keep)[..., 0]
        if self.linear is None:
            return term
        counts = count_past(batch, response, question, visible)
        known = batch.concepts[question].clamp(max=len(self.by_concept) - 1)
        each = (functional.embedding(known, self.by_concept) * counts.concept).sum(-1)  # [B, n, Kmax]
        term = term + (batch.concept_weight[question] * each).sum(-1)
        mapped: Tensor = self.linear(counts.all) + self.mlp(counts.all)
        return term + mapped[..., 0]
