"""Attentive knowledge tracing (Ghosh, Heffernan and Lan, KDD 2020): context-aware questions and answers, monotonic
attention, Rasch embeddings.

Encoders attend within answers y and within questions x, the current row included; retrieval asks the past with
questions as queries and keys and answers as values. Queries and keys share their map, there are no positions: order
enters through the decay. As released, blocks over questions have no feed-forward layer and alternate with retrieval.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import nn

from sensorium.tracing.attention import AttentionBlock, Decay, visible_keys
from sensorium.tracing.base import DIFFICULTY, NeuralTracer, TracerInfo, TracingBatch, TracingOutput, TracingView
from sensorium.tracing.embedding import Difficulty
from sensorium.tracing.models.heads import Head


class AKT(NeuralTracer):
    """Monotonic attention over context-aware answers."""

    class Config(NeuralTracer.Config):
        """Keys of AKT."""

        difficulty: Difficulty = Field("scalar", description=DIFFICULTY)
        heads: int = Field(4, ge=1, description="attention heads")
        blocks: int = Field(1, ge=1, description="n: encoders of answers, of questions, and retrievals, each")
        hidden: int = Field(128, ge=1, description="width of the feed-forward layers")
        decay: Decay = Field("multiply", description="how distance enters the attention")

    info: ClassVar[TracerInfo] = TracerInfo(
        summary="monotonic attention over context-aware questions and answers",
        citation="Ghosh, Heffernan, Lan: Context-Aware Attentive Knowledge Tracing. KDD 2020",
    )
    config: Config

    def __init__(self, view: TracingView, config: Config) -> None:
        super().__init__(view, config)
        d = config.dim
        self.embedding = self.make_embedding(view, d)

        def stack(hidden: int) -> nn.ModuleList:
            blocks = range(config.blocks)
            return nn.ModuleList(
                AttentionBlock(
                    d, config.heads, hidden, dropout=config.dropout, decay=config.decay, share_query_key=True
                )
                for _ in blocks
            )

        self.answer_blocks = stack(config.hidden)
        self.question_blocks = stack(0)
        self.retrieval_blocks = stack(config.hidden)
        self.head = Head(d, (2 * d, d), config.dropout)
        self.priors = self.make_priors(view)

    def forward(self, batch: TracingBatch) -> TracingOutput:
        """Predict every position."""
        x, y, keep = self.embedding(batch)
        present = visible_keys(batch.mask, current=True)
        past = visible_keys(batch.mask, current=False)
        for block in self.answer_blocks:
            y = block(y, y, y, present)
        h = x
        for own, retrieve in zip(self.question_blocks, self.retrieval_blocks, strict=True):
            h = own(h, h, h, present)
            h = retrieve(h, h, y, past)
        return TracingOutput(self.with_priors(self.head(h, x), batch, keep))
