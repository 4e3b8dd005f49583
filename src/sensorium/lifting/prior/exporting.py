"""From a training to the two files that are shipped: weights in half precision, and a card with their history.

The file of weights tells by itself what is needed to use it: its metadata hold

    format       "view-prior 2"; 1 had the network alone
    network      sizes of the denoiser
    schedule     name and offset of the noise
    conventions  what is predicted, of which pictures, from which cameras
    generator    version of the procedural objects
    steps        of the training
    evaluation   what the weights reach, where that was given

as JSON. The same training gives the same bytes: nothing in the file tells when or where it was written.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from sensorium.core.config import build
from sensorium.core.errors import ConfigError, RunError
from sensorium.core.files import read_json, read_safetensors, sha256_file, write_bytes, write_json
from sensorium.core.rundir import RunDirectory
from sensorium.lifting.prior.objects import GENERATOR_VERSION
from sensorium.lifting.prior.training import INITIAL, STATE, TIMING, Training, TrainingConfig
from sensorium.lifting.prior.view_prior import CARD, CONVENTIONS, FORMAT, SCHEDULE, SHIPPED

LARGEST = 20_000_000  # bytes


def export_weights(path: str | Path, folder: str | Path, evaluation: Mapping[str, Any] | None = None) -> Path:
    """Write the averaged weights of a training, float16, and their card.

    Args:
        path: The training's folder.
        folder: Where the files go.
        evaluation: What these weights reach, for both files: names to numbers, text, or more of the same.

    Returns:
        The file of weights.

    Raises:
        RunError: There is no checkpoint, its weights are larger than a package should carry, or one of them is beyond
            the range of half precision.
        ConfigError: The evaluation cannot be written as JSON.
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
    facts = {
        "network": config.network.model_dump(mode="json"),
        "schedule": SCHEDULE,
        "conventions": CONVENTIONS,
        "generator": GENERATOR_VERSION,
        "steps": training.step,
    }
    if evaluation is not None:
        facts["evaluation"] = dict(evaluation)
    write_bytes(target, encoded(weights, {"format": FORMAT, **{name: _json(name, facts[name]) for name in facts}}))
    environment, pieces = read_json(run.path / "environment.json"), run.records(TIMING)
    card = {
        "sha256": sha256_file(target),
        "bytes": target.stat().st_size,
        "parameters": sum(value.numel() for value in weights.values()),
        "network": config.network.model_dump(mode="json"),
        "schedule": SCHEDULE,
        **CONVENTIONS,
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
    if evaluation is not None:
        card["evaluation"] = dict(evaluation)
    write_json(folder / CARD, card)
    return target


def encoded(weights: dict[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a safetensors file, the same in every process.

    safetensors keeps metadata in a table whose order is drawn anew by each process; here the header is written again
    with sorted metadata. Tensors stay where they are: offsets count from the header's end.
    """
    content = save({name: value.contiguous().clone() for name, value in weights.items()}, dict(metadata))
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _json(name: str, value: object) -> str:
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} cannot stand in a file of weights: {error}") from None


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
