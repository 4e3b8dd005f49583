"""Damage on request: media files as the field has them, cut short, empty, or not what their name says.

Which files were damaged, and how, is part of the planted truth: what comes of them can be counted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from sensorium.core.seeds import numpy_generator
from sensorium.data.demo.sounds import RATE
from sensorium.media.sound import write_sound

SCHEMA = {"item": pl.Int32, "column": pl.String, "file": pl.String, "fault": pl.String}
FAULTS: dict[str, tuple[str, ...]] = {
    "image": ("cut", "empty", "page"),
    "audio": ("cut", "empty", "page"),
    "video": ("cut", "empty", "page", "sound_alone"),
}
_PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>\n"


def damage(root: Path, column: str, files: list[str | None], share: float, seed: int) -> pl.DataFrame:
    """Damage a share of the files of one kind, at least one, the faults in turn.

    Args:
        root: The folder that the files stand below.
        column: "image", "audio" or "video".
        files: The file of each item, None where it has none.
        share: Of the files that are there.
        seed: The seed of the catalogue.

    Returns:
        What was damaged: item, column, file, and fault: "cut" (its first half, by bytes), "empty" (no byte), "page"
        (an HTML page under its name) or "sound_alone" (a clip without pictures).
    """
    there = [item for item, file in enumerate(files) if file is not None]
    count = min(len(there), max(1, round(share * len(there)))) if share else 0
    chosen = sorted(numpy_generator(seed, "demo", "broken", column).permutation(there)[:count].tolist())
    rows = []
    for number, item in enumerate(chosen):
        fault = FAULTS[column][number % len(FAULTS[column])]
        _break(root / str(files[item]), fault)
        rows.append({"item": item, "column": column, "file": files[item], "fault": fault})
    return pl.DataFrame(rows, schema=SCHEMA)


def _break(path: Path, fault: str) -> None:
    match fault:
        case "cut":
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "page":
            path.write_bytes(_PAGE)
        case _:
            sound = path.with_suffix(".m4a")
            write_sound(sound, np.zeros(RATE, dtype=np.float32), RATE)
            sound.replace(path)
