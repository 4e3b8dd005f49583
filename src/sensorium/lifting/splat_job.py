"""The job of kind "splat": a cloud fitted to a folder of photographs from known directions.

cloud.ply       the Gaussians
result.json     how well they show the photographs that were fitted, and those that were held out
metrics.jsonl, timing.jsonl, checkpoint/   written by the optimisation
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from sensorium.core.config import Config, dump
from sensorium.core.errors import DataError
from sensorium.core.files import digest
from sensorium.core.pages import picture, write_page
from sensorium.core.rundir import RunDirectory
from sensorium.lifting.camera import FOVY, RADIUS
from sensorium.lifting.files.ply import read_ply, write_ply
from sensorium.lifting.fitting import FitConfig, View, fit
from sensorium.lifting.photographs import read_photographs
from sensorium.lifting.rasterisers import render, select

CLOUD = "cloud.ply"
_SHOWN = 4  # photographs on the page


class SplatConfig(Config):
    """One fit to a folder of photographs."""

    kind: Literal["splat"] = Field("splat", description="which job this is")
    photographs: str = Field(description="folder of <elevation>_<azimuth>.png, one object on white")
    side: int | None = Field(128, ge=8, description="longer side that they are brought to, pixels; none: as they are")
    hold_out: int = Field(8, ge=0, description="each so many-th photograph is only measured on; 0: none")
    camera_radius: float = Field(RADIUS, gt=0, description="distance of the cameras to the object, world units")
    fovy_deg: float = Field(FOVY, gt=0, lt=180, description="vertical field of view, degrees")
    fit: FitConfig = Field(default_factory=FitConfig, description="the fit itself")
    seed: int = Field(0, ge=0, description="decides every random draw")


class SplatJob:
    """Fits one cloud. See `experiments.jobs.Job` for what each method is."""

    Config = SplatConfig

    def __init__(self, config: SplatConfig) -> None:
        self.config = config
        self.fitted: dict[str, View] = {}
        self.held_out: dict[str, View] = {}

    def folder_name(self) -> str:
        """Return `<folder>-splat-<seed>-<digits of the configuration>`."""
        return f"{Path(self.config.photographs).name}-splat-{self.config.seed}-{digest(dump(self.config))[:8]}"

    def prepare(self, run: RunDirectory | None) -> None:
        """Read the photographs; those of a run that is continued are compared with its checkpoint's by the fit."""
        config = self.config
        views = read_photographs(
            config.photographs, side=config.side, radius=config.camera_radius, fovy_deg=config.fovy_deg
        )
        for place, (name, view) in enumerate(views.items(), start=1):
            held_out = bool(config.hold_out) and place % config.hold_out == 0
            (self.held_out if held_out else self.fitted)[name] = view
        if not self.fitted:
            raise DataError(f"{config.photographs}: hold_out {config.hold_out} leaves no photograph to fit")

    def work(self, run: RunDirectory) -> None:
        """Fit, write the cloud, then the result."""
        fitted, held_out = list(self.fitted.values()), list(self.held_out.values())
        found = fit(fitted, self.config.fit, heldout=held_out, seed=self.config.seed, run=run)
        write_ply(run.path / CLOUD, found.cloud)
        run.write_result(
            {
                "kind": "splat",
                "rasteriser": select().name,
                "gaussians": len(found.cloud),
                "fitted": {"photographs": sorted(self.fitted), "psnr": found.train_psnr},
                "held_out": {
                    "photographs": sorted(self.held_out),
                    "psnr": found.heldout_psnr,
                    "psnr_before": found.begin_heldout_psnr,
                },
                "notes": found.optimised.notes,
            }
        )

    def write_report(self, path: Path) -> None:
        """Write a page that sets photographs beside pictures of the cloud."""
        if not self.fitted:
            self.prepare(None)
        cloud = read_ply(path / CLOUD)
        result = RunDirectory.open(path).result
        assert result is not None  # the page comes after the work
        shown = list((self.held_out or self.fitted).items())[:_SHOWN]
        pairs = []
        for name, view in shown:
            with torch.no_grad():
                drawn = render(cloud, view.camera, bg=self.config.fit.background).rgb.clamp(0, 1).numpy()
            both = np.concatenate([view.rgb, drawn], 1)
            image = Image.fromarray(np.rint(both * 255).astype(np.uint8))
            pairs.append({"name": name, "picture": picture(image, description=f"{name} and the cloud from there")})
        write_page(
            path / "report.html",
            f"A cloud of {len(cloud):,} Gaussians",
            "lifting/templates/splat.html",
            result=result,
            photographs=self.config.photographs,
            pairs=pairs,
            held_out=bool(self.held_out),
            cloud=CLOUD,
        )
