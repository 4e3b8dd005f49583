"""Every key of the contrastive part.

Defaults differ from the released program where measurement showed that it does not do what it is meant to: its samples
lie on a white or black background by a coin, and the photo on white alone, so that the coin decides both the split and
the loss (one picture on the other background is five times as far away as its own mirror image).

The term is left out by default: measured, it did not make assets better (docs/results/contrastive-gaussian.md).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sensorium.core.config import Config

UNIT = 100.0  # the weight whose slope, for a uniform shift of colour, is about that of the photo's view


class ContrastiveConfig(Config):
    """The quantity-aware triplet loss."""

    weight: float = Field(0.0, ge=0, description="factor of the loss: 0 leaves it out, 100 is its unit")
    start: float = Field(0.1, ge=0, le=1, description="share of the steps before which it rests: all is noise then")
    side: int = Field(128, ge=32, description="pixels along the pictures that are compared")
    background: Literal["white", "coin"] = Field(
        "white", description="behind the new views; coin is white or black for each (released program)"
    )
    perceptual_range: Literal["signed", "unit"] = Field(
        "signed", description="values that LPIPS is fed with: -1..1 as it was trained, or 0..1 (released program)"
    )
    split: Literal["perceptual", "all_positive"] = Field(
        "perceptual", description="which views are positive: by LPIPS, or all of them"
    )
    threshold: float = Field(0.3, gt=0, description="LPIPS below which a view looks like the photo; the distance "
                             "'pyramid' is scaled to it, 0.3 being what both say of views 50 degrees away")  # fmt: skip
    ambiguous: Literal["ignore", "negative", "positive"] = Field(
        "ignore", description="what a view is that looks like the photo from over 90 degrees away: a symmetric object, "
        "or the front shown again"
    )  # fmt: skip
    distance: Literal["pooled", "l2_sum", "lpips"] = Field(
        "pooled", description="between a view and the photo: mean over the object's cells, the norm over all values "
        "(released program), or LPIPS"
    )  # fmt: skip
    pool: int = Field(8, ge=0, description="cells along a side of the pooled distance; 0 compares pixels")
    memory: int = Field(16, ge=0, description="last distances that are kept beside those of the step")
    quantity: Literal["normalised", "raw", "none"] = Field(
        "normalised", description="weights log2(1 + N) of both sets: with mean one, as they are, or all one"
    )
    margins: Literal["single", "released"] = Field(
        "single", description="one margin for all cases, or 1450, 0.2 and 2500 (released program)"
    )
    margin: float = Field(0.1, ge=0, description="the single margin")
    gradient: Literal["both", "positives"] = Field("both", description="which set's views are moved")

    @model_validator(mode="after")
    def _margins_fit(self) -> ContrastiveConfig:
        if (self.margins == "released") != (self.distance == "l2_sum"):
            raise ValueError("released margins are those of the distance l2_sum, and of no other")
        if self.pool and self.side % self.pool:
            raise ValueError(f"side {self.side} is no multiple of pool {self.pool}")
        return self


def released(side: int = 1024) -> ContrastiveConfig:
    """Return the constants of the released program, whose margins belong to pictures of 1024 pixels."""
    return ContrastiveConfig(
        weight=1.0,
        start=0.0,
        side=side,
        background="coin",
        perceptual_range="unit",
        ambiguous="positive",
        distance="l2_sum",
        memory=0,
        quantity="raw",
        margins="released",
    )
