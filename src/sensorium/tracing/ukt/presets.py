"""Named sets of options of UKT, each registered as a model of its own."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from sensorium.tracing.attention import Decay
from sensorium.tracing.base import TracerInfo
from sensorium.tracing.ukt.config import UKTConfig
from sensorium.tracing.ukt.model import UKT

_CITATION = UKT.info.citation


class PointConfig(UKTConfig):
    """UKT without covariances and without a second view."""

    covariance: Literal["positive", "signed", "none"] = Field("none", description="no spread: a point model")
    joint: float = Field(0.0, ge=0, description="weight of the joint loss; 0 = no second view")


class UKTPoint(UKT):
    """The same encoder, distance, decay and prior row with states that are points: what the covariances must beat."""

    Config = PointConfig
    info: ClassVar[TracerInfo] = TracerInfo(summary="UKT without covariances: a point model", citation=_CITATION)


class RobustConfig(UKTConfig):
    """UKT trained on flipped histories in both views."""

    flip_view: Literal["A", "B"] = Field("A", description="A: both views have flipped histories")
    flip_max: float = Field(0.5, ge=0, le=1, description="largest share of flipped history answers of a sequence")


class UKTRobust(UKT):
    """Falls less when histories are noisy, at the price of accuracy where they are not: the augmentation's doing."""

    Config = RobustConfig
    info: ClassVar[TracerInfo] = TracerInfo(
        summary="UKT trained on flipped histories in both views", citation=_CITATION
    )


class ReportConfig(UKTConfig):
    """UKT whose doubt about one concept is learned too: blocks so long that they hold several answers to it."""

    block: int = Field(10, ge=1, description="answers that are predicted together, from what came before them")
    draws: int = Field(32, ge=1, description="draws of the state in the joint loss")


class UKTReport(UKT):
    """For learners' pages: its band of mastery holds about what it says."""

    Config = ReportConfig
    info: ClassVar[TracerInfo] = TracerInfo(
        summary="UKT with blocks of ten: for the band on learners' pages", citation=_CITATION
    )


class ReleasedConfig(UKTConfig):
    """What the released code does, option by option, on one row per question."""

    encoder: Literal["akt", "none"] = Field("none", description="the published layout has no encoder")
    decay: Decay = Field("multiply", description="multiplies negative scores")
    first_row: Literal["prior", "zero"] = Field("zero", description="nothing where there is no past")
    positions: Literal["none", "sinusoid"] = Field("sinusoid", description="positional encoding of the means")
    covariance: Literal["positive", "signed", "none"] = Field("signed", description="raw numbers of any sign")
    spread_norm: Literal["none", "layer", "shared"] = Field("shared", description="P² v and the mean's LayerNorm")
    question_shift: Literal["own", "shared"] = Field("shared", description="the mean's shift, added to the spread too")
    ffn_residual: bool = Field(False, description="LN(FFN(x)): the residual is overwritten")
    loading: bool = Field(False, description="the logit is a number")
    joint: float = Field(0.0, ge=0, description="no joint loss")
    augmentation: Literal["history", "released"] = Field("released", description="the first two answers")
    contrastive: float | Literal["released"] = Field("released", description="with the sign that drives views apart")
    question_dropout: float = Field(0.0, ge=0, lt=1, description="none")
    ema: float = Field(0.0, ge=0, lt=1, description="no averaged weights")


class UKTReleased(UKT):
    """The released code's behaviour, on the honest protocol."""

    Config = ReleasedConfig
    info: ClassVar[TracerInfo] = TracerInfo(summary="UKT as released, on one row per question", citation=_CITATION)
