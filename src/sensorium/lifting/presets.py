"""Sizes of an optimisation by what there is to spend: two CPU cores in a hurry, two CPU cores, a GPU, a test; and those
of the released program of ContrastiveGaussian."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sensorium.core.config import Config
from sensorium.lifting.optimisation import DensityConfig, OptimisationConfig, RatesConfig

PresetName = Literal["cpu-fast", "cpu", "gpu", "test", "parity"]


class Preset(Config):
    """How many Gaussians, how large the pictures, how many steps."""

    points: int = Field(description="Gaussians to begin with")
    known_side: int = Field(description="side of the known view, pixels")
    novel_sides: tuple[int, ...] = Field(description="sides of novel views, smallest first, pixels")
    novel_until: tuple[float, ...] = Field(description="shares of the steps at which each side but the last ends")
    optimisation: OptimisationConfig = Field(description="the optimisation itself")

    def novel_side(self, share: float) -> int:
        """Return the side of novel views when a share (0 to 1) of the steps is done, pixels."""
        return self.novel_sides[sum(share >= until for until in self.novel_until)]


def _preset(
    points: int, most: int, known: int, sides: tuple[int, ...], until: tuple[float, ...], iterations: int
) -> Preset:
    optimisation = OptimisationConfig(iterations=iterations, density=DensityConfig(max_points=most))
    return Preset(points=points, known_side=known, novel_sides=sides, novel_until=until, optimisation=optimisation)


def _hurried(preset: Preset) -> Preset:
    """Return a preset whose Gaussians, few and large, have sixty steps alone: they learn faster, multiply within the
    first ten and stay however large they are."""
    rates = RatesConfig(means_end=0.002, sh_dc=0.05, log_scales=0.02)
    density = preset.optimisation.density.model_copy(update={"interval": 10, "start": 10, "final_scale": 0.4})
    optimisation = preset.optimisation.model_copy(update={"rates": rates, "density": density})
    return preset.model_copy(update={"optimisation": optimisation})


PRESETS: dict[PresetName, Preset] = {
    "cpu-fast": _preset(2_000, 6_000, 128, (64, 128), (0.5,), 300),
    "cpu": _preset(5_000, 20_000, 256, (128, 256), (0.5,), 500),
    "gpu": _preset(5_000, 100_000, 512, (128, 256, 512), (0.3, 0.6), 500),
    "test": _hurried(_preset(300, 1_000, 64, (64,), (), 60)),
    "parity": _preset(5_000, 100_000, 1024, (512, 1024), (0.4,), 500),
}
