import os
from pathlib import Path

import av
import numpy as np
import pytest

from sensorium.core.errors import DataError
from sensorium.media.errors import MediaError
from sensorium.media.video import Pixels, iterate_frames, probe, read_frames, resized, write_video

from .clips import grey, turn, write_variable_rate


def every(seconds: np.ndarray, fps: float) -> list[int]:
    return list(range(len(seconds)))


def quarters() -> Pixels:
    """Red, green / blue, white: shows which way is up."""
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :24, 0] = picture[:16, 24:, 1] = picture[16:, :24, 2] = 255
    picture[16:, 24:] = 255
    return picture


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    frames = [np.full((32, 48, 3), 10 + 8 * place, np.uint8) for place in range(29)]
    write_video(tmp_path / "a.mp4", frames, 8)
    info = probe(tmp_path / "a.mp4")
    assert (info.width, info.height, info.fps, info.frames, info.codec) == (48, 32, 8, 29, "h264")
    assert not info.has_sound
    assert np.allclose(info.seconds, np.arange(29) / 8)
    found = read_frames(tmp_path / "a.mp4", lambda seconds, fps: [1, 5, 28])
    assert found.indices == (1, 5, 28)
    assert not found.cut_short
    for index, pixels in zip(found.indices, found.pixels, strict=True):
        assert pixels.shape == (32, 48, 3)
        assert abs(float(pixels.mean()) - frames[index].mean()) < 3
    assert [frame.index for frame in iterate_frames(tmp_path / "a.mp4")] == list(range(29))


def test_sound_goes_beside_the_picture(tmp_path: Path) -> None:
    tone = (0.5 * np.sin(np.arange(44_100) * 2 * np.pi * 440 / 44_100)).astype(np.float32)
    write_video(tmp_path / "a.mp4", grey(90), 16, sound=np.stack([tone, -tone], axis=1))
    assert probe(tmp_path / "a.mp4").has_sound
    with av.open(str(tmp_path / "a.mp4")) as container:
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    middle = heard[:, 5_000:35_000]
    assert middle.shape[0] == 2
    assert 0.3 < np.sqrt((middle**2).mean()) < 0.4  # .5 / sqrt 2
    crossings = (np.diff(np.sign(middle[0])) != 0).sum()
    assert abs(crossings / 2 / (30_000 / 44_100) - 440) < 4


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_stand_upright(tmp_path: Path, degrees: int) -> None:
    write_video(tmp_path / "a.mp4", [quarters()] * 4, 8)
    turn(tmp_path / "a.mp4", degrees)
    info = probe(tmp_path / "a.mp4")
    assert info.rotation == degrees
    expected = np.rot90(quarters(), k=-(degrees // 90))
    assert (info.height, info.width) == expected.shape[:2]
    pixels = read_frames(tmp_path / "a.mp4", every).pixels[0]
    assert np.abs(pixels.astype(int) - expected).mean() < 12


def test_variable_rates_keep_their_time_stamps(tmp_path: Path) -> None:
    moments = [0.0, 0.1, 0.15, 0.9, 2.0, 2.04]
    write_variable_rate(tmp_path / "v.mp4", moments)
    assert np.allclose(probe(tmp_path / "v.mp4").seconds, moments, atol=0.002)
    asked: list[np.ndarray] = []

    def choose(seconds: np.ndarray, fps: float) -> list[int]:
        asked.append(seconds)
        return [3]

    found = read_frames(tmp_path / "v.mp4", choose)
    assert len(asked) == 1
    assert abs(found.pixels[0].mean() - 103) < 3


@pytest.mark.parametrize(("height", "width"), [(33, 47), (1, 1), (2, 501)])
def test_odd_sizes_are_written_by_repeating_the_edge(tmp_path: Path, height: int, width: int) -> None:
    write_video(tmp_path / "a.mp4", grey(200, height=height, width=width, frames=3), 8)
    pixels = read_frames(tmp_path / "a.mp4", every).pixels[0]
    assert pixels.shape == (height + height % 2, width + width % 2, 3)
    assert abs(float(pixels.mean()) - 200) < 3


def test_long_sides_are_made_smaller_and_never_larger(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", grey(90, height=120, width=200, frames=2), 8)
    assert read_frames(tmp_path / "a.mp4", every, long_side=100).pixels[0].shape == (60, 100, 3)
    assert read_frames(tmp_path / "a.mp4", every, long_side=999).pixels[0].shape == (120, 200, 3)
    assert resized(3000, 2, 300) == (300, 1)


def reason(path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        read_frames(path, every)
    assert str(path) in str(caught.value)
    return caught.value.reason


def test_each_broken_file_has_its_reason(tmp_path: Path) -> None:
    """EN-3."""
    noise = np.random.default_rng(0)
    write_video(tmp_path / "good.mp4", [noise.integers(0, 255, (64, 64, 3), np.uint8) for _ in range(30)], 10)
    content = (tmp_path / "good.mp4").read_bytes()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "page.mp4").write_bytes(b"<!DOCTYPE html><html>no video</html>")
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "head.mp4").write_bytes(content[:200])
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        track = container.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    assert reason(tmp_path / "nowhere.mp4") == "missing_file"
    assert reason(tmp_path / "empty.mp4") == "truncated"
    assert reason(tmp_path / "head.mp4") == "truncated"
    for name in ("page", "noise"):
        assert reason(tmp_path / f"{name}.mp4") == "undecodable"
    assert reason(tmp_path / "sound.mp4") == "no_video_stream"
    with pytest.raises(MediaError, match="sound but no pictures"):
        probe(tmp_path / "sound.mp4")


def test_a_cut_file_gives_what_it_holds_and_says_so(tmp_path: Path) -> None:
    """EN-3: a partial video is used up to the cut, and that is recorded."""
    noise = np.random.default_rng(1)
    write_video(tmp_path / "a.mp4", [noise.integers(0, 255, (64, 64, 3), np.uint8) for _ in range(30)], 10)
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: len(content) // 2])
    found = read_frames(tmp_path / "a.mp4", lambda seconds, fps: [0, len(seconds) - 1])
    assert found.cut_short
    assert 5 < found.info.frames < 25
    assert found.indices == (0, found.info.frames - 1)  # the rule was asked again with the frames that there are
    assert len(found.pixels) == 2


def test_more_than_two_gigabytes_are_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.mp4").open("wb") as handle:
        os.truncate(handle.fileno(), 2 * 1024**3 + 1)
    assert reason(tmp_path / "huge.mp4") == "too_large"


def test_frames_of_different_sizes_are_no_video(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="of one size"):
        write_video(tmp_path / "a.mp4", [*grey(9), np.zeros((16, 16, 3), np.uint8)], 8)
    with pytest.raises(DataError, match="at least one frame"):
        write_video(tmp_path / "a.mp4", [], 8)
    assert list(tmp_path.iterdir()) == []


def test_real_files(shared_data: Path) -> None:
    folder = shared_data / "videos-free"
    info = probe(folder / "bigbuckbunny.mp4")
    assert (info.width, info.height, info.fps, info.has_sound) == (1280, 720, 25, True)
    decoded = sum(1 for _ in iterate_frames(folder / "carphone_pristine.mp4"))
    assert decoded == probe(folder / "carphone_pristine.mp4").frames == 120


@pytest.mark.slow
def test_decoding_does_not_leak(tmp_path: Path) -> None:
    """EN-6: 400 decodes of a 5 s clip in one process."""
    write_video(tmp_path / "a.mp4", grey(90, frames=125, height=128, width=128), 25)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    for _ in range(20):
        read_frames(tmp_path / "a.mp4", lambda seconds, fps: [0])
    before = resident()
    for _ in range(400):
        read_frames(tmp_path / "a.mp4", lambda seconds, fps: [0])
    assert resident() - before < 50e6


@pytest.mark.slow
def test_memory_of_a_large_picture_is_bounded(tmp_path: Path) -> None:
    """EN-6, made smaller: 4K frames pass one at a time."""
    from sensorium.core.resources import peak_memory

    write_video(tmp_path / "a.mp4", (np.full((2160, 3840, 3), place, np.uint8) for place in range(40)), 10)
    count = sum(1 for _ in iterate_frames(tmp_path / "a.mp4", long_side=256))
    assert count == 40
    assert peak_memory() < 1.6e9  # the encoder's look-ahead is in it; 40 decoded frames alone would be 1 GB more
