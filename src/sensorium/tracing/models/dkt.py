"""Deep knowledge tracing (Piech et al., NeurIPS 2015), on questions.

    h_t = LSTM(y_0 .. y_t);   logit_t = MLP([h_{t-1}; x_t])

`head: per_concept` is the classical form: one output per concept, read at the mean of the question's concepts.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.tracing.base import NeuralTracer, TracerInfo, TracingBatch, TracingOutput, TracingView
from sensorium.tracing.embedding import ConceptMean
from sensorium.tracing.models.heads import Head, shifted


class DKT(NeuralTracer):
    """An LSTM over the answered questions."""

    class Config(NeuralTracer.Config):
        """Keys of DKT."""

        layers: int = Field(1, ge=1, description="layers of the LSTM")
        head: Literal["mlp", "per_concept"] = Field(
            "mlp", description="mlp sees the question; per_concept has one output per concept, as published"
        )

    info: ClassVar[TracerInfo] = TracerInfo(
        summary="an LSTM over the answered questions",
        citation="Piech et al.: Deep Knowledge Tracing. NeurIPS 2015",
    )
    config: Config

    def __init__(self, view: TracingView, config: Config) -> None:
        super().__init__(view, config)
        d = config.dim
        self.embedding = self.make_embedding(view, d)
        inner = config.dropout if config.layers > 1 else 0.0
        self.lstm = nn.LSTM(d, d, config.layers, batch_first=True, dropout=inner)
        self.dropout = nn.Dropout(config.dropout)
        if config.head == "mlp":
            self.head = Head(d, (d,), config.dropout)
        else:
            self.output = ConceptMean(view, d + 1, sd=d**-0.5)  # a row of weights and a bias per concept
        self.priors = self.make_priors(view)

    def forward(self, batch: TracingBatch) -> TracingOutput:
        """Predict every position."""
        x, y, keep = self.embedding(batch)
        states: Tensor = self.lstm(y * batch.mask.unsqueeze(-1))[0]  # [B, T, d]; padding stands at the end
        h = self.dropout(shifted(states))
        if self.config.head == "mlp":
            logit = self.head(h, x)
        else:
            logit = (self.output(batch) * torch.cat([h, torch.ones_like(h[..., :1])], dim=-1)).sum(-1)
        return TracingOutput(self.with_priors(logit, batch, keep))
