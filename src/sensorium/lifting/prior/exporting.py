"""From a training to the two files that are shipped: weights in half precision, and a card with their history."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from sensorium.core.config import build
from sensorium.core.errors import RunError
from sensorium.core.files import read_json, read_safetensors, sha256_file, write_json, write_safetensors
from sensorium.core.rundir import RunDirectory
from sensorium.lifting.camera import FOVY, RADIUS
from sensorium.lifting.prior.objects import GENERATOR_VERSION
from sensorium.lifting.prior.schedule import OFFSET
from sensorium.lifting.prior.training import INITIAL, STATE, TIMING, Training, TrainingConfig
from sensorium.lifting.prior.view_prior import CARD, SHIPPED

LARGEST = 20_000_000  # bytes


def export_weights(path: str | Path, folder: str | Path) -> Path:
    """Write the averaged weights of a training and their card.

    Args:
        path: The training's folder.
        folder: Where the files go.

    Returns:
        The file of weights.

    Raises:
        RunError: There is no checkpoint, or its weights are larger than a package should carry.
    """
    run, folder = RunDirectory.open(path), Path(folder)
    if not (run.path / STATE).exists():
        raise RunError(f"{path} has no checkpoint yet: train first")
    config = build(TrainingConfig, run.config, source=str(run.path / "config.yaml"))
    training = Training(config)
    training.restore(read_safetensors(run.path / STATE))
    weights = {name: value.half() for name, value in training.averaged().items()}
    size = sum(value.numel() * value.element_size() for value in weights.values())
    if size > LARGEST:
        raise RunError(
            f"the weights take {size / 1e6:.1f} MB, at most {LARGEST / 1e6:.0f} are shipped: shrink the network"
        )
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise RunError("a weight is beyond the range of half precision")
    target = folder / SHIPPED
    write_safetensors(target, weights, {"network": config.network.model_dump_json(), "format": "view-prior 1"})
    environment, pieces = read_json(run.path / "environment.json"), run.records(TIMING)
    card = {
        "sha256": sha256_file(target),
        "bytes": target.stat().st_size,
        "parameters": sum(value.numel() for value in weights.values()),
        "network": config.network.model_dump(mode="json"),
        "prediction": "v",
        "schedule": {"name": "cosine", "offset": OFFSET},
        "picture": "RGBA, premultiplied, 64 x 64, x = 2 RGBA - 1",
        "camera": {"radius": RADIUS, "fovy_deg": FOVY, "elevation": "negative above"},
        "generator": GENERATOR_VERSION,
        "training": {
            "steps": training.step,
            "phases": _phases_done(config, training.step),
            "hours": sum(piece["seconds"] for piece in pieces) / 3600,
            "cpu_hours": sum(piece["cpu_seconds"] for piece in pieces) / 3600,
            "machine": environment["machine"],
            "threads": environment["threads"],
            "torch": environment["packages"]["torch"],
            "exported": time.strftime("%Y-%m-%d"),
        },
    }
    if (run.path / INITIAL).exists():
        card["begun_from"] = read_json(run.path / INITIAL)
    write_json(folder / CARD, card)
    return target


def _phases_done(config: TrainingConfig, step: int) -> list[dict[str, object]]:
    """Return the phases with the steps that were really done."""
    found = []
    for phase in config.phases:
        done = min(step, phase.steps)
        step -= done
        if done:
            seeds = [phase.pool.first_seed, phase.pool.first_seed + phase.pool.objects - 1]
            found.append(
                {
                    **phase.model_dump(mode="json"),
                    "steps": done,
                    "samples": done * phase.references * config.targets,
                    "seeds": seeds,
                }
            )
    return found
