"""Made clips with a known movement, for the tests of the metric judge."""

import numpy as np
from scipy.ndimage import gaussian_filter

from sensorium.core.seeds import numpy_generator
from sensorium.media.video import Pixels

SIZE = 96


def texture(seed: int = 0, *, size: int = 2 * SIZE, smooth: float = 2.0) -> np.ndarray:
    """Smooth coloured noise, float [size, size, 3], most of it between 60 and 190."""
    noise = numpy_generator(seed, "texture").normal(size=(size, size, 3))
    smoothed = gaussian_filter(noise, (smooth, smooth, 0))
    return 125 + 30 * smoothed / smoothed.std()


def pan(frames: int = 8, *, speed: int = 2, seed: int = 0) -> list[Pixels]:
    """A texture that moves to the left by whole pixels: uint8 [96, 96, 3] each."""
    whole = np.clip(texture(seed), 0, 255).astype(np.uint8)
    return [np.ascontiguousarray(whole[20 : 20 + SIZE, at : at + SIZE]) for at in range(0, speed * frames, speed)][
        :frames
    ]


def still(frames: int = 8) -> list[Pixels]:
    """One picture again and again."""
    return [pan(1)[0]] * frames
