"""A pool of views on disk: objects of consecutive seeds, each seen from its reference camera and from others.

    pool.json                 what it holds, and which renderer drew it
    shard-00000.safetensors   rgba uint8 [n, V, S, S, 4], poses float32 [n, V, 2] (elevation, azimuth in degrees)

View 0 is the reference. A shard is written whole, so a run that was killed goes on with the shards that are missing;
any number of threads and any order of shards give the same files. Two renderers draw the same objects, compiled loops
on the CPU (`kernels`) or torch on any device (`batched`); single pixels may differ, so their pools have other folders
and never mix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from sensorium.core.config import Config
from sensorium.core.errors import ConfigError, DataError
from sensorium.core.files import read_json, read_safetensors, write_json, write_safetensors
from sensorium.core.progress import track
from sensorium.lifting.prior import batched
from sensorium.lifting.prior.draws import Draws
from sensorium.lifting.prior.objects import GENERATOR_VERSION, TRAINING_SEEDS, draw_object

DESCRIPTION = "pool.json"
SHARD = 100  # objects in a file

USUAL, STEEP, USUAL_SHARE = (-50.0, 30.0), (-85.0, 85.0), 0.85  # degrees of a target's elevation, and how often


class PoolConfig(Config):
    """What a pool holds."""

    first_seed: int = Field(0, ge=0, description="of the objects, which have consecutive seeds")
    objects: int = Field(4000, ge=1, description="how many")
    views: int = Field(8, ge=2, description="of each, its reference among them")
    side: int = Field(64, ge=8, multiple_of=8, description="pixels along a picture")
    generator: int = Field(GENERATOR_VERSION, description="version of what draws objects")
    renderer: Literal["numba", "torch"] = Field(
        "numba", description="what draws them: loops on the CPU, or torch on the training's device"
    )

    @property
    def folder(self) -> str:
        """Name of the pool's folder; a pool of more objects keeps it."""
        return f"views-{self.side}x{self.views}-{self.first_seed}" + ("-torch" if self.renderer == "torch" else "")


@dataclass(frozen=True)
class Pool:
    """Views in memory.

    Attributes:
        rgba: Premultiplied, uint8 [n, V, S, S, 4]; view 0 is the reference.
        poses: Elevation and azimuth in degrees, float32 [n, V, 2].
        seeds: Of the objects, int64 [n].
    """

    rgba: Tensor
    poses: Tensor
    seeds: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.seeds)


def draw_poses(seed: int, reference_elevation: float, views: int) -> npt.NDArray[np.float32]:
    """Return the cameras of an object's views, the reference first: elevation and azimuth in degrees, [views, 2]."""
    draws = Draws(seed, "views")
    found = [(reference_elevation, 0.0)]
    for _ in range(views - 1):
        elevation = draws.uniform(*(USUAL if draws.flag(USUAL_SHARE) else STEEP))
        found.append((elevation, draws.uniform(-180, 180)))
    return np.array(found, dtype=np.float32)


def render_views(seed: int, views: int, side: int, family: str | None = None) -> tuple[Tensor, Tensor]:
    """Return an object's views: premultiplied RGBA, uint8 [views, side, side, 4], and poses, float32 [views, 2]."""
    made = draw_object(seed, family)
    poses = draw_poses(seed, made.elevation, views)
    pictures = made.render([float(pose[0]) for pose in poses], [float(pose[1]) for pose in poses], side)
    return torch.from_numpy(pictures), torch.from_numpy(poses)


def render_many(
    seeds: Sequence[int], views: int, side: int, workers: ThreadPoolExecutor, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Return the views of objects, drawn in torch: uint8 [n, views, side, side, 4] and float32 [n, views, 2].

    Objects are composed and framed by the workers; poses are those of `render_views`.
    """
    made = list(workers.map(draw_object, seeds))
    poses = np.stack([draw_poses(one.seed, one.elevation, views) for one in made])
    elevations, azimuths = poses[..., 0].tolist(), poses[..., 1].tolist()
    return batched.draw(made, elevations, azimuths, side, device=device), torch.from_numpy(poses)


def generate(
    path: str | Path, config: PoolConfig, *, threads: int | None = None, device: torch.device | str = "cpu"
) -> None:
    """Write the shards of a pool that are not there yet.

    Args:
        path: Folder.
        config: What the pool holds. A folder may grow by more objects, and keeps what it has where fewer are asked
            for; all else must be as it was.
        threads: By default as many as torch uses.
        device: Where the renderer `torch` works; that of `numba` is the CPU.

    Raises:
        ConfigError: The folder holds another pool, such as one of the other renderer, or a seed is kept for evaluation.
    """
    path = Path(path)
    last = config.first_seed + config.objects - 1
    if config.first_seed not in TRAINING_SEEDS or last not in TRAINING_SEEDS:
        raise ConfigError(
            f"seeds {config.first_seed} to {last}: those from {TRAINING_SEEDS.stop} on are for evaluation"
        )
    kept = config.objects
    if (path / DESCRIPTION).exists():
        before = PoolConfig.model_validate(read_json(path / DESCRIPTION))
        if before.model_copy(update={"objects": config.objects}) != config:
            raise ConfigError(f"{path} holds another pool ({before}): choose another folder")
        if before.objects > config.objects and _finished(path, before.objects):
            kept = before.objects
    write_json(path / DESCRIPTION, config.model_copy(update={"objects": kept}).model_dump())
    with ThreadPoolExecutor(threads or torch.get_num_threads()) as workers:
        for number in track(range(-(-config.objects // SHARD)), label="objects x 100"):
            target = path / f"shard-{number:05d}.safetensors"
            first = config.first_seed + number * SHARD
            seeds = range(first, min(first + SHARD, config.first_seed + config.objects))
            if not _complete(target, len(seeds)):
                if config.renderer == "torch":
                    rgba, poses = render_many(seeds, config.views, config.side, workers, device)
                else:
                    made = list(workers.map(lambda seed: render_views(seed, config.views, config.side), seeds))
                    rgba, poses = (torch.stack(values) for values in zip(*made, strict=True))
                write_safetensors(target, {"rgba": rgba, "poses": poses})


def _finished(path: Path, objects: int) -> bool:
    """Whether a pool that was asked for was also made: its last shard is written last."""
    number = -(-objects // SHARD) - 1
    return _complete(path / f"shard-{number:05d}.safetensors", objects - number * SHARD)


def _complete(shard: Path, objects: int) -> bool:
    """Whether a shard is there; the last one of a pool that has grown since lacks objects."""
    return shard.exists() and len(read_safetensors(shard)["poses"]) >= objects


def read(path: str | Path, objects: int | None = None) -> Pool:
    """Read a pool into memory.

    Args:
        path: Folder.
        objects: Of the first so many; all by default.

    Raises:
        DataError: There is no pool, a shard is missing, or another release generated it.
    """
    path = Path(path)
    config = PoolConfig.model_validate(read_json(path / DESCRIPTION))
    if config.generator != GENERATOR_VERSION:
        raise DataError(
            f"{path} was made by generator {config.generator}, this is {GENERATOR_VERSION}: generate it again"
        )
    count = config.objects if objects is None else objects
    if count > config.objects:
        raise DataError(f"{count} objects were asked of {path}, which holds {config.objects}: generate more")
    shards = [read_safetensors(path / f"shard-{number:05d}.safetensors") for number in range(-(-count // SHARD))]
    seeds = np.arange(config.first_seed, config.first_seed + count)
    return Pool(_joined(shards, "rgba")[:count], _joined(shards, "poses")[:count], seeds)


def _joined(shards: Iterable[dict[str, Tensor]], name: str) -> Tensor:
    return torch.cat([shard[name] for shard in shards])
