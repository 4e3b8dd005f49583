"""The options of UKT and which of them go together. One option is one decision; presets.py holds named sets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sensorium.tracing.attention import Decay
from sensorium.tracing.base import NeuralTracer


class UKTConfig(NeuralTracer.Config):
    """Keys of UKT in a configuration, beside those of every neural tracer."""

    heads: int = Field(4, ge=1, description="attention heads; divides dim")
    blocks: int = Field(2, ge=1, description="UKT blocks")
    hidden: int = Field(128, ge=1, description="width of the feed-forward layers of the means")
    encoder: Literal["akt", "none"] = Field(
        "akt", description="akt: questions and answers see their past before the blocks; none: the published layout"
    )
    attention: Literal["w2", "dot"] = Field(
        "w2", description="w2: 2-Wasserstein distance of Gaussians; dot: product of the means"
    )
    decay: Decay = Field("subtract", description="how distance enters attention: subtract, multiply or none")
    first_row: Literal["prior", "zero"] = Field(
        "prior", description="prior: a learned belief beside the past; zero: nothing where there is no past"
    )
    positions: Literal["none", "sinusoid"] = Field("none", description="positional encoding of the means")
    covariance: Literal["positive", "signed", "none"] = Field(
        "positive",
        description="positive: standard deviations; signed: raw numbers as in the released code; none: a point model",
    )
    spread_norm: Literal["none", "layer", "shared"] = Field(
        "none",
        description="after the spread's residuals: none; layer: a LayerNorm of its own; shared: raw variances and the "
        "mean's LayerNorm, as released",
    )
    question_shift: Literal["own", "shared"] = Field(
        "own", description="own: the spread has question tables of its own; shared: it gets the mean's shift"
    )
    ffn_residual: bool = Field(True, description="false: LN(FFN(x)) instead of LN(x + FFN(x)), as released")
    loading: bool = Field(True, description="the logit loads on the state's noise; false: it is a number")
    joint: float = Field(
        0.3, ge=0, description="weight of the joint loss of the answers of a block; 0 = no second view"
    )
    block: int = Field(5, ge=1, description="answers that are predicted together, from what came before them")
    draws: int = Field(8, ge=1, description="draws of the state in the joint loss")
    flip: Literal["symmetric", "slip", "guess"] = Field(
        "symmetric", description="which history answers of a flipped view change: all, right ones only, wrong ones only"
    )
    flip_max: float = Field(
        0.3, ge=0, le=1, description="largest share of flipped history answers of a sequence; a quarter has none"
    )
    flip_view: Literal["A", "B"] = Field("B", description="B: the joint view only; A: both views")
    augmentation: Literal["history", "released"] = Field(
        "history", description="history: random answers flip; released: the first two, where equal to the last"
    )
    contrastive: float | Literal["released"] = Field(
        0.0, description="weight of the contrastive term; released: as in the released code, with weight 0.02"
    )

    @model_validator(mode="after")
    def _check_together(self) -> UKTConfig:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        if self.covariance == "signed" and self.spread_norm != "shared":
            raise ValueError(
                "covariance signed has negative variances, which have no logarithm: set spread_norm shared"
            )
        if isinstance(self.contrastive, float) and self.contrastive < 0:
            raise ValueError("contrastive is a weight, 0 or above")
        return self

    @property
    def has_spread(self) -> bool:
        """Whether states have a spread at all."""
        return self.covariance != "none"

    @property
    def two_views(self) -> bool:
        """Whether a step looks at its sequences twice."""
        return bool(self.joint) or bool(self.contrastive)
