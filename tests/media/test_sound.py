"""Sound: every container to mono samples at the right places, and every bad file to its own reason."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from tests.media.clips import grey

from sensorium.core.errors import DataError
from sensorium.media.errors import MediaError
from sensorium.media.sound import Sound, midpoints, probe_sound, read_sound, write_sound
from sensorium.media.video import write_video

RATE = 16_000


def tone(frequency: float, seconds: float, rate: int = 48_000) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def pitch(samples: np.ndarray) -> float:
    window = samples * np.hanning(len(samples))
    return float(np.abs(np.fft.rfft(window)).argmax() * RATE / len(samples))


def telling(seconds: int, rate: int = 8_000) -> np.ndarray:
    """A sound whose pitch tells the time: second s has 300 + 4 s Hz."""
    frequency = np.repeat(300.0 + 4.0 * np.arange(seconds), rate)
    return (0.5 * np.sin(2 * np.pi * np.cumsum(frequency) / rate)).astype(np.float32)


def told(samples: np.ndarray) -> float:
    """Which second the middle of a telling sound is from."""
    middle = len(samples) // 2
    return (pitch(samples[middle - RATE // 4 : middle + RATE // 4]) - 300.0) / 4.0


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".opus", ".m4a"])
def test_every_container_gives_the_same_tone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_sound(path, tone(1000, 2), 48_000)
    sound = read_sound(path)
    (segment,) = sound.segments
    assert abs(pitch(segment.samples) - 1000) < 2
    assert len(segment.samples) == pytest.approx(2 * RATE, abs=0.07 * RATE)  # AAC pads its first block
    assert segment.samples.std() == pytest.approx(0.3536, rel=0.08)
    assert segment.samples.dtype == np.float32
    assert not sound.cut_short
    assert read_sound(path.read_bytes()).segments[0].samples.tobytes() == segment.samples.tobytes()


def test_resampling_keeps_the_last_sample(tmp_path: Path) -> None:
    for rate in (44_100, 22_050, 8_000):
        click = np.zeros(rate, np.float32)
        click[-rate // 100 :] = 0.9
        write_sound(tmp_path / "a.wav", click, rate)
        samples = read_sound(tmp_path / "a.wav").segments[0].samples
        assert len(samples) == pytest.approx(RATE, abs=1)  # without a flush some hundred are missing
        assert samples[-100:].mean() > 0.6


def test_the_centre_of_5_1_is_heard(tmp_path: Path) -> None:
    six = np.zeros((48_000, 6), np.float32)
    six[:, 2] = tone(700, 1)  # front left, front right, centre, ...
    write_sound(tmp_path / "a.flac", six, 48_000)
    assert probe_sound(tmp_path / "a.flac").channels == 6
    samples = read_sound(tmp_path / "a.flac").segments[0].samples
    assert abs(pitch(samples) - 700) < 2
    assert samples.std() > 0.1


def test_stereo_is_averaged(tmp_path: Path) -> None:
    both = np.stack([tone(500, 1), -tone(500, 1)], axis=1)
    write_sound(tmp_path / "a.wav", both, 48_000)
    assert np.abs(read_sound(tmp_path / "a.wav").segments[0].samples).max() < 1e-3


@pytest.mark.parametrize("suffix", [".flac", ".mp3", ".m4a"])
def test_segments_of_a_long_sound_are_from_their_places(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_sound(path, telling(300), 8_000)
    sound = read_sound(path, max_seconds=60, segments=6, segment_seconds=10)
    assert len(sound.segments) == 6
    assert sound.seconds == pytest.approx(300, abs=1)
    for segment, middle in zip(sound.segments, midpoints(300, 6), strict=True):
        assert len(segment.samples) == 10 * RATE
        assert segment.start == pytest.approx(middle - 5, abs=0.5)
        assert told(segment.samples) == pytest.approx(middle, abs=1.01)


def test_a_segment_equals_the_same_part_of_a_full_read(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    rng = np.random.default_rng(0)
    write_sound(path, rng.uniform(-0.5, 0.5, 90 * RATE).astype(np.float32), RATE)
    whole = read_sound(path, max_seconds=100).segments[0].samples
    for segment in read_sound(path, max_seconds=60, segments=3, segment_seconds=5).segments:
        start = round(segment.start * RATE)
        np.testing.assert_allclose(segment.samples, whole[start : start + 5 * RATE], atol=1e-4)


def test_up_to_the_limit_all_of_it_is_read(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.flac", telling(30), 8_000)
    assert len(read_sound(tmp_path / "a.flac", max_seconds=30).segments) == 1
    assert len(read_sound(tmp_path / "a.flac", max_seconds=29).segments) == 6


def test_more_than_four_hours_are_refused_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    size = (4 * 3600 + 60) * 8_000
    header = b"RIFF" + (size + 36).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += (1).to_bytes(2, "little") + (1).to_bytes(2, "little") + (8_000).to_bytes(4, "little") * 2
    header += (1).to_bytes(2, "little") + (8).to_bytes(2, "little") + b"data" + size.to_bytes(4, "little")
    with path.open("wb") as handle:
        handle.write(header)
        handle.truncate(size + len(header))  # a sparse file: no disk is used
    with pytest.raises(MediaError, match="4 hours") as caught:
        read_sound(path)
    assert caught.value.reason == "too_large"


def reason(source: Path | bytes) -> str:
    with pytest.raises(MediaError) as caught:
        read_sound(source)
    return caught.value.reason


def test_each_bad_file_has_its_reason(tmp_path: Path) -> None:
    text = tmp_path / "text.mp3"
    text.write_text("this is not sound\n" * 50)
    page = tmp_path / "page.mp3"
    page.write_text("<!DOCTYPE html><html><body>404</body></html>")
    empty = tmp_path / "empty.wav"
    empty.touch()
    silent = tmp_path / "silent.mp4"
    write_video(silent, grey(90), 8)
    assert reason(tmp_path / "none.wav") == "missing_file"
    assert reason(text) == "undecodable"
    assert reason(page) == "undecodable"
    assert reason(empty) == "truncated"
    assert reason(b"") == "truncated"
    assert reason(silent) == "no_sound_stream"


def test_the_sound_of_a_clip(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", grey(90, frames=16), 8, sound=tone(600, 2, 44_100), sound_rate=44_100)
    sound = read_sound(tmp_path / "a.mp4")
    assert abs(pitch(sound.segments[0].samples) - 600) < 2
    assert probe_sound(tmp_path / "a.mp4").has_pictures


def test_a_file_that_ends_early_gives_what_it_holds_and_says_so(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", grey(90, frames=80), 8, sound=tone(600, 10, 44_100), sound_rate=44_100)
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    cut = read_sound(tmp_path / "cut.mp4")
    assert cut.cut_short
    assert 0.5 < cut.seconds < 9.5
    write_sound(tmp_path / "a.m4a", tone(600, 10), 48_000)  # its index stands at its end
    content = (tmp_path / "a.m4a").read_bytes()
    (tmp_path / "cut.m4a").write_bytes(content[: len(content) // 2])
    assert reason(tmp_path / "cut.m4a") == "truncated"


def test_sound_that_is_no_number_is_silence(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=RATE, layout="mono")
        values = tone(400, 1, RATE)
        values[1000:1100] = np.nan
        frame = av.AudioFrame.from_ndarray(values[None], format="flt", layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    samples = read_sound(tmp_path / "a.wav").segments[0].samples
    assert np.isfinite(samples).all()
    assert samples.std() > 0.3


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    for path, samples in (
        (tmp_path / "a.txt", tone(400, 0.1)),
        (tmp_path / "a.wav", np.zeros((100, 3), np.float32)),
        (tmp_path / "a.wav", np.full(100, np.nan, np.float32)),
        (tmp_path / "a.wav", np.zeros(0, np.float32)),
    ):
        with pytest.raises(DataError):
            write_sound(path, samples, 16_000)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_four_hours_cost_little_more_than_a_minute(tmp_path: Path) -> None:
    """A generated MP3 of 3 h 59 min whose pitch tells the time: places within 5 s, memory within 200 MB."""
    path, seconds = tmp_path / "long.mp3", 239 * 60
    with av.open(str(path), "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=RATE, layout="mono")
        stream.format = "fltp"
        feeder = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        phase = 0.0
        for second in range(seconds):
            steps = 2 * np.pi * (300 + second / 4) / RATE * np.arange(1, RATE + 1)
            frame = av.AudioFrame.from_ndarray(
                (0.5 * np.sin(phase + steps)).astype(np.float32)[None], format="fltp", layout="mono"
            )
            phase = (phase + steps[-1]) % (2 * np.pi)
            frame.sample_rate, frame.pts = RATE, second * RATE
            for piece in feeder.resample(frame):
                container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sound: Sound = read_sound(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    for segment, middle in zip(sound.segments, midpoints(seconds, 6), strict=True):
        half = RATE // 2
        center = len(segment.samples) // 2
        found = (pitch(segment.samples[center - half : center + half]) - 300) * 4
        assert found == pytest.approx(middle, abs=5)


def test_reading_sound_needs_no_torch() -> None:
    code = "import sys, sensorium.media.sound, sensorium.encoders.preparing.audio; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".opus", ".ogg", ".m4a"])
def test_the_same_sound_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    tone = (0.4 * np.sin(np.arange(12_000) / 9)).astype(np.float32)
    for name in ("one", "two"):
        write_sound(tmp_path / f"{name}{suffix}", tone, 48_000)
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
