"""Self-attentive knowledge tracing (Pandey and Karypis, EDM 2019), on questions.

Keys and values are past answers with their positions, the query is the question; further blocks ask with what the block
before found.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from sensorium.tracing.attention import AttentionBlock, sinusoids, visible_keys
from sensorium.tracing.base import NeuralTracer, TracerInfo, TracingBatch, TracingOutput, TracingView


class SAKT(NeuralTracer):
    """Attention of the question over past answers."""

    class Config(NeuralTracer.Config):
        """Keys of SAKT."""

        heads: int = Field(4, ge=1, description="attention heads")
        blocks: int = Field(1, ge=1, description="attention blocks")
        hidden: int = Field(128, ge=1, description="width of the feed-forward layers")
        position_scale: float = Field(1.0, ge=0, description="factor of the sinusoids; 0 = no positions")

    info: ClassVar[TracerInfo] = TracerInfo(
        summary="attention of the question over past answers",
        citation="Pandey, Karypis: A Self-Attentive Model for Knowledge Tracing. EDM 2019",
    )
    config: Config

    def __init__(self, view: TracingView, config: Config) -> None:
        super().__init__(view, config)
        d = config.dim
        self.embedding = self.make_embedding(view, d)
        self.blocks = nn.ModuleList(
            AttentionBlock(d, config.heads, config.hidden, dropout=config.dropout) for _ in range(config.blocks)
        )
        self.output = nn.Linear(d, 1)
        self.priors = self.make_priors(view)

    def forward(self, batch: TracingBatch) -> TracingOutput:
        """Predict every position."""
        x, y, keep = self.embedding(batch)
        y = y + sinusoids(y.shape[1], y.shape[2], scale=self.config.position_scale, device=y.device)
        past = visible_keys(batch.mask, current=False)
        h: Tensor = x
        for block in self.blocks:
            h = block(h, y, y, past)
        return TracingOutput(self.with_priors(self.output(h).squeeze(-1), batch, keep))
