"""Every key of an optimisation. Defaults are those of the first stage of DreamGaussian (Tang et al., 2024), corrected
where its released program does what it does not mean; those places say so."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from sensorium.core.config import Config


class RatesConfig(Config):
    """Learning rates of Adam, one for each attribute."""

    means: float = Field(0.01, gt=0, description="of the means at the first step, world units")
    means_end: float = Field(
        0.0002, gt=0, description="of the means at the last step; between them it falls exponentially"
    )
    sh_dc: float = Field(0.01, gt=0, description="of colours")
    sh_rest: float = Field(0.0005, gt=0, description="of higher spherical harmonics")
    opacity_logit: float = Field(0.05, gt=0, description="of logits of opacities")
    log_scales: float = Field(0.005, gt=0, description="of logarithms of scales")
    quats: float = Field(0.005, gt=0, description="of quaternions")

    def at(self, share: float) -> dict[str, float]:
        """Return the rates by attribute when a share (0 to 1) of the steps is done."""
        share = min(max(share, 0.0), 1.0)
        means = math.exp((1 - share) * math.log(self.means) + share * math.log(self.means_end))
        return {
            **{name: getattr(self, name) for name in type(self).model_fields if name != "means_end"},
            "means": means,
        }


class DensityConfig(Config):
    """When Gaussians are copied, split and removed."""

    interval: int = Field(100, ge=1, description="steps between two looks")
    start: int = Field(100, ge=1, description="first step at which may be looked")
    end: int = Field(3000, ge=0, description="last such step; never within the last 50 steps")
    threshold: float = Field(0.01, gt=0, description="mean gradient of the place in the picture, in units of half "
                             "its sides, above which a Gaussian is copied or split")  # fmt: skip
    split_scale: float = Field(0.04, gt=0, description="largest scale above which it is split, world units")
    prune_opacity: float = Field(0.01, gt=0, lt=1, description="opacity below which it is removed")
    prune_scale: float = Field(0.4, gt=0, description="largest scale above which it is removed, world units")
    max_screen_frac: float | None = Field(None, gt=0, description="radius over the picture's width above which it is "
                                          "removed; none is no such rule")  # fmt: skip
    max_points: int = Field(20_000, ge=1, description="there are never more")
    stats: Literal["all_views", "last_view"] = Field(
        "all_views", description="whether each watched picture of a step counts, or the last one alone"
    )
    reset_every: int = Field(700, ge=1, description="steps between two resets of opacities to at most 0.01; none in "
                             "runs that are not longer than that")  # fmt: skip
    final_scale: float = Field(0.1, gt=0, description="largest scale that is kept at the very end, world units")


class OptimisationConfig(Config):
    """One optimisation of a cloud."""

    iterations: int = Field(500, ge=1, description="steps")
    rates: RatesConfig = Field(default_factory=RatesConfig, description="learning rates")
    density: DensityConfig = Field(default_factory=DensityConfig, description="when Gaussians come and go")
    record_every: int = Field(10, ge=1, description="steps between two lines of metrics.jsonl")
    checkpoint_every: int = Field(50, ge=1, description="steps between two checkpoints; a multiple of record_every")

    @model_validator(mode="after")
    def _whole_records(self) -> OptimisationConfig:
        if self.checkpoint_every % self.record_every:
            raise ValueError(
                f"checkpoint_every {self.checkpoint_every} is no multiple of record_every {self.record_every}: a "
                "checkpoint stands between two records"
            )
        return self

    def looks_at(self, step: int) -> bool:
        """Say whether Gaussians come and go after this step, counted from 1."""
        density = self.density
        last = min(density.end, self.iterations - 50)  # what is born in the last steps never learns its place
        return density.start <= step <= last and step % density.interval == 0

    def resets_at(self, step: int) -> bool:
        """Say whether opacities are reset after this step, counted from 1."""
        every = self.density.reset_every
        return self.iterations > every and step % every == 0 and step < self.iterations
