"""What a tracer is: the batch it reads, what it answers, what it may know of the data, and the base of all models.

A model is built as `Model(view, config)`, reads a `TracingBatch` and returns a `TracingOutput`. Position t of the
output is the prediction of answer t from questions 0..t and answers 0..t-1 of the same sequence: the shift by one
happens inside the model and nowhere else. The whole of a model of one's own:

    class MyTracer(NeuralTracer):
        info = TracerInfo(summary="...", citation="...")

        def __init__(self, view: TracingView, config: NeuralTracer.Config) -> None:
            super().__init__(view, config)
            self.embedding = self.make_embedding(view, config.dim)

        def forward(self, batch: TracingBatch) -> TracingOutput: ...

Loss, phases, training, evaluation and tables come for free. `sensorium.testing.check_tracer` says whether it keeps the
contract.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core import config as core
from sensorium.core.seeds import derive
from sensorium.tracing.attention import visible_keys
from sensorium.tracing.embedding import Difficulty, Embedded, QuestionEmbedding
from sensorium.tracing.priors import Priors
from sensorium.training.protocols import Phase

GROUP = "sensorium.tracers"
DIFFICULTY = (
    "what sets a question apart from the mean of its concepts; none without question ids; variational: a number with a "
    "Gaussian belief of its own, so that few answers keep it near 0"
)

__all__ = [
    "GROUP",
    "Embedded",
    "NeuralTracer",
    "QuestionEmbedding",
    "Tracer",
    "TracerInfo",
    "TracingBatch",
    "TracingOutput",
    "TracingView",
    "build_tracer",
]


@dataclass(frozen=True)
class TracingBatch:
    """Sequences of answers, padded at the end. Models read it and never change it in place.

    Q and C are the numbers of questions and concepts; the last row of the concept table is the padding question. A
    table with more rows than the model's own brings questions that training never met: they are known by their
    concepts.

    Attributes:
        question: int64 [B, T]; padding is the last row of `concepts`.
        concepts: int64 [Q + 1, Kmax], the concepts of each question, padded with C. One table for all batches.
        concept_weight: float32 [Q + 1, Kmax], 1 / size of the set, 0 on padding.
        response: int64 [B, T], 0 or 1; what stands under a false mask is never read.
        time: float32 [B, T], seconds since the first answer of the sequence's student, or None.
        mask: bool [B, T], true where there is a row.
        score_mask: bool [B, T], rows whose prediction counts; never the first of a student.
        student: int32 [B], whose sequence it is (dense id of the data set).
        position: int32 [B, T], place of the row in its student's whole history, from 0; -1 on padding.
    """

    question: Tensor
    concepts: Tensor
    concept_weight: Tensor
    response: Tensor
    time: Tensor | None
    mask: Tensor
    score_mask: Tensor
    student: Tensor
    position: Tensor

    def __len__(self) -> int:
        """Return the number of rows that count: by it, data-parallel processes weight their gradients."""
        return int(self.score_mask.sum())

    def to(self, device: torch.device | str) -> TracingBatch:
        """Return the batch on a device."""
        moved: dict[str, Any] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            moved[entry.name] = None if value is None else value.to(device)
        return TracingBatch(**moved)

    def replace(self, **changes: Tensor) -> TracingBatch:
        """Return a copy in which some tensors are others."""
        return replace(self, **changes)


@dataclass(frozen=True)
class TracingOutput:
    """What a model says of each position.

    Attributes:
        logit: float32 [B, T]; the probability of a right answer is its sigmoid unless `probability` is given.
        variance: float32 [B, T] or None: epistemic variance of that probability, Var[p] over the learner's state.
        state: Whatever else the model knows, for its own pages; None for most.
        probability: float32 [B, T] or None: E[p] where it is not the sigmoid of the logit.
    """

    logit: Tensor
    variance: Tensor | None = None
    state: Any = None
    probability: Tensor | None = None

    def p(self) -> Tensor:
        """Return the probability of a right answer, float32 [B, T]."""
        return torch.sigmoid(self.logit) if self.probability is None else self.probability


@dataclass(frozen=True)
class TracingView:
    """What training may see: the answers of the training students, and the concepts of every question.

    Answers of validation and test students have no way in.

    Attributes:
        n_questions: Q.
        n_concepts: C.
        has_questions: False where the source names concepts only; questions are concepts then, and models leave their
            question-specific parameters out.
        concepts: int64 [Q + 1, Kmax], padded with C; the last row is the padding question.
        concept_weight: float32 [Q + 1, Kmax], 1 / size of the set, 0 on padding.
        offsets: int64 [S + 1]: rows of training student s are offsets[s] .. offsets[s + 1] - 1, in their order.
        question: int32 [N].
        response: int8 [N].
        time: int64 [N], milliseconds since the epoch, or None.
        seed: Decides every initial value.
    """

    n_questions: int
    n_concepts: int
    has_questions: bool
    concepts: Tensor
    concept_weight: Tensor
    offsets: npt.NDArray[np.int64]
    question: npt.NDArray[np.int32]
    response: npt.NDArray[np.int8]
    time: npt.NDArray[np.int64] | None = None
    seed: int = 0

    @property
    def max_concepts(self) -> int:
        """Kmax, the most concepts that a question has."""
        return int(self.concepts.shape[1])

    @property
    def n_rows(self) -> int:
        """N, the training rows."""
        return len(self.question)

    @property
    def rate(self) -> float:
        """The share of right answers among the training rows."""
        return float(self.response.mean()) if self.n_rows else 0.5

    def question_count(self) -> npt.NDArray[np.int64]:
        """Return the number of training rows of each question, int64 [Q]."""
        return np.bincount(self.question, minlength=self.n_questions)

    def question_right(self) -> npt.NDArray[np.int64]:
        """Return the number of right answers of each question, int64 [Q]."""
        return np.bincount(self.question, weights=self.response, minlength=self.n_questions).astype(np.int64)

    def concept_count(self) -> npt.NDArray[np.int64]:
        """Return the number of training rows of each concept, int64 [C]; a row counts for each of its concepts."""
        listed = self.concepts[:-1].numpy()  # [Q, Kmax]
        times = np.repeat(self.question_count(), listed.shape[1])
        return np.bincount(listed.ravel(), weights=times, minlength=self.n_concepts + 1)[:-1].astype(np.int64)


@dataclass(frozen=True)
class TracerInfo:
    """What `sensorium list tracers` tells about a model.

    Attributes:
        summary: One line: what it does.
        citation: The paper, "Authors: Title. Venue Year".
        trained: False for a model that is complete once built from the training rows.
    """

    summary: str
    citation: str
    trained: bool = True


class Tracer(nn.Module):
    """A model that predicts the next answer. Built as `Model(view, config)`.

    A subclass provides `Config`, `info` and `forward`, and where it differs, `loss` and `phases`. What must survive a
    save stands in parameters and buffers; what follows from the view is made anew by the constructor. `build_tracer`
    seeds torch's generator before it calls the constructor, so that initial values follow from the view's seed alone.

    Attributes:
        config: The config it was built with.
        whole_history: True for models that read a student's whole history at any length (counts); the others are
            asked window by window.
        reads_answers: False for models whose predictions are the same whatever the past.
    """

    class Config(core.Config):
        """The keys of the model in a configuration, beside `name`. This base has none."""

    info: ClassVar[TracerInfo]
    whole_history: ClassVar[bool] = False
    reads_answers: ClassVar[bool] = True

    config: Any

    def __init__(self, view: TracingView, config: Tracer.Config) -> None:
        super().__init__()
        self.config = config
        self.n_questions, self.n_concepts = view.n_questions, view.n_concepts
        self.has_questions = view.has_questions

    def forward(self, batch: TracingBatch) -> TracingOutput:
        """Predict every position of a batch."""
        raise NotImplementedError

    def loss(self, batch: TracingBatch) -> dict[str, Tensor]:
        """Return the mean binary cross-entropy of the rows that count, in nats."""
        return {"answers": answer_loss(self(batch).logit, batch)}

    def phases(self) -> list[Phase]:
        """Return one pass over the training windows per epoch; [] for a model that is complete once built."""
        return [Phase("answers", self.parameters(), self.loss)] if self.info.trained else []

    def notices(self) -> list[str]:
        """Return what a reader of the results must know of the fitted model (degenerate parameters), as sentences."""
        return []


def answer_loss(logit: Tensor, batch: TracingBatch) -> Tensor:
    """Return the mean binary cross-entropy over `score_mask`, a scalar in nats; 0 where no row counts."""
    target = batch.response.clamp(0, 1).to(logit.dtype)
    each = functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
    counted = batch.score_mask
    return torch.where(counted, each, torch.zeros_like(each)).sum() / counted.sum().clamp(min=1)


class NeuralTracer(Tracer):
    """A tracer with learned embeddings of questions and concepts: the options that all of them share."""

    class Config(Tracer.Config):
        """Keys of every neural tracer."""

        dim: int = Field(64, ge=1, description="width of the embeddings and of the state")
        dropout: float = Field(0.2, ge=0, lt=1, description="dropout inside the network")
        difficulty: Difficulty = Field("vector", description=DIFFICULTY)
        question_dropout: float = Field(
            0.5, ge=0, lt=1, description="share of positions at which training leaves out what sets the question apart"
        )
        question_penalty: float = Field(
            1e-5, ge=0, description="weight of the mean square of what sets questions apart"
        )
        ema: float = Field(
            0.99,
            ge=0,
            lt=1,
            description="decay per step of the averaged weights that are selected and tested; 0 = none",
        )
        priors: Literal["none", "bias", "counts"] = Field(
            "none",
            description="what adds to the logit: bias: easiness of question and concepts; counts: a map of the past "
            "attempts and right answers too",
        )

    config: Config
    embedding: QuestionEmbedding
    priors: Priors | None

    def make_priors(self, view: TracingView) -> Priors | None:
        """Return the term of the logit that the config asks for; made last, it moves no other initial value."""
        return None if self.config.priors == "none" else Priors(view, self.config.priors)

    def with_priors(self, logit: Tensor, batch: TracingBatch, keep: Tensor | None) -> Tensor:
        """Add the priors to logits of the batch's own questions, float [B, T].

        Args:
            logit: float [B, T].
            batch: The sequences.
            keep: The mask of question dropout that the embeddings were made with.
        """
        if self.priors is None:
            return logit
        past = visible_keys(batch.mask, current=False)[:, 0]
        term: Tensor = self.priors(batch, batch.response, batch.question, past, keep)
        return logit + term

    def make_embedding(self, view: TracingView, dim: int) -> QuestionEmbedding:
        """Return the embedding of questions and answers as the config asks for it."""
        return QuestionEmbedding(
            view, dim, difficulty=self.config.difficulty, question_dropout=self.config.question_dropout
        )

    def loss(self, batch: TracingBatch) -> dict[str, Tensor]:
        """Return the mean cross-entropy of the rows that count and what questions pay for being themselves."""
        return super().loss(batch) | self.embedding.penalty(batch, self.config.question_penalty)


def build_tracer(cls: type[Tracer], view: TracingView, config: Tracer.Config) -> Tracer:
    """Build a model; its initial values follow from the view's seed and nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(view.seed, "tracer"))
        return cls(view, config)
