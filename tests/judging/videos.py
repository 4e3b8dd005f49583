"""Small videos and runs of judging for the tests of this room."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.judging.cells import VideoCell
from sensorium.judging.judges.base import Picture, pixels_digest
from sensorium.judging.sampling import Shown, encode
from sensorium.media.video import write_video

from ..media.clips import grey

LEVELS = (20, 70, 120, 160, 230)  # of brightness: the levels 1 to 5 of the script `brightness`


def write_clip(path: Path, level: int, *, frames: int = 16, fps: float = 8, size: tuple[int, int] = (32, 48)) -> Path:
    write_video(path, grey(level, frames=frames, height=size[0], width=size[1]), fps)
    return path


def write_manifest(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, ["model", "prompt_id", "prompt", "sample", "path", "fps"], restval="")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(stream.getvalue(), encoding="utf-8")
    return path


def write_grid(
    folder: Path,
    *,
    prompts: int = 2,
    models: int = 3,
    samples: int = 1,
    frames: int = 8,
    size: tuple[int, int] = (32, 48),
    prompt: str = "a cat, take {}",
) -> Path:
    """A manifest of videos, model m of them at brightness level m (turning with the prompt), every file distinct."""
    rows = []
    for place in range(prompts):
        for model in range(models):
            for sample in range(samples):
                name = f"m{model}-{place}-{sample}.mp4"
                level = LEVELS[(model + place) % 5] + 2 * (place % 4) + sample
                write_clip(folder / name, level, frames=frames, size=size)
                text = prompt.format(place)
                rows.append(
                    {"model": f"m{model}", "prompt_id": f"q{place}", "prompt": text, "sample": sample, "path": name}
                )
    return write_manifest(folder / "videos.csv", rows)


def shown(
    model: str, levels: Sequence[int], *, prompt: str = "a cat", prompt_id: str = "q0", size: tuple[int, int] = (8, 8)
) -> Shown:
    """What a judge is shown of a video that was never written: one plain frame for each level."""
    pictures = tuple(encode(np.full((*size, 3), level, np.uint8), 90) for level in levels)
    cell = VideoCell(model, prompt_id, prompt, 0, Path(f"{model}.mp4"))
    return Shown(cell, pictures, tuple(range(len(levels))))


def picture(level: int) -> Picture:
    pixels = np.full((8, 8, 3), level, np.uint8)
    made = encode(pixels, 90)
    assert made.pixels == pixels_digest(8, 8, pixels.tobytes())
    return made
