"""Both stages, from a prepared photo to cloud and mesh; in a run directory they can be killed at any moment."""

from __future__ import annotations

import time
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sensorium.core.config import dump
from sensorium.core.errors import RunError
from sensorium.core.files import digest, read_json, write_json
from sensorium.core.resources import peak_memory
from sensorium.core.rundir import RunDirectory
from sensorium.encoders.lpips import LPIPS
from sensorium.lifting.cloud import GaussianCloud, ball
from sensorium.lifting.contrastive import ContrastiveTerm
from sensorium.lifting.files.ply import read_ply, write_ply
from sensorium.lifting.generation.config import LiftConfig
from sensorium.lifting.generation.objective import LiftObjective
from sensorium.lifting.generation.texturing import Textured, texture
from sensorium.lifting.guidance.base import Guidance, Pose
from sensorium.lifting.optimisation import Watch, optimise
from sensorium.lifting.optimisation.loop import METRICS, TIMING
from sensorium.lifting.rasterisers import select

CLOUD, FIRST_STAGE = "cloud.ply", "checkpoint/first-stage.json"


@dataclass(frozen=True, eq=False)
class Shaped:
    """The outcome of the first stage.

    Attributes:
        cloud: The Gaussians, on the CPU.
        facts: Steps, means of the loss's terms over the last recorded steps, limits that were met.
    """

    cloud: GaussianCloud
    facts: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Maker:
    """A photo, prepared, and all that it takes to lift it.

    Attributes:
        reference: The photo at the known view's size, premultiplied RGBA [4, R, R].
        detailed: The same, as large as the texture takes it, [4, side, side].
        elevation: Of its camera, degrees.
        guidance: Who knows the other sides.
        config: How.
        lpips: The perceptual distance of the contrastive term.
    """

    reference: Tensor
    detailed: Tensor
    elevation: float
    guidance: Guidance
    config: LiftConfig
    lpips: LPIPS

    def shape(self, run: RunDirectory | None = None, watch: Watch | None = None) -> Shaped:
        """Do the first stage, or read what it left in a run.

        Raises:
            RunError: The run was begun with another photo, other weights or another configuration.
        """
        config = self.config
        device = device_of(config)
        reference = self.reference.to(device)
        self.guidance.prepare(reference, self.elevation)
        about = self.about()
        if run is not None and (run.path / FIRST_STAGE).exists():
            return _left_in(run, about)
        term = None
        if config.contrastive.weight:
            front = Pose(self.elevation, 0.0)
            lpips = deepcopy(self.lpips).to(device)  # `to` moves it in place, and results are measured on the CPU
            term = ContrastiveTerm(reference, front, config.contrastive, lpips)
        drawer = select(None, device.type)
        objective = LiftObjective(reference, self.elevation, self.guidance, term, config, drawer)
        found = optimise(
            ball(config.sizes.points, seed=config.seed).to(device),
            objective,
            config.sizes.optimisation,
            seed=config.seed,
            run=run,
            about=about,
            label="shape",
            watch=watch,
        )
        shaped = Shaped(
            found.cloud.to("cpu"),
            {
                "steps": found.steps,
                "gaussians": len(found.cloud),
                "loss": found.terms,
                "notes": found.notes,
                "rasteriser": drawer.name,
                "records": -(-found.steps // config.sizes.optimisation.record_every),
            },
        )
        if run is not None:  # the file that says it is done comes last
            write_ply(run.path / CLOUD, shaped.cloud)
            write_json(run.path / FIRST_STAGE, {"about": about, **shaped.facts})
        return shaped

    def dress(self, shaped: Shaped, run: RunDirectory | None = None) -> Textured:
        """Do the second stage; one that was killed begins anew, to the same numbers."""
        self.guidance.prepare(self.reference.to(device_of(self.config)), self.elevation)
        if run is None:
            return texture(shaped.cloud, self.detailed, self.elevation, self.guidance, self.config)
        records = int(shaped.facts["records"])
        run.keep_records(METRICS, records)
        run.keep_records(TIMING, min(records, len(run.records(TIMING))))
        begun = time.perf_counter()

        def record(step: int, terms: dict[str, float]) -> None:
            run.append(METRICS, {"stage": "texture", "step": step, "loss": terms})
            seconds = time.perf_counter() - begun
            run.append(
                TIMING, {"stage": "texture", "step": step, "seconds": seconds, "peak_memory_bytes": peak_memory()}
            )

        return texture(shaped.cloud, self.detailed, self.elevation, self.guidance, self.config, record)

    def about(self) -> str:
        """Return a digest of all that the outcome depends on: of files their contents, of guidance its identity."""
        weights = {name: value.cpu().numpy() for name, value in self.lpips.state_dict().items()}
        return digest(
            dump(self.config),
            self.elevation,
            self.guidance.identity(),
            self.lpips.net,
            weights,
            self.reference.cpu().numpy(),
            self.detailed.cpu().numpy(),
        )


def _left_in(run: RunDirectory, about: str) -> Shaped:
    """Read the first stage of a run."""
    facts = dict(read_json(run.path / FIRST_STAGE))
    if facts.pop("about", None) != about:
        raise RunError(
            f"the first stage of {run.path} was done with another photo, other weights, another configuration or by "
            "another release: choose another folder"
        )
    return Shaped(read_ply(run.path / CLOUD), facts)


def device_of(config: LiftConfig) -> torch.device:
    """Return where the optimisation runs."""
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)
