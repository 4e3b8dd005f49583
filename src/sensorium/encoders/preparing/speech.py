"""Sound to what the sound encoders of the Hub read: log filter banks (AST), plain waves (wav2vec 2.0).

Both read mono at 16 kHz (`media.sound`), all of it up to `max_seconds` in windows one after the other, evenly spaced
segments of longer sound. NumPy alone: this module runs in decoding processes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sensorium.encoders.protocol import Prepared
from sensorium.media.errors import MediaError
from sensorium.media.sound import Samples, Sound, read_sound

VERSION = 1  # changes when the same sound would give other arrays; part of every key
RATE = 16_000
SHORTEST = 0.1  # seconds; what is shorter is no content
FRAME, HOP, TRANSFORM = 400, 160, 512

Floats = npt.NDArray[np.float32]


class _SoundPreparer:
    """What both share: reading, cutting into windows, notes."""

    def __init__(self, kind: str, window: int, max_seconds: float, segments: int, segment_seconds: float) -> None:
        self.window, self.max_seconds = window, max_seconds
        self.segments, self.segment_seconds = segments, segment_seconds
        self.facts: dict[str, Any] = {
            "kind": kind,
            "version": VERSION,
            "rate": RATE,
            "window_samples": window,
            "max_seconds": max_seconds,
            "segments": segments,
            "segment_seconds": segment_seconds,
        }

    def _windows(self, raw: str | bytes | Path) -> tuple[list[Samples], frozenset[str]]:
        """Return windows of at most `window` samples and the notes; a rest under a tenth of a second is left out."""
        sound: Sound = read_sound(
            raw,
            rate=RATE,
            max_seconds=self.max_seconds,
            segments=self.segments,
            segment_seconds=self.segment_seconds,
        )
        pieces = [
            segment.samples[start : start + self.window]
            for segment in sound.segments
            for start in range(0, len(segment.samples), self.window)
        ]
        kept = [piece for piece in pieces if len(piece) >= SHORTEST * RATE]
        if not kept:
            name = "" if isinstance(raw, bytes) else str(raw)
            raise MediaError("empty", f"it is shorter than {SHORTEST} seconds", name)
        notes = (("partial", sound.cut_short), ("truncated", sound.seconds > self.max_seconds))
        return kept, frozenset(note for note, holds in notes if holds)


class FilterbankPreparer(_SoundPreparer):
    """Windows for an audio spectrogram transformer: `bands` float32 [n, frames, bands].

    Kaldi's filter bank, as the published feature extractor computes it: frames of 25 ms every 10 ms, their mean taken
    off, pre-emphasis .97, symmetric Hann, power of a 512-point transform, triangles in mel from 20 Hz to 8 kHz, natural
    logarithm. Shorter windows are padded with zeros; then (x - mean) / (2 std).
    """

    def __init__(
        self,
        frames: int = 1_024,
        bands: int = 128,
        mean: float = -4.2677393,
        std: float = 4.5689974,
        *,
        max_seconds: float = 60.0,
        segments: int = 6,
        segment_seconds: float = 10.0,
    ) -> None:
        super().__init__("filterbank", frames * HOP, max_seconds, segments, segment_seconds)
        self.frames, self.bands, self.mean, self.std = frames, bands, mean, std
        self.facts |= {"frames": frames, "bands": bands, "mean": mean, "std": std}

    def __call__(self, raw: str | bytes | Path) -> Prepared:
        """Read sound and turn it into windows.

        Raises:
            MediaError: The file cannot be used; reason "empty" for less than a tenth of a second.
        """
        windows, notes = self._windows(raw)
        bands = np.stack([self.window_of(window) for window in windows])
        return Prepared({"bands": bands}, len(bands), len(bands), notes)

    def window_of(self, samples: Samples) -> Floats:
        """Return one window, float32 [frames, bands]."""
        found = filterbank(samples, self.bands)[: self.frames]
        padded = np.zeros((self.frames, self.bands), np.float32)
        padded[: len(found)] = found
        return ((padded - np.float32(self.mean)) / np.float32(2 * self.std)).astype(np.float32)


def filterbank(samples: Samples, bands: int) -> Floats:
    """Return the logarithm of the power in mel bands, float32 [frames, bands], of mono sound at 16 kHz."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), FRAME)[::HOP]  # [frames, 400]
    centred = frames - frames.mean(1, keepdims=True)
    sharp = centred.copy()
    sharp[:, 1:] -= 0.97 * centred[:, :-1]
    sharp[:, 0] *= 1 - 0.97
    spectrum = np.abs(np.fft.rfft(sharp * np.hanning(FRAME), TRANSFORM)) ** 2  # [frames, 257]
    return np.log(np.maximum(spectrum @ _kaldi_bands(bands), 1.192092955078125e-07)).astype(np.float32)


@cache
def _kaldi_bands(bands: int) -> npt.NDArray[np.float64]:
    """Triangles that are even in mel = 1127 ln(1 + f / 700) from 20 Hz to 8 kHz, [257, bands]."""
    edges = np.linspace(_mel(20.0), _mel(RATE / 2), bands + 2)
    bins = _mel(np.arange(TRANSFORM // 2 + 1) * RATE / TRANSFORM)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))


def _mel(frequency: Any) -> Any:
    return 1127.0 * np.log1p(np.asarray(frequency) / 700.0)


class WavePreparer(_SoundPreparer):
    """Windows for wav2vec 2.0: `waves` float32 [n, samples], `samples` int64 [n].

    A window has mean 0 and variance 1 where the repository says so. Windows shorter than the longest are filled up with
    zeros that no model sees: `samples` says how long each is.
    """

    def __init__(
        self,
        normalise: bool = True,
        *,
        window_seconds: float = 10.0,
        max_seconds: float = 60.0,
        segments: int = 6,
        segment_seconds: float = 10.0,
    ) -> None:
        super().__init__("wave", round(window_seconds * RATE), max_seconds, segments, segment_seconds)
        self.normalise = normalise
        self.facts |= {"normalise": normalise}

    def __call__(self, raw: str | bytes | Path) -> Prepared:
        """Read sound and cut it into windows.

        Raises:
            MediaError: The file cannot be used; reason "empty" for less than a tenth of a second.
        """
        windows, notes = self._windows(raw)
        samples = np.array([len(window) for window in windows], np.int64)
        waves = np.zeros((len(windows), samples.max()), np.float32)
        for row, window in enumerate(windows):
            exact = window.astype(np.float64)
            if self.normalise:
                exact = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-7)
            waves[row, : len(window)] = exact
        return Prepared({"waves": waves, "samples": samples}, len(waves), len(waves), notes)
