"""NextItNet: dilated causal convolutions over the history (`encoders/nextitnet.py`).

Yuan, Karatzoglou, Arapakis, Jose, He: A Simple Convolutional Generative Network for Next Item Recommendation. WSDM
2019.
"""

from __future__ import annotations

from pydantic import Field
from torch import nn

from sensorium.recommenders.base import ModelInfo
from sensorium.recommenders.sequential.encoders.nextitnet import NextItNetEncoder
from sensorium.recommenders.sequential.model import SequentialRecommender, schedule


class NextItNet(SequentialRecommender):
    """Dilated convolutions over the last items."""

    info = ModelInfo(
        summary="dilated causal convolutions over the history predict the next item",
        citation="Yuan, Karatzoglou, Arapakis, Jose, He: A Simple Convolutional Generative Network for Next Item "
        "Recommendation. WSDM 2019",
        features="optional",
        order=True,
    )
    run_defaults = schedule(weight_decay=0.1, repeat_policy="drop", history="full")

    class Config(SequentialRecommender.Config):
        """The keys of NextItNet."""

        blocks: int = Field(2, ge=1, description="pairs of residual blocks, dilations 1 and 4")

    config: Config

    def build_encoder(self) -> nn.Module:
        """Return the encoder."""
        config = self.config
        return NextItNetEncoder(config.dim, self.generator, blocks=config.blocks, dropout=config.dropout)
