"""The job of kind "lift": one photo becomes a 3D asset.

photo.png                  the photo, where it was given as an array
reference.png              the photo as it was fitted
cloud.ply                  the Gaussians
mesh.glb (or mesh.obj)     the textured mesh
turntable.mp4 (or .gif)    a turn of it
views/000.png ... 315.png  eight pictures of it
previews/00050.png ...     the cloud on the way, from four sides
result.json                how well it shows the photo, and how it was made
metrics.jsonl, timing.jsonl, checkpoint/   written on the way
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sensorium.core.config import dump
from sensorium.core.errors import ConfigError, DataError
from sensorium.core.files import digest
from sensorium.core.rundir import RunDirectory
from sensorium.lifting.camera import STEEPEST
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.contrastive.term import perceptual
from sensorium.lifting.files.meshes import write_mesh
from sensorium.lifting.generation.config import LiftConfig
from sensorium.lifting.generation.given import ArrayPhoto, Pixels, is_array, store, stored
from sensorium.lifting.generation.making import Maker, device_of
from sensorium.lifting.generation.measures import Drawer, drawer, reference_likeness
from sensorium.lifting.generation.similarity import Embedders, embedders, similarity
from sensorium.lifting.generation.weights import weights_in_use, write_weights
from sensorium.lifting.guidance.base import Guidance, Pose
from sensorium.lifting.meshing import Meshed
from sensorium.lifting.photo.cutout import on_background
from sensorium.lifting.photo.preparation import Prepared, prepare_photo
from sensorium.lifting.prior import ViewPrior
from sensorium.lifting.rasterisers import select
from sensorium.lifting.turntable import write_turntable
from sensorium.lifting.views import ring
from sensorium.media.images import write_image

VIEWS, VIEW_SIDE = 8, 256
PREVIEWS, PREVIEW_SIDE = 4, 96


class LiftJob:
    """Lifts one photo. See `experiments.jobs.Job` for what each method is."""

    Config = LiftConfig

    def __init__(self, config: LiftConfig) -> None:
        self.config = config
        self.prepared: Prepared | None = None
        self.maker: Maker | None = None
        self.compared: Embedders | None = None
        self.notes: list[str] = []

    def folder_name(self) -> str:
        """Return `<photo>-lift-<seed>-<digits of the configuration>`."""
        config = self.config
        return f"{config.photo_name}-lift-{config.seed}-{digest(dump(config))[:8]}"

    def prepare(self, run: RunDirectory | None) -> None:
        """Cut the object out, load guidance, find the elevation: all that may be refused."""
        config = self.config
        guidance: Guidance = config.guidance.target(config.guidance.config)
        lpips, notes = perceptual(config.lpips, wanted=config.lpips_net)
        self.compared = embedders(config.similarity)
        side = config.sizes.known_side
        self.prepared = prepare_photo(self._source(run), config.preparation, side=side)
        reference = self.prepared.framed(side)
        elevation = estimated(guidance, reference) if config.elevation == "auto" else config.elevation
        if abs(elevation) > min(config.novel.limit, STEEPEST):
            raise ConfigError(
                f"elevation {elevation:g}: between -{config.novel.limit:g} and {config.novel.limit:g} degrees"
            )
        detailed = self.prepared.framed(config.texture.photo_side)
        self.maker = Maker(reference, detailed, elevation, guidance, config, lpips)
        self.notes = [*self.prepared.notes, *notes]

    def work(self, run: RunDirectory) -> None:
        """Do both stages, or what is left of them, and write the asset."""
        maker, config = self.maker, self.config
        if maker is None or self.prepared is None or self.compared is None:
            raise DataError("a job is prepared before it works")
        if isinstance(config.photo, ArrayPhoto):
            store(run, config.photo)
        device = device_of(config).type
        weights = weights_in_use(config, maker.guidance, maker.lpips.net, self.prepared.facts, self.compared)
        write_weights(run, weights, rasteriser=select(None, device).name, device=device)
        _clear(run)
        shaped = maker.shape(run, lambda cloud, step: write_preview(run.path, cloud, step, maker.elevation))
        # What was refused leaves the run's pictures as they were.
        write_image(run.path / "reference.png", picture(on_background(maker.reference)))
        textured = maker.dress(shaped, run)
        output = config.output
        write_mesh(run.path / f"mesh.{output.mesh}", textured.mesh)
        draw = drawer(textured.mesh)
        for azimuth in ring(VIEWS):
            shown = draw(Pose(maker.elevation, azimuth), VIEW_SIDE)
            write_image(run.path / "views" / f"{round(azimuth):03d}.png", picture(on_background(shown)))
        if output.turntable != "none":
            gif = output.turntable == "gif"
            write_turntable(
                run.path / f"turntable.{output.turntable}",
                textured.mesh,
                frames=min(output.frames, 60) if gif else output.frames,
                size=min(output.frame_side, 256) if gif else output.frame_side,
                elevation=maker.elevation,
            )
        result = self._result(shaped.facts, drawer(shaped.cloud), draw, textured.meshed)
        result["similarity"] = similarity(textured.mesh, maker.detailed, self.compared)
        run.write_result(result)

    def _source(self, run: RunDirectory | None) -> str | Pixels:
        """The photo's file, or the pixels that were given."""
        photo = self.config.photo
        if isinstance(photo, ArrayPhoto):
            return photo.pixels
        return stored(run, photo).pixels if is_array(photo) else photo

    def _result(self, facts: dict[str, Any], cloud: Drawer, mesh: Drawer, meshed: Meshed) -> dict[str, Any]:
        maker, config = self.maker, self.config
        assert maker is not None  # `work` has seen to it
        assert self.prepared is not None
        against = {
            name: reference_likeness(draw, maker.reference, maker.elevation, maker.lpips).as_dict()
            for name, draw in (("cloud", cloud), ("mesh", mesh))
        }
        return {
            "kind": "lift",
            "guidance": maker.guidance.name,
            "guidance_identity": maker.guidance.identity(),
            "contrastive": config.contrastive.weight > 0 and maker.guidance.name != "none",
            "preset": config.preset,
            "seed": config.seed,
            "photo": self.prepared.facts,
            "elevation": maker.elevation,
            "elevation_estimated": config.elevation == "auto",
            "rasteriser": facts["rasteriser"],
            "gaussians": facts["gaussians"],
            "steps": facts["steps"],
            "loss": facts["loss"],
            "reference_view": against,
            "lpips": maker.lpips.net,
            "mesh": {"level": meshed.level, **meshed.measures.as_dict()},
            "notes": [*self.notes, *facts["notes"]],
        }

    def write_report(self, path: Path) -> None:
        """Write a page that shows the asset."""
        from sensorium.lifting.generation.report import write_report

        write_report(path, self.config)


def _clear(run: RunDirectory) -> None:
    """Remove what a killed process had begun to write below the run's folder; its top is cleared by `run`."""
    if run.writes:
        for begun in run.path.glob("*/.*.tmp"):
            begun.unlink()


def estimated(guidance: Guidance, reference: torch.Tensor) -> float:
    """Return the elevation in degrees that a photo [4, R, R] seems to be taken from, by the embedded prior."""
    own = getattr(guidance, "elevation", None)
    return round(float(own(reference) if own is not None else ViewPrior.shipped().elevation(reference)), 2)


def picture(rgb: torch.Tensor) -> Image.Image:
    """Return a picture [3, H, W] in [0, 1] for a file."""
    pixels = np.rint(rgb.clamp(0, 1).movedim(0, -1).cpu().numpy() * 255)
    return Image.fromarray(pixels.astype(np.uint8))


def write_preview(folder: Path, cloud: GaussianCloud, step: int, elevation: float) -> None:
    """Write a strip of pictures of a cloud from four sides."""
    draw = drawer(cloud)
    strip = [on_background(draw(Pose(elevation, azimuth), PREVIEW_SIDE)) for azimuth in ring(PREVIEWS)]
    write_image(folder / "previews" / f"{step:05d}.png", picture(torch.cat(strip, 2)))
