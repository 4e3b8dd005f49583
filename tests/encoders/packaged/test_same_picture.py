"""One picture in files of six kinds has one vector, nearly; another picture, or one that lost its colours, has not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.encoders.packaged.conftest import run

Loaded = Callable[[str], Any]


def variants(picture: Image.Image, folder: Path) -> dict[str, tuple[Path, float]]:
    """Files that show the same picture, and how near their vectors must be."""
    made: dict[str, tuple[Path, float]] = {}

    def save(name: str, image: Image.Image, floor: float, **options: Any) -> None:
        image.save(folder / name, **options)
        made[name] = (folder / name, floor)

    turned = picture.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    save("exif.png", turned, 0.999, exif=exif)
    save("alpha.png", picture.convert("RGBA"), 0.999)
    save("cmyk.jpg", picture.convert("CMYK"), 0.99, quality=95)
    save("a.webp", picture, 0.98, quality=90)
    save("palette.png", picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=256), 0.90)
    save("a.gif", picture, 0.90)
    return made


def scene(seed: int) -> Image.Image:
    """A made picture with large shapes and fine structure: sky, ground, a few discs and bars, grain."""
    draw = np.random.default_rng(seed)
    height, width = 320, 224
    y, x = np.mgrid[:height, :width].astype(np.float64)
    top, bottom = draw.uniform(0, 255, (2, 3))
    canvas = top + (bottom - top) * (y / height)[..., None]
    for _ in range(6):
        colour, centre = draw.uniform(0, 255, 3), draw.uniform(0, 1, 2) * (height, width)
        radius = draw.uniform(15, 60)
        canvas[np.hypot(y - centre[0], x - centre[1]) < radius] = colour
        low, left = (draw.uniform(0, 0.8, 2) * (height, width)).astype(int)
        canvas[low : low + int(draw.integers(8, 40)), left : left + int(draw.integers(30, 120))] = draw.uniform(
            0, 255, 3
        )
    canvas += 20 * np.sin(x / draw.uniform(2, 6) + y / draw.uniform(4, 12))[..., None] + draw.normal(0, 4, canvas.shape)
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))


def nearness(encoder: Any, first: Any, others: dict[str, Path], folder: Path) -> dict[str, float]:
    """Cosine of each file's vector to that of a picture, and of the picture without its colours, under "grey"."""
    with Image.open(first) as picture:
        picture.convert("L").save(folder / "grey.png")
    paths = {**others, "grey": folder / "grey.png"}
    vectors = run(encoder, [encoder.preparer(path) for path in (first, *paths.values())])[1]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return dict(zip(paths, (unit[1:] @ unit[0]).tolist(), strict=True))


def test_a_made_picture_in_other_files_stays_near(loaded: Loaded, tmp_path: Path) -> None:
    """Made scenes resemble each other (cosine up to .77 here), yet stay below every other file of the same one."""
    encoder = loaded("efflite0")
    scene(0).save(tmp_path / "a.png")
    made = variants(scene(0), tmp_path)
    others = {f"scene {seed}": tmp_path / f"{seed}.png" for seed in range(1, 6)}
    for seed, path in enumerate(others.values(), start=1):
        scene(seed).save(path)
    turned = tmp_path / "turned.png"
    scene(0).transpose(Image.Transpose.ROTATE_90).save(turned)
    paths = {name: path for name, (path, _) in made.items()} | others | {"turned": turned}
    near = nearness(encoder, tmp_path / "a.png", paths, tmp_path)
    for name, (_, floor) in made.items():
        assert near[name] > floor, near
    assert max(near[name] for name in (*others, "grey")) < 0.85, near
    assert near["turned"] < 0.95, near  # what the EXIF-rotated file would give if its mark were not read


def test_the_same_poster_in_other_files_stays_near(loaded: Loaded, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "movielens" / "posters"
    if not (folder / "1.jpg").is_file():
        pytest.skip("no posters here")
    encoder = loaded("efflite0")
    made = variants(Image.open(folder / "1.jpg").convert("RGB"), tmp_path)
    others = {**{name: path for name, (path, _) in made.items()}, "another": folder / "2.jpg"}
    near = nearness(encoder, folder / "1.jpg", others, tmp_path)
    for name, (_, floor) in made.items():
        assert near[name] > floor, near
    assert near["another"] < 0.6, near
    assert near["grey"] < min(near[name] for name in made), near
