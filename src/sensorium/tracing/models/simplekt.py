"""simpleKT (Liu, Liu, Chen, Huang and Luo, ICLR 2023): plain attention with questions as queries and keys, and past
answers as values.

Ours, each an option: the Rasch form in answers too (`rasch: both`), a decay over distance instead of positions.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from sensorium.tracing.attention import AttentionBlock, Decay, sinusoids, visible_keys
from sensorium.tracing.base import NeuralTracer, TracerInfo, TracingBatch, TracingOutput, TracingView
from sensorium.tracing.embedding import QuestionEmbedding
from sensorium.tracing.models.heads import Head


class SimpleKT(NeuralTracer):
    """Attention of questions over past questions, reading their answers."""

    class Config(NeuralTracer.Config):
        """Keys of simpleKT."""

        heads: int = Field(4, ge=1, description="attention heads")
        blocks: int = Field(2, ge=1, description="attention blocks")
        hidden: int = Field(128, ge=1, description="width of the feed-forward layers")
        rasch: Literal["question", "both"] = Field(
            "question", description="whether what sets a question apart moves the question alone or its answers too"
        )
        decay: Decay = Field("none", description="how distance enters the attention")
        position_scale: float = Field(1.0, ge=0, description="factor of the sinusoids; 0 = no positions")

    info: ClassVar[TracerInfo] = TracerInfo(
        summary="plain attention of questions over past questions and their answers",
        citation="Liu et al.: simpleKT: A Simple But Tough-to-Beat Baseline for Knowledge Tracing. ICLR 2023",
    )
    config: Config

    def __init__(self, view: TracingView, config: Config) -> None:
        super().__init__(view, config)
        d = config.dim
        self.embedding = QuestionEmbedding(
            view,
            d,
            difficulty=config.difficulty,
            question_dropout=config.question_dropout,
            answers=config.rasch,
        )
        self.blocks = nn.ModuleList(
            AttentionBlock(
                d, config.heads, config.hidden, dropout=config.dropout, decay=config.decay, share_query_key=True
            )
            for _ in range(config.blocks)
        )
        self.head = Head(d, (d,), config.dropout)
        self.priors = self.make_priors(view)

    def forward(self, batch: TracingBatch) -> TracingOutput:
        """Predict every position."""
        x, y, keep = self.embedding(batch)
        positions = sinusoids(x.shape[1], x.shape[2], scale=self.config.position_scale, device=x.device)
        past = visible_keys(batch.mask, current=False)
        h, values = x + positions, y + positions
        for block in self.blocks:
            h = block(h, h, values, past)
        return TracingOutput(self.with_priors(self.head(h, x), batch, keep))
