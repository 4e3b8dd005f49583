"""Clips: what moves in an item's clip shows its formation, and how it moves a part of its topic.

A formation is how many bodies there are and how they stand. Five motions stand for the ten topics, so that words still
tell of the topic what the clip does not; nothing but the clip tells the formation, which any one picture of it shows,
while the motion takes several. Colours, sizes and speed are free. The second formation and the second topic have the
end of the clip, for as long as their shares say. The sound track is wind that swells with the motion: it says nothing
of the item's own sound.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensorium.core.seeds import numpy_generator
from sensorium.data.demo.sounds import RATE, Samples, main_and_second

SIDE = 96  # pixels
FPS = 12.0
FRAMES = 24

Floats = npt.NDArray[np.float64]

MOTION_OF_TOPIC = {
    "sea": "swing",
    "music": "swing",
    "mountains": "rise",
    "garden": "rise",
    "space": "orbit",
    "machines": "orbit",
    "city": "drift",
    "forest": "drift",
    "kitchen": "pulse",
    "castle": "pulse",
}

# For each formation, the radius of a body and how many there are; half a picture is 1.
FORMATIONS: dict[str, tuple[float, int]] = {
    "single": (0.34, 1),
    "pair": (0.22, 2),
    "row": (0.12, 5),
    "ring": (0.1, 8),
    "grid": (0.12, 9),
    "swarm": (0.05, 26),
}


@dataclass(frozen=True)
class Clip:
    """A clip as drawn.

    Attributes:
        frames: uint8 [24, 96, 96, 3], RGB, 12 a second.
        sound: float32 [32,000], mono at 16,000 samples per second, in -1..1.
    """

    frames: npt.NDArray[np.uint8]
    sound: Samples


def draw_clip(
    topic: npt.NDArray[np.float32],
    topics: tuple[str, ...],
    formation: npt.NDArray[np.float32],
    formations: tuple[str, ...],
    seed: int,
    item: int,
) -> Clip:
    """Draw the clip of an item, two seconds long.

    Args:
        topic: Shares of the topics, float32 [topics].
        topics: Their names, keys of `MOTION_OF_TOPIC`.
        formation: Shares of the formations, float32 [formations].
        formations: Their names, keys of `FORMATIONS`.
        seed: The seed of the catalogue.
        item: The item; each has its own random numbers.
    """
    generator = numpy_generator(seed, "demo", "clip", item)
    scene = _Scene.drawn(generator)
    time = np.arange(FRAMES) / FRAMES
    motions = [MOTION_OF_TOPIC[topics[kind]] for kind in main_and_second(topic)]
    shapes = [formations[kind] for kind in main_and_second(formation)]
    late_motion, late_shape = time >= float(topic.max()), time >= float(formation.max())
    frames = np.empty((FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
    for place, shape in enumerate(shapes):
        bodies, radius = _stand(shape, generator), FORMATIONS[shape][0] * scene.size
        for turn, motion in enumerate(motions):
            chosen = np.flatnonzero((late_shape == place) & (late_motion == turn))
            if len(chosen):
                frames[chosen] = scene.draw(_move(bodies, motion, time[chosen] * scene.speed + scene.phase), radius)
    return Clip(frames, _wind(motions, float(topic.max()), scene, generator))


@dataclass(frozen=True)
class _Scene:
    """What is free in a clip: colours, size, speed and where the motion begins."""

    ground: Floats  # [3], 0..255
    body: Floats  # [3], 0..255
    size: float
    speed: float  # turns in a clip
    phase: float  # turns

    @classmethod
    def drawn(cls, generator: np.random.Generator) -> _Scene:
        hue, other = generator.random(2)
        dark, light = generator.uniform(0.12, 0.3), generator.uniform(0.65, 0.9)
        ground, body = (dark, light) if generator.random() < 0.5 else (light, dark)
        colours = [
            np.array(colorsys.hls_to_rgb(tone, lightness, generator.uniform(0.3, 0.9))) * 255
            for tone, lightness in ((hue, ground), (other, body))
        ]
        return cls(
            colours[0], colours[1], generator.uniform(0.85, 1.15), generator.uniform(0.9, 1.5), generator.random()
        )

    def draw(self, bodies: Floats, radius: float) -> npt.NDArray[np.uint8]:
        """Draw soft discs at places [frames, bodies, 2] of a square from -1 to 1: uint8 [frames, side, side, 3]."""
        axis = ((np.arange(SIDE) + 0.5) * 2 / SIDE - 1).astype(np.float32)
        places = bodies.astype(np.float32)[..., None]
        across, down = (axis - places[:, :, 0]) ** 2, (axis - places[:, :, 1]) ** 2  # [frames, bodies, side]
        nearest = np.full((len(bodies), SIDE, SIDE), np.inf, dtype=np.float32)  # squared, to the middle of a body
        for body in range(bodies.shape[1]):
            np.minimum(nearest, down[:, body, :, None] + across[:, body, None, :], out=nearest)
        cover = np.clip((radius - np.sqrt(nearest)) * SIDE / 2 + 0.5, 0, 1)[..., None]
        shade = (1 - 0.18 * np.abs(axis))[:, None, None]  # a little darker above and below
        ground, body_colour = self.ground.astype(np.float32), self.body.astype(np.float32)
        pictures: npt.NDArray[np.uint8] = np.rint(ground * shade * (1 - cover) + body_colour * cover).astype(np.uint8)
        return pictures


def _stand(formation: str, generator: np.random.Generator) -> Floats:
    """Return where the bodies of a formation stand around the middle, turned by chance: float64 [bodies, 2]."""
    count = FORMATIONS[formation][1]
    match formation:
        case "single":
            places = np.array([[0.22, 0.0]])  # beside the middle, so that it can be seen to turn
        case "pair" | "row":
            places = np.stack([np.linspace(-0.6, 0.6, count), np.zeros(count)], axis=1)
        case "ring":
            angle = 2 * np.pi * np.arange(count) / count
            places = np.stack([0.62 * np.cos(angle), 0.5 * np.sin(angle)], axis=1)
        case "grid":
            places = np.stack(np.meshgrid([-0.5, 0, 0.5], [-0.5, 0, 0.5]), axis=-1).reshape(-1, 2)
        case _:
            places = generator.uniform(-0.8, 0.8, size=(count, 2))
    turned: Floats = _turn(places, np.array([generator.uniform(0, 2 * np.pi)]))[0]
    return turned


def _move(bodies: Floats, motion: str, turns: Floats) -> Floats:
    """Return the places of the bodies [bodies, 2] after so many turns [frames]: float64 [frames, bodies, 2]."""
    wave = np.sin(2 * np.pi * turns)[:, None]
    still = np.broadcast_to(bodies, (len(turns), *bodies.shape))
    match motion:
        case "orbit":
            return _turn(bodies, 2 * np.pi * turns)
        case "pulse":
            return still * (1 + 0.5 * wave[..., None])
        case "swing":
            return still + 0.5 * np.stack([wave, np.zeros_like(wave)], axis=-1)
    way = 2.6 * turns[:, None]  # leaves on one side and comes in on the other
    step = np.stack([way, np.zeros_like(way)] if motion == "drift" else [np.zeros_like(way), -way], axis=-1)
    places: Floats = (still + step + 1.3) % 2.6 - 1.3
    return places


def _turn(places: Floats, angle: Floats) -> Floats:
    """Turn places [n, 2] by angles [m] in radians: float64 [m, n, 2]."""
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.stack([places[:, 0] * cosine - places[:, 1] * sine, places[:, 0] * sine + places[:, 1] * cosine], axis=-1)


def _wind(motions: list[str], turn: float, scene: _Scene, generator: np.random.Generator) -> Samples:
    """Return noise as loud as the motion is fast: float32 [32,000]."""
    length = round(FRAMES / FPS * RATE)
    spectrum = np.fft.rfft(generator.standard_normal(length))
    noise = np.fft.irfft(spectrum / (1 + np.fft.rfftfreq(length, 1 / RATE) / 300), length)
    time = np.arange(length) / length
    speed = np.abs(np.cos(2 * np.pi * (time * scene.speed + scene.phase)))
    steady = [motion in ("drift", "rise", "orbit") for motion in motions]
    swell = np.where(np.where(time < turn, *steady), 0.7, speed)
    wind: Samples = (0.4 * swell * noise / np.abs(noise).max()).astype(np.float32)
    return wind
