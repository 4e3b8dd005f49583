"""SASRec: self-attention over the history (`encoders/sasrec.py`).

Kang, McAuley: Self-Attentive Sequential Recommendation. ICDM 2018.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from torch import nn

from sensorium.recommenders.base import ModelInfo
from sensorium.recommenders.sequential.encoders.sasrec import SASRecEncoder
from sensorium.recommenders.sequential.model import SequentialRecommender, schedule


class SASRec(SequentialRecommender):
    """Self-attention over the last items."""

    info = ModelInfo(
        summary="self-attention over the history predicts the next item",
        citation="Kang, McAuley: Self-Attentive Sequential Recommendation. ICDM 2018",
        features="optional",
        order=True,
    )
    run_defaults = schedule(weight_decay=0.1, repeat_policy="drop", history="full")

    class Config(SequentialRecommender.Config):
        """The keys of SASRec."""

        blocks: int = Field(2, ge=1, description="blocks of attention")
        heads: int = Field(2, ge=1, description="heads of the attention; they divide dim")
        norm: Literal["post", "pre"] = Field("post", description="layer norms after or before each part of a block")

        @model_validator(mode="after")
        def _heads_divide(self) -> SASRec.Config:
            if self.dim % self.heads:
                raise ValueError(f"heads ({self.heads}) must divide dim ({self.dim})")
            return self

    config: Config

    def build_encoder(self) -> nn.Module:
        """Return the encoder."""
        config = self.config
        return SASRecEncoder(
            config.dim,
            config.length,
            self.generator,
            blocks=config.blocks,
            heads=config.heads,
            dropout=config.dropout,
            norm=config.norm,
        )
