"""What the items of a demo catalogue show of themselves: words, covers, sounds and clips, as columns and files."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl

from sensorium.core.progress import track
from sensorium.core.seeds import numpy_generator
from sensorium.data.demo.breaking import SCHEMA, damage
from sensorium.data.demo.clips import FPS, draw_clip
from sensorium.data.demo.config import DemoConfig, Modality
from sensorium.data.demo.covers import draw_cover
from sensorium.data.demo.sounds import RATE, draw_sound
from sensorium.data.demo.texts import write_texts
from sensorium.data.demo.world import FACTORS, FORMATION, RHYTHM, World
from sensorium.media.images import encode_image
from sensorium.media.sound import write_sound
from sensorium.media.video import write_video

# Modality -> folder, ending, and the key of the draw that says which items have none.
FILES: dict[Modality, tuple[str, str, str]] = {
    "image": ("covers", ".jpg", "covered"),
    "audio": ("sounds", ".flac", "sounding"),
    "video": ("clips", ".mp4", "filmed"),
}


def write_contents(
    world: World, config: DemoConfig, item_ids: list[str], folder: Path
) -> tuple[list[pl.Series], pl.DataFrame]:
    """Write the words and the media of all items.

    Args:
        world: The hidden state.
        config: Which modalities, and how many files to damage.
        item_ids: The external ids, which name the files.
        folder: That of the data set.

    Returns:
        The content columns of the items, [I] each; and what was damaged, see `breaking.damage`.
    """
    columns: list[pl.Series] = []
    if "text" in config.modalities:
        titles, descriptions = write_texts(world.item["topic"], FACTORS[0].kinds, config.world_seed, config.missing)
        columns += [
            pl.Series("title", titles, dtype=pl.String),
            pl.Series("description", descriptions, dtype=pl.String),
        ]
    damaged = [pl.DataFrame(schema=SCHEMA)]
    for modality, (name, ending, draw) in FILES.items():
        if modality not in config.modalities:
            continue
        there = numpy_generator(config.world_seed, "demo", draw).random(world.n_items) >= config.missing
        files = [f"{name}/{key}{ending}" if has else None for key, has in zip(item_ids, there.tolist(), strict=True)]
        (folder / name).mkdir()
        write = _writer(modality, world, config.world_seed)
        # Codecs release the interpreter's lock: two cores make two files at a time.
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            tasks = [pool.submit(write, item, folder / str(files[item])) for item in np.flatnonzero(there).tolist()]
            for task in track(tasks, label=f"draw {name}"):
                task.result()
        damaged.append(damage(folder, modality, files, config.broken, config.world_seed))
        columns.append(pl.Series(modality, files, dtype=pl.String))
    os.sync()  # once for all files, before the folder takes its place: one flush for each would take most of the time
    return columns, pl.concat(damaged)


def _writer(modality: Modality, world: World, seed: int) -> Callable[[int, Path], None]:
    """Return the function that draws one item and writes its file."""
    (topics, styles) = FACTORS[0].kinds, FACTORS[1].kinds

    def cover(item: int, path: Path) -> None:
        path.write_bytes(encode_image(draw_cover(world.item["style"][item], styles, seed, item), "JPEG"))

    def sound(item: int, path: Path) -> None:
        shares = world.item["style"][item], world.item["rhythm"][item]
        write_sound(path, draw_sound(shares[0], styles, shares[1], RHYTHM.kinds, seed, item), RATE)

    def clip(item: int, path: Path) -> None:
        shares = world.item["topic"][item], world.item["formation"][item]
        drawn = draw_clip(shares[0], topics, shares[1], FORMATION.kinds, seed, item)
        write_video(path, drawn.frames, FPS, sound=drawn.sound, sound_rate=RATE)

    return {"image": cover, "audio": sound, "video": clip}[modality]
