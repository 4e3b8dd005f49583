"""Clips and sounds among which some are broken: exact counts and reasons, by networks with random weights."""

from collections.abc import Callable

import numpy as np
import pytest

from sensorium.core.config import Component
from sensorium.core.files import read_json, read_parquet
from sensorium.data.dataset import Dataset
from sensorium.encoders.cache.job import Options
from sensorium.encoders.encode import encode

from .conftest import GROUP, cache_of

pytest.importorskip("av", reason="PyAV is not installed (extra media)")

from sensorium.media.sound import write_sound
from sensorium.media.video import write_video

Catalogue = Callable[..., Dataset]
RATE = 16_000


def sine(seconds: float, pitch: float = 440) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def frames(n: int, shade: int) -> list[np.ndarray]:
    return [np.full((32, 48, 3), (shade + 8 * place) % 256, dtype=np.uint8) for place in range(n)]


def make_media(dataset: Dataset) -> None:
    root = dataset.root
    for name, shade in (("good.mp4", 20), ("other.mp4", 120)):
        write_video(root / name, frames(24, shade), 8, sound=sine(3), sound_rate=RATE)
    write_video(root / "silent.mp4", frames(24, 60), 8)
    write_video(root / "one.mp4", frames(1, 60), 8)
    draw = np.random.default_rng(0)
    noise = [draw.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(48)]
    write_video(root / "long.mp4", noise, 8)
    whole = (root / "long.mp4").read_bytes()
    (root / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    write_sound(root / "sound.wav", sine(2), RATE)
    write_sound(root / "short.wav", sine(0.03), RATE)
    (root / "empty.mp4").write_bytes(b"")
    (root / "words.mp3").write_text("these are words and no sound")
    (root / "page.mp4").write_text("<html>not found</html>")
    write_sound(root / "only.m4a", sine(2), RATE)
    (root / "only.m4a").rename(root / "only.mp4")


VIDEOS = ["good.mp4", "silent.mp4", "one.mp4", "cut.mp4", "only.mp4", "empty.mp4", "page.mp4", "gone.mp4", None]
VIDEOS += ["other.mp4"]


def encoder(name: str, **options: object) -> Component:
    from sensorium.core import registry

    target = registry.get(GROUP, name)
    return Component(GROUP, name, target.Config(weights="random", **options))


def test_clips(catalogue: Catalogue) -> None:
    dataset = catalogue(video=VIDEOS)
    make_media(dataset)
    encoded = encode(dataset, encoder("frames-efflite0", frames=2), options=Options(workers=2))
    folder = cache_of(encoded, "video")
    rejected = read_parquet(folder / "rejected.parquet")
    assert dict(zip(rejected["path"], rejected["reason"], strict=True)) == {
        "only.mp4": "no_video_stream", "empty.mp4": "truncated", "page.mp4": "undecodable", "gone.mp4": "missing_file",
    }  # fmt: skip
    counts = read_json(folder / "manifest.json")["counts"]
    assert (counts["present"], counts["absent"], counts["rejected"], counts["partial"]) == (5, 1, 4, 1)
    x, present = encoded.features("video")
    assert present.tolist() == [True, True, True, True, *[False] * 5, True]
    assert np.isfinite(x).all()


def test_sounds(catalogue: Catalogue) -> None:
    sounds = [None, None, "sound.wav", "words.mp3", "short.wav", None, None, None, None, None]
    dataset = catalogue(video=VIDEOS, audio=sounds)
    make_media(dataset)
    encoded = encode(dataset, encoder("yamnet"), options=Options(workers=2))
    folder = cache_of(encoded, "audio")
    rejected = read_parquet(folder / "rejected.parquet")
    assert list(zip(rejected["path"], rejected["field"], rejected["reason"], strict=True)) == [
        ("words.mp3", "audio", "undecodable"),
        ("empty.mp4", "video", "truncated"),
        ("page.mp4", "video", "undecodable"),
        ("gone.mp4", "video", "missing_file"),
    ]
    counts = read_json(folder / "manifest.json")["counts"]
    assert (counts["present"], counts["absent"], counts["rejected"]) == (3, 3, 4)
    # The first clip lends its sound, the second is silent, the third has a file of its own, the fifth's is too short.
    assert encoded.features("audio").present.tolist() == [True, False, True, *[False] * 6, True]
