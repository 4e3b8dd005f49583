"""Sound to the arrays that sound encoders read: patches of log mel bands for YAMNet, log mel windows for Whisper.

Both read mono at 16 kHz (`media.sound`), all of it up to `max_seconds`, evenly spaced segments of longer sound. NumPy
alone: this module runs in decoding processes.
"""

from __future__ import annotations

import math
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

Floats = npt.NDArray[np.float32]


def _read(raw: str | bytes | Path, max_seconds: float, segments: int, segment_seconds: float) -> Sound:
    sound = read_sound(raw, rate=RATE, max_seconds=max_seconds, segments=segments, segment_seconds=segment_seconds)
    if sound.seconds < SHORTEST:
        raise MediaError("empty", f"it is shorter than {SHORTEST} seconds", "" if isinstance(raw, bytes) else str(raw))
    return sound


def _notes(sound: Sound, max_seconds: float) -> frozenset[str]:
    return frozenset(
        note for note, holds in (("partial", sound.cut_short), ("truncated", sound.seconds > max_seconds)) if holds
    )


class YamNetPreparer:
    """Patches for YAMNet: `patches` float32 [n, 96, 64], .96 s each, one every .48 s.

    Each segment is padded with silence at its end, so that its last patch is whole. Frames of 25 ms every 10 ms,
    periodic Hann, magnitude of a 512-point transform, 64 triangular bands, ln(x + 1e-3).
    """

    def __init__(self, max_seconds: float = 60.0, segments: int = 6, segment_seconds: float = 10.0) -> None:
        self.max_seconds, self.segments, self.segment_seconds = max_seconds, segments, segment_seconds
        self.facts: dict[str, Any] = {
            "kind": "yamnet-patches",
            "version": VERSION,
            "rate": RATE,
            "max_seconds": max_seconds,
            "segments": segments,
            "segment_seconds": segment_seconds,
            "patch_seconds": 0.96,
            "hop_seconds": 0.48,
            "bands": 64,
            "low": 125.0,
            "high": 7500.0,
            "offset": 1e-3,
        }

    def __call__(self, raw: str | bytes | Path) -> Prepared:
        """Read sound and cut it into patches.

        Raises:
            MediaError: The file cannot be used; reason "empty" for less than a tenth of a second.
        """
        sound = _read(raw, self.max_seconds, self.segments, self.segment_seconds)
        patches = np.concatenate([yamnet_patches(piece.samples) for piece in sound.segments])
        return Prepared({"patches": patches}, len(patches), len(patches), _notes(sound, self.max_seconds))


def yamnet_patches(samples: Samples) -> Floats:
    """Return patches float32 [n, 96, 64] of mono sound at 16 kHz."""
    window, hop, whole = 400, 160, 95 * 160 + 400
    steps = max(0, math.ceil((len(samples) - whole) / (48 * hop)))
    padded = np.zeros(whole + steps * 48 * hop, np.float32)
    padded[: len(samples)] = samples[: len(padded)]
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]  # [frames, 400]
    spectrum = np.abs(np.fft.rfft(frames * _hann(window), 512))  # [frames, 257]
    bands = np.log(spectrum @ _yamnet_bands() + 1e-3).astype(np.float32)  # [frames, 64]
    return np.stack([bands[48 * step : 48 * step + 96] for step in range(steps + 1)])


@cache
def _hann(length: int) -> npt.NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


@cache
def _yamnet_bands() -> npt.NDArray[np.float64]:
    """Triangles that are even in mel = 1127 ln(1 + f / 700), [257, 64]; the constant part of the signal is left out."""
    edges = np.linspace(_mel(125.0), _mel(7500.0), 66)
    bins = _mel(np.linspace(0, RATE / 2, 257))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0
    return np.asarray(weights)


def _mel(frequency: Any) -> Any:
    return 1127.0 * np.log1p(np.asarray(frequency) / 700.0)


class WhisperPreparer:
    """Windows of 30 s for a Whisper encoder: `mel` float32 [n, 80, 3000] and `positions` int64 [n].

    Shorter sound is padded with silence; `positions`, ceil(50 x seconds), says how many of the encoder's 1,500
    positions hold sound: only these are pooled. Computed as the published feature extractor does: 400-point transform
    every 10 ms with mirrored ends, power, 80 Slaney mel bands, log10, no more than 8 below the loudest, (x + 4) / 4.
    """

    def __init__(self, max_seconds: float = 60.0, segments: int = 2, bands: int = 80) -> None:
        self.max_seconds, self.segments, self.bands = max_seconds, segments, bands
        self.facts: dict[str, Any] = {
            "kind": "whisper-mel",
            "version": VERSION,
            "rate": RATE,
            "max_seconds": max_seconds,
            "segments": segments,
            "segment_seconds": 30.0,
            "bands": bands,
        }

    def __call__(self, raw: str | bytes | Path) -> Prepared:
        """Read sound and turn it into windows.

        Raises:
            MediaError: The file cannot be used; reason "empty" for less than a tenth of a second.
        """
        sound = _read(raw, self.max_seconds, self.segments, 30.0)
        pieces = [
            piece.samples[start : start + 30 * RATE]
            for piece in sound.segments
            for start in range(0, len(piece.samples), 30 * RATE)
        ]
        kept = [piece for piece in pieces if len(piece) >= SHORTEST * RATE] or pieces[:1]
        mel = np.stack([whisper_mel(piece, self.bands) for piece in kept])
        positions = np.array([min(1500, math.ceil(50 * len(piece) / RATE)) for piece in kept], np.int64)
        arrays: dict[str, npt.NDArray[Any]] = {"mel": mel, "positions": positions}
        return Prepared(arrays, len(kept), len(kept), _notes(sound, self.max_seconds))


def whisper_mel(samples: Samples, bands: int = 80) -> Floats:
    """Return log mel values float32 [bands, 3000] of at most 30 s of mono sound at 16 kHz."""
    padded = np.zeros(30 * RATE, np.float32)
    padded[: len(samples)] = samples[: 30 * RATE]
    mirrored = np.pad(padded, 200, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(mirrored, 400)[::160][:3000]
    power = np.abs(np.fft.rfft(frames * _hann(400).astype(np.float32))) ** 2  # [3000, 201]
    mel = np.log10(np.maximum(power @ _whisper_bands(bands), 1e-10)).T
    return np.asarray((np.maximum(mel, mel.max() - 8.0) + 4.0) / 4.0, np.float32)


@cache
def _whisper_bands(bands: int) -> npt.NDArray[np.float64]:
    """Slaney's mel bands from 0 to 8 kHz, each of area one, [201, bands]: linear to 1 kHz, then logarithmic."""
    step = math.log(6.4) / 27
    marks = np.linspace(0.0, 15.0 + math.log(8.0) / step, bands + 2)
    edges = np.where(marks < 15, marks * 200 / 3, 1000 * np.exp(step * (np.maximum(marks, 15) - 15)))
    bins = np.linspace(0, RATE / 2, 201)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2])))
