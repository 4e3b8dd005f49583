"""Sounds: what is heard of an item is its rhythm, and of its style the timbre.

A rhythm is a pattern of beats, a tempo and a register. Four timbres stand for the eight styles, so that a cover still
tells of the style what the sound does not; nothing but the sound tells the rhythm. Keys, melodies and loudness are
free. The second rhythm and the second style are heard at the end, for as long as their shares say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensorium.core.seeds import numpy_generator

RATE = 16_000  # samples per second
SECONDS = 2.4
SCALE = (0, 2, 4, 7, 9, 12)  # semitones of the melody above its key

Samples = npt.NDArray[np.float32]
Voice = Callable[[npt.NDArray[np.float64], float, np.random.Generator], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Pattern:
    """One bar of a rhythm.

    Attributes:
        beats: When a note begins and how strong it is, in beats of the bar and 0..1.
        bar: Beats of a bar.
        tempo: Beats per minute.
        register: The key around which the melody moves, Hz.
        held: How long a note sounds, in beats.
    """

    beats: tuple[tuple[float, float], ...]
    bar: float
    tempo: float
    register: float
    held: float


PATTERNS: dict[str, Pattern] = {
    "heartbeat": Pattern(((0, 1.0), (0.35, 0.6)), 1.5, 96, 90, 0.4),
    "march": Pattern(((0, 1.0), (1, 0.6)), 2, 120, 180, 0.7),
    "waltz": Pattern(((0, 1.0), (1, 0.45), (2, 0.45)), 3, 170, 300, 0.8),
    "gallop": Pattern(((0, 1.0), (0.5, 0.5), (0.75, 0.7)), 1, 110, 240, 0.3),
    "trill": Pattern(((0, 0.8), (0.5, 0.8)), 1, 300, 620, 0.5),
    "tide": Pattern(((0, 1.0),), 2, 100, 420, 2.4),
}

TIMBRE_OF_STYLE = {
    "sunrise": "bell",
    "nocturne": "bell",
    "geometry": "pluck",
    "graphite": "pluck",
    "meadow": "flute",
    "pastel": "flute",
    "neon": "reed",
    "terracotta": "reed",
}


def draw_sound(
    style: npt.NDArray[np.float32],
    styles: tuple[str, ...],
    rhythm: npt.NDArray[np.float32],
    rhythms: tuple[str, ...],
    seed: int,
    item: int,
) -> Samples:
    """Make the sound of an item: float32 [38,400], mono at 16,000 samples per second, in -1..1.

    Args:
        style: Shares of the styles, float32 [styles].
        styles: Their names, keys of `TIMBRE_OF_STYLE`.
        rhythm: Shares of the rhythms, float32 [rhythms].
        rhythms: Their names, keys of `PATTERNS`.
        seed: The seed of the catalogue.
        item: The item; each has its own random numbers.
    """
    generator = numpy_generator(seed, "demo", "sound", item)
    key, pace = 2 ** generator.uniform(-0.25, 0.25), generator.uniform(0.92, 1.08)
    samples = np.zeros(round(SECONDS * RATE))
    main_voice, second_voice = (VOICES[TIMBRE_OF_STYLE[styles[kind]]] for kind in main_and_second(style))
    voice_turns = SECONDS * float(style.max())
    rhythm_turns = SECONDS * float(rhythm.max())
    main, second = (PATTERNS[rhythms[kind]] for kind in main_and_second(rhythm))
    for pattern, start, end in ((main, 0.0, rhythm_turns), (second, rhythm_turns, SECONDS)):
        beat = 60 / pattern.tempo * pace
        moments = np.arange(start, end, pattern.bar * beat)[:, None] + np.array([at for at, _ in pattern.beats]) * beat
        strengths = np.broadcast_to([strength for _, strength in pattern.beats], moments.shape)
        for moment, strength in zip(moments.ravel().tolist(), strengths.ravel().tolist(), strict=True):
            if moment >= end:
                continue
            pitch = pattern.register * key * 2 ** (generator.choice(SCALE) / 12)
            first = round(moment * RATE)
            length = min(round(pattern.held * beat * RATE), len(samples) - first)
            voice = main_voice if moment < voice_turns else second_voice
            seconds = np.arange(length) / RATE
            note = voice(seconds, pitch, generator) * _edges(length)
            samples[first : first + length] += strength * note
    loudness = generator.uniform(0.5, 0.9)
    return (loudness * samples / max(float(np.abs(samples).max()), 1e-9)).astype(np.float32)


def main_and_second(shares: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Return the two kinds with the largest shares."""
    main, second = np.argsort(-shares, kind="stable")[:2].tolist()
    return main, second


def _edges(length: int) -> npt.NDArray[np.float64]:
    """Return a curve that opens and closes a note within 4 ms each, so that it does not click: float64 [length]."""
    place = np.arange(length)
    ramp: npt.NDArray[np.float64] = np.minimum(1.0, np.minimum(place, place[::-1]) / (0.004 * RATE))
    return ramp


# --- voices: float64 [n] for the seconds since the note began ---


def _partials(
    seconds: npt.NDArray[np.float64], pitch: float, ratios: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return a sum of sines; those above half the sample rate are left out."""
    heard = ratios * pitch < 0.45 * RATE
    waves = np.sin(2 * np.pi * pitch * ratios[heard] * seconds[:, None])
    wave: npt.NDArray[np.float64] = waves @ weights[heard]
    return wave


def _bell(seconds: npt.NDArray[np.float64], pitch: float, _: np.random.Generator) -> npt.NDArray[np.float64]:
    """Partials that are no multiples of the pitch, and a slow decay."""
    ratios, weights = np.array([1.0, 2.76, 5.4, 8.93]), np.array([1.0, 0.7, 0.45, 0.3])
    return _partials(seconds, pitch, ratios, weights) * np.exp(-4 * seconds)


def _pluck(seconds: npt.NDArray[np.float64], pitch: float, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """All multiples, gone quickly, after the noise of the attack."""
    ratios = np.arange(1.0, 16.0)
    attack = generator.standard_normal(len(seconds)) * np.exp(-250 * seconds)
    return _partials(seconds, pitch, ratios, 1 / ratios) * np.exp(-14 * seconds) + 0.6 * attack


def _flute(seconds: npt.NDArray[np.float64], pitch: float, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """The pitch and little else, opening slowly, with breath."""
    breath = generator.standard_normal(len(seconds)) * 0.05
    wave = _partials(seconds, pitch, np.array([1.0, 2.0]), np.array([1.0, 0.12]))
    return (wave + breath) * np.minimum(1.0, seconds / 0.06)


def _reed(seconds: npt.NDArray[np.float64], pitch: float, _: np.random.Generator) -> npt.NDArray[np.float64]:
    """Odd multiples, held, with a beating of six times a second."""
    ratios = np.arange(1.0, 20.0, 2.0)
    beating = 1 + 0.35 * np.sin(2 * np.pi * 6 * seconds)
    return _partials(seconds, pitch, ratios, ratios**-0.6) * beating


VOICES: dict[str, Voice] = {"bell": _bell, "pluck": _pluck, "flute": _flute, "reed": _reed}
