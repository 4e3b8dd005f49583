"""Sounds tell the rhythm, and of the style the timbre."""

import numpy as np
import pytest

from sensorium.data.demo.sounds import PATTERNS, RATE, SECONDS, TIMBRE_OF_STYLE, VOICES, draw_sound
from sensorium.data.demo.world import FACTORS, RHYTHM

STYLES = FACTORS[1].kinds


def one(kinds: tuple[str, ...], name: str) -> np.ndarray:
    return np.eye(len(kinds), dtype=np.float32)[kinds.index(name)]


def sound(style: str, rhythm: str, item: int, seed: int = 0) -> np.ndarray:
    return draw_sound(one(STYLES, style), STYLES, one(RHYTHM.kinds, rhythm), RHYTHM.kinds, seed, item)


def test_every_kind_has_its_pattern_and_its_voice() -> None:
    assert set(PATTERNS) == set(RHYTHM.kinds)
    assert set(TIMBRE_OF_STYLE) == set(STYLES)
    assert set(TIMBRE_OF_STYLE.values()) == set(VOICES)


@pytest.mark.parametrize("rhythm", RHYTHM.kinds)
def test_sounds_of_a_rhythm(rhythm: str) -> None:
    """Right length and range, none silent, none twice, the same again from the same seed."""
    sounds = [sound("neon", rhythm, item) for item in range(6)]
    for samples in sounds:
        assert samples.dtype == np.float32
        assert samples.shape == (round(RATE * SECONDS),)
        assert 0.3 < np.abs(samples).max() <= 1
    assert len({samples.tobytes() for samples in sounds}) == 6
    assert sound("neon", rhythm, 3).tobytes() == sounds[3].tobytes()
    assert sound("neon", rhythm, 3, seed=1).tobytes() != sounds[3].tobytes()


def test_beats_come_as_often_as_the_pattern_says() -> None:
    """Plucked notes decay at once: peaks of the loudness are the notes, two a second in a march, ten in a trill."""

    def beats(rhythm: str, item: int) -> int:
        loudness = np.abs(sound("geometry", rhythm, item)).reshape(-1, 160).max(1)  # every 10 ms
        rises = loudness[1:] > 1.6 * loudness[:-1] + 0.02
        return int((rises[1:] & ~rises[:-1]).sum())

    assert np.mean([beats("march", item) for item in range(6)]) == pytest.approx(2 * SECONDS, abs=1)
    assert np.mean([beats("trill", item) for item in range(6)]) == pytest.approx(10 * SECONDS, rel=0.2)


def test_two_styles_of_one_timbre_cannot_be_told_apart() -> None:
    """What the sound leaves to the cover."""
    assert sound("sunrise", "waltz", 1).tobytes() == sound("nocturne", "waltz", 1).tobytes()
    assert sound("sunrise", "waltz", 1).tobytes() != sound("neon", "waltz", 1).tobytes()


def test_the_second_rhythm_is_heard_at_the_end() -> None:
    shares = 0.7 * one(RHYTHM.kinds, "march") + 0.3 * one(RHYTHM.kinds, "trill")
    mixed = draw_sound(one(STYLES, "geometry"), STYLES, shares.astype(np.float32), RHYTHM.kinds, 0, 5)
    pure = sound("geometry", "march", 5)
    turn = round(0.7 * SECONDS * RATE)
    same = mixed[: turn - 1] / np.abs(mixed[:turn]).max() - pure[: turn - 1] / np.abs(pure[:turn]).max()
    assert np.abs(same).max() < 1e-3
    assert np.abs(mixed[turn:] - pure[turn:]).max() > 0.1
