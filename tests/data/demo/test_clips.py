"""Clips tell the formation in every picture, and of the topic the motion in what changes between them."""

import numpy as np
import pytest
from scipy import ndimage

from sensorium.data.demo.clips import FORMATIONS, FPS, FRAMES, MOTION_OF_TOPIC, SIDE, draw_clip
from sensorium.data.demo.sounds import RATE
from sensorium.data.demo.world import FACTORS, FORMATION

TOPICS = FACTORS[0].kinds


def one(kinds: tuple[str, ...], name: str) -> np.ndarray:
    return np.eye(len(kinds), dtype=np.float32)[kinds.index(name)]


def clip(topic: str, formation: str, item: int, seed: int = 0):
    return draw_clip(one(TOPICS, topic), TOPICS, one(FORMATION.kinds, formation), FORMATION.kinds, seed, item)


def bodies(frame: np.ndarray) -> np.ndarray:
    """Return which pixels belong to a body: its colour is far from that of the ground, which varies downwards alone."""
    ground = np.median(frame.astype(float), axis=1, keepdims=True)
    return np.abs(frame - ground).max(-1) > 60


def test_every_kind_has_its_formation_and_its_motion() -> None:
    assert set(FORMATIONS) == set(FORMATION.kinds)
    assert set(MOTION_OF_TOPIC) == set(TOPICS)
    assert sorted(MOTION_OF_TOPIC.values()) == sorted(2 * ["swing", "rise", "orbit", "drift", "pulse"])


@pytest.mark.parametrize("formation", FORMATION.kinds)
def test_clips_of_a_formation(formation: str) -> None:
    clips = [clip("sea", formation, item) for item in range(4)]
    for drawn in clips:
        assert drawn.frames.dtype == np.uint8
        assert drawn.frames.shape == (FRAMES, SIDE, SIDE, 3)
        assert drawn.sound.shape == (round(FRAMES / FPS * RATE),)
        assert 0.05 < np.abs(drawn.sound).max() <= 1
        assert (drawn.frames[1:] != drawn.frames[:-1]).any((1, 2, 3)).all()  # it moves all the time
    assert len({drawn.frames.tobytes() for drawn in clips}) == 4
    assert clip("sea", formation, 2).frames.tobytes() == clips[2].frames.tobytes()
    assert clip("sea", formation, 2, seed=1).frames.tobytes() != clips[2].frames.tobytes()


def test_a_ring_has_its_eight_bodies() -> None:
    """Orbiting, none leaves the picture: what hangs together in each frame is counted."""
    for formation, count in (("single", 1), ("pair", 2), ("ring", 8)):
        frames = clip("space", formation, 3).frames
        assert {ndimage.label(bodies(frame))[1] for frame in frames} == {count}


def test_motions_move_as_they_are_called() -> None:
    """The middle of a single body: across in a swing, up in a rise, round in an orbit."""

    def path(topic: str) -> np.ndarray:
        return np.array([ndimage.center_of_mass(bodies(frame)) for frame in clip(topic, "single", 8).frames])

    swing, orbit = path("sea"), path("space")
    assert np.ptp(swing[:, 1]) > 30
    assert np.ptp(swing[:, 0]) < 2
    radius = np.hypot(*(orbit - SIDE / 2).T)
    assert radius.std() < 1
    assert np.ptp(orbit, axis=0).min() > 15
    areas = np.array([bodies(frame).sum() for frame in clip("kitchen", "grid", 8).frames])
    assert areas.min() > 0


def test_two_topics_of_one_motion_cannot_be_told_apart() -> None:
    """What the clip leaves to the words."""
    assert clip("sea", "ring", 1).frames.tobytes() == clip("music", "ring", 1).frames.tobytes()
    assert clip("sea", "ring", 1).frames.tobytes() != clip("city", "ring", 1).frames.tobytes()


def test_the_second_formation_has_the_end() -> None:
    shares = (0.65 * one(FORMATION.kinds, "pair") + 0.35 * one(FORMATION.kinds, "ring")).astype(np.float32)
    frames = draw_clip(one(TOPICS, "space"), TOPICS, shares, FORMATION.kinds, 0, 3).frames
    counts = [ndimage.label(bodies(frame))[1] for frame in frames]
    assert counts[:15] == [2] * 15
    assert counts[16:] == [8] * 8
