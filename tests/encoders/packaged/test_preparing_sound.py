"""Sound to patches and windows, against the published extractor and against arithmetic."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from sensorium.encoders.preparing.audio import WhisperPreparer, YamNetPreparer, whisper_mel, yamnet_patches
from sensorium.media.errors import MediaError
from sensorium.media.sound import write_sound

RATE = 16_000


def tone(frequency: float, seconds: float) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.2, 3.0, 30.0])
def test_whisper_windows_equal_those_of_the_published_extractor(seconds: float) -> None:
    transformers = pytest.importorskip("transformers")
    extractor = transformers.WhisperFeatureExtractor()
    for samples in (tone(440, seconds), noise(seconds)):
        expected = extractor(samples, sampling_rate=RATE, return_tensors="np")["input_features"][0]
        np.testing.assert_allclose(whisper_mel(samples), expected, atol=2e-4)


def test_patches_cover_the_whole_sound() -> None:
    for samples, patches in ((1, 1), (15_600, 1), (15_601, 2), (15_600 + 7680, 2), (15_600 + 7681, 3)):
        assert yamnet_patches(np.zeros(samples, np.float32)).shape == (patches, 96, 64)
    np.testing.assert_allclose(yamnet_patches(np.zeros(100, np.float32)), np.log(1e-3), atol=1e-6)
    found = yamnet_patches(noise(2))
    np.testing.assert_array_equal(found[0][48:], found[1][:48])  # the second starts .48 s after the first
    assert found.dtype == np.float32


def test_a_tone_fills_the_band_that_its_mel_says() -> None:
    edges = np.linspace(1127 * np.log1p(125 / 700), 1127 * np.log1p(7500 / 700), 66)
    for frequency in (300.0, 1000.0, 4000.0):
        found = yamnet_patches(tone(frequency, 1))[0].mean(0).argmax()
        expected = np.abs(edges[1:-1] - 1127 * np.log1p(frequency / 700)).argmin()
        assert abs(int(found) - int(expected)) <= 1


def test_spectrum_of_one_frame_is_written_out() -> None:
    samples = noise(1, seed=4)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    magnitudes = np.abs(np.fft.rfft(samples[160:560] * hann, 512))
    edges = np.linspace(1127 * np.log1p(125 / 700), 1127 * np.log1p(7500 / 700), 66)
    mel = 1127 * np.log1p(np.linspace(0, 8000, 257) / 700)
    expected = []
    for band in range(64):
        low, middle, high = edges[band : band + 3]
        up, down = (mel - low) / (middle - low), (high - mel) / (high - middle)
        weights = np.clip(np.minimum(up, down), 0, None)
        weights[0] = 0
        expected.append(np.log((magnitudes * weights).sum() + 1e-3))
    np.testing.assert_allclose(yamnet_patches(samples)[0][1], expected, atol=1e-4)


def test_a_preparer_reads_files_and_says_what_it_left_out(tmp_path: Path) -> None:
    short, long = tmp_path / "short.wav", tmp_path / "long.flac"
    write_sound(short, noise(3), RATE)
    write_sound(long, noise(90), RATE)
    preparer = pickle.loads(pickle.dumps(YamNetPreparer()))  # noqa: S301 - it travels to worker processes
    prepared = preparer(short)
    assert prepared.length == prepared.pieces == len(prepared.arrays["patches"]) == 6
    assert prepared.notes == frozenset()
    prepared = preparer(long)
    assert prepared.pieces == 6 * 20  # six segments of 10 s
    assert prepared.notes == {"truncated"}
    prepared = WhisperPreparer()(short)
    assert prepared.arrays["mel"].shape == (1, 80, 3000)
    assert prepared.arrays["positions"].tolist() == [150]
    prepared = WhisperPreparer()(long)
    assert prepared.arrays["mel"].shape == (2, 80, 3000)
    assert prepared.arrays["positions"].tolist() == [1500, 1500]


def test_forty_seconds_are_two_windows_of_whisper(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.flac", noise(40), RATE)
    prepared = WhisperPreparer()(tmp_path / "a.flac")
    assert prepared.arrays["positions"].tolist() == [1500, 500]
    write_sound(tmp_path / "b.flac", noise(30.05), RATE)
    assert WhisperPreparer()(tmp_path / "b.flac").pieces == 1  # a rest of .05 s is no window


@pytest.mark.parametrize("preparer", [YamNetPreparer(), WhisperPreparer()])
def test_less_than_a_tenth_of_a_second_is_no_content(tmp_path: Path, preparer: YamNetPreparer) -> None:
    write_sound(tmp_path / "a.wav", noise(0.09), RATE)
    with pytest.raises(MediaError) as caught:
        preparer(tmp_path / "a.wav")
    assert caught.value.reason == "empty"
    write_sound(tmp_path / "b.wav", noise(0.11), RATE)
    assert preparer(tmp_path / "b.wav").pieces == 1


def test_every_option_is_among_the_facts() -> None:
    assert YamNetPreparer().facts != YamNetPreparer(max_seconds=30).facts
    assert YamNetPreparer().facts != YamNetPreparer(segments=5).facts
    assert YamNetPreparer().facts != YamNetPreparer(segment_seconds=5).facts
    assert WhisperPreparer().facts != WhisperPreparer(segments=3).facts
    assert WhisperPreparer().facts != WhisperPreparer(bands=128).facts
