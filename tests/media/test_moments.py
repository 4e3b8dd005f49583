"""Frames of a clip at moments: upright, by time and not by number, without sound, after a cut, in a spawned process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.media.clips import grey, turn, write_variable_rate

from sensorium.media.errors import MediaError
from sensorium.media.images import encode_image, read_image
from sensorium.media.moments import Clip, read_moments
from sensorium.media.sound import read_sound, write_sound
from sensorium.media.video import Pixels, probe, write_video
from sensorium.media.workers import Workers


def mean(pixels: Pixels) -> float:
    return float(pixels.mean())


def moments_of(path: Path) -> tuple[list[float], bool]:
    """What a decoding process is asked for; a function of a module, so that it travels there."""
    clip: Clip[float] = read_moments(path, 4, "uniform", mean)
    return clip.pictures, clip.partial


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_are_turned_upright(tmp_path: Path, degrees: int) -> None:
    """A bright left half; players turn the stored picture clockwise."""
    frame = np.zeros((32, 48, 3), np.uint8)
    frame[:, :24] = 255
    write_video(tmp_path / "v.mp4", [frame] * 8, 8)
    turn(tmp_path / "v.mp4", degrees)
    picture = read_moments(tmp_path / "v.mp4", 2, "uniform", np.copy).pictures[0]
    assert picture.shape[:2] == ((48, 32) if degrees != 180 else (32, 48))
    bright = {90: picture[:20], 180: picture[:, 28:], 270: picture[28:]}[degrees]
    assert bright.mean() > 240
    assert picture.mean() < 140


def test_moments_are_of_time_where_the_rate_varies(tmp_path: Path) -> None:
    """Nine frames in the first second, one for the two after it: half of the moments show the last one."""
    stamps = [*(0.1 * place for place in range(9)), 1.0, 3.0]
    write_variable_rate(tmp_path / "v.mp4", stamps)
    clip = read_moments(tmp_path / "v.mp4", 6, "uniform", mean)
    assert clip.span == pytest.approx(3.3, abs=0.05)
    assert clip.seconds.tolist() == pytest.approx([0.2, 0.8, 1.0, 1.0, 1.0, 3.0], abs=0.05)


def test_a_clip_without_sound_is_a_clip_and_no_sound(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", grey(90), 8)
    assert not probe(tmp_path / "v.mp4").has_sound
    assert len(read_moments(tmp_path / "v.mp4", 4, "uniform", mean).pictures) == 4
    with pytest.raises(MediaError) as error:
        read_sound(tmp_path / "v.mp4")
    assert error.value.reason == "no_sound_stream"


def test_silence_is_sound(tmp_path: Path) -> None:
    write_sound(tmp_path / "s.flac", np.zeros((8_000, 2), np.float32), 16_000)
    (segment,) = read_sound(tmp_path / "s.flac").segments
    assert len(segment.samples) == 8_000
    assert not segment.samples.any()


def test_a_spawned_process_decodes_as_this_one_and_survives_a_cut_file(tmp_path: Path) -> None:
    frames = [np.full((32, 48, 3), 10 * place, np.uint8) for place in range(24)]
    write_video(tmp_path / "whole.mp4", frames, 8)
    content = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: int(0.7 * len(content))])
    (tmp_path / "none.mp4").write_bytes(b"")
    with Workers(1) as workers:
        assert workers.call(moments_of, tmp_path / "whole.mp4") == moments_of(tmp_path / "whole.mp4")
        pictures, partial = workers.call(moments_of, tmp_path / "cut.mp4")
        assert partial
        assert len(pictures) == 4
        with pytest.raises(MediaError) as error:
            workers.call(moments_of, tmp_path / "none.mp4")
        assert error.value.reason == "truncated"
        picture = encode_image(read_image(encode_image(_gradient(), "PNG")), "PNG")
        assert workers.call(read_image, picture).tobytes() == read_image(picture).tobytes()


def _gradient() -> object:
    from PIL import Image

    return Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (8, 1))).convert("P")
