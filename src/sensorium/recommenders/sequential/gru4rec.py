"""GRU4Rec: a recurrent network over the history (`encoders/gru4rec.py`).

Hidasi, Karatzoglou, Baltrunas, Tikk: Session-based Recommendations with Recurrent Neural Networks. ICLR 2016.
"""

from __future__ import annotations

from pydantic import Field
from torch import nn

from sensorium.recommenders.base import ModelInfo
from sensorium.recommenders.sequential.encoders.gru4rec import GRU4RecEncoder
from sensorium.recommenders.sequential.model import SequentialRecommender, schedule


class GRU4Rec(SequentialRecommender):
    """Gated recurrent layers over the last items."""

    info = ModelInfo(
        summary="a recurrent network over the history predicts the next item",
        citation="Hidasi, Karatzoglou, Baltrunas, Tikk: Session-based Recommendations with Recurrent Neural Networks. "
        "ICLR 2016",
        features="optional",
        order=True,
    )
    run_defaults = schedule(weight_decay=0.1, repeat_policy="drop", history="full")

    class Config(SequentialRecommender.Config):
        """The keys of GRU4Rec."""

        blocks: int = Field(1, ge=1, description="recurrent layers")

    config: Config

    def build_encoder(self) -> nn.Module:
        """Return the encoder."""
        config = self.config
        return GRU4RecEncoder(config.dim, self.generator, blocks=config.blocks, dropout=config.dropout)
