"""The signals of the metric judge: what they are called, which way each may count, and for which dimensions.

Signs are fixed beforehand, from what a signal means, and not by the data: in rated clips of few generators almost
anything correlates with quality, and a free fit would reward added noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from sensorium.judging.metric.looking import without_bars
from sensorium.judging.metric.movement import LEAST_FRAMES, measure_movement, measure_temporal_noise
from sensorium.judging.metric.pictures import blockiness, measure_picture
from sensorium.media.video import Pixels, resized

VERSION = 1  # of all signals: changes whenever the same frames would give another number
LONG_SIDE = 256

Sign = Literal[-1, 0, 1]  # 0: either way

# Defects: what exceeds what clean video shows. Below these limits the same numbers measure content: the noise level of
# flat areas goes *with* the rated quality of generated video, since detail raises it.
VISIBLE_NOISE = 3.0  # grey levels of 255
VISIBLE_CLIPPING = 0.1  # share of pixels
VISIBLE_BLOCKS = 0.2  # log ratio of steps at block borders to others

IMAGING: Mapping[str, Sign] = {
    "detail": 1,
    "edge_sharpness": 1,
    "high_frequencies": 1,
    "visible_noise": -1,
    "moving_noise": -1,
    "visible_clipping": -1,
    "visible_blocks": -1,
}
AESTHETIC: Mapping[str, Sign] = {
    "edge_sharpness": 1,
    "visible_noise": -1,
    "moving_noise": -1,
    "visible_clipping": -1,
    "visible_blocks": -1,
    "brightness": 0,
    "contrast": 0,
    "colourfulness": 0,
    "entropy": 0,
    "balance": 0,
}
# The least deviation that a signal is divided by: most clean clips have no defect at all, and a trace of one in a
# single clip must not set the scale for all.
LEAST_DEVIATION: Mapping[str, float] = {
    "visible_noise": 0.3,
    "moving_noise": 0.3,
    "visible_clipping": 0.1,
    "visible_blocks": 0.2,
}
TEMPORAL: Mapping[str, Sign] = {
    "warp_mean": -1,
    "warp_max": -1,
    "occlusion_mean": -1,
    "occlusion_max": -1,
    "change_mean": -1,
    "change_max": -1,
    "histogram_drift": -1,
    "acceleration": -1,
    "jerk": -1,
    "interpolation": -1,
}
MOTION: Mapping[str, Sign] = {
    "warp_mean": -1,
    "occlusion_mean": -1,
    "occlusion_max": -1,
    "histogram_drift": -1,
    "acceleration": -1,
    "jerk": -1,
    "interpolation": -1,
    "dynamic_degree": 0,
}


@dataclass(frozen=True)
class Signals:
    """What was measured on a clip.

    Attributes:
        values: By name; NaN where the clip gave no occasion to measure. Without movement signals where there are too
            few frames.
        frames: How many frames were looked at.
    """

    values: Mapping[str, float]
    frames: int


def measure(
    frames: Iterable[Pixels], *, long_side: int = LONG_SIDE, pictures: bool = True, movement: bool = True
) -> Signals:
    """Measure signals.

    Args:
        frames: The frames that are looked at, in the file's own size, uint8 [height, width, 3]; taken one at a time.
        long_side: Larger frames are made smaller, to this size, for everything but blockiness.
        pictures: Whether to measure those of sharpness, noise, exposure, compression and composition.
        movement: Whether to measure those of movement; they take three quarters of the time.
    """
    small: list[Pixels] = []
    blocks: list[float] = []
    for frame in frames:
        blocks.append(blockiness(frame) if pictures else float("nan"))
        width, height = resized(frame.shape[1], frame.shape[0], long_side)
        small.append(np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8))
    grey = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), dtype=np.uint8) for frame in small]
    crop = without_bars(grey)
    grey = [np.ascontiguousarray(crop.of(frame)) for frame in grey]
    values: dict[str, float] = {}
    if pictures:
        found = [measure_picture(np.ascontiguousarray(crop.of(frame))) for frame in small]
        values |= {name: _mean([one[name] for one in found]) for name in found[0]}
        values |= {"blockiness": _mean(blocks), "temporal_noise": measure_temporal_noise(grey)}
    if movement and len(small) >= LEAST_FRAMES:
        values |= measure_movement(grey)
    return Signals(with_defects(values), len(small))


def with_defects(values: Mapping[str, float]) -> dict[str, float]:
    """Return measured signals with the defects that follow from them.

    `moving_noise` counts what is noise in space *and* in time: texture is still when the movement is followed, and what
    flow cannot follow is smooth.
    """
    if "noise" not in values:
        return dict(values)
    in_space, in_time = (np.exp(values[name]) - 0.1 for name in ("noise", "temporal_noise"))
    return {
        **values,
        "visible_noise": float(np.log(np.maximum(1.0, in_space / VISIBLE_NOISE))),
        "moving_noise": float(np.log(np.maximum(1.0, np.minimum(in_space, in_time) / VISIBLE_NOISE))),
        "visible_clipping": float(np.maximum(0.0, values["clipped"] - VISIBLE_CLIPPING)),
        "visible_blocks": float(np.maximum(0.0, values["blockiness"] - VISIBLE_BLOCKS)),
    }


def _mean(values: list[float]) -> float:
    """Return the mean of what could be measured."""
    there = np.array(values)[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")
