"""Signals of how frames follow each other: consistency, smoothness of movement, and how much there is of it.

Flow is OpenCV's DIS (Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search"), in pixels of the size at
which signals are measured. A pixel counts as occluded where forward and backward flow disagree by more than
.5 + .05 (‖f‖ + ‖b‖) pixels (the check of Sundaram et al. 2010 with these constants).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sensorium.judging.metric.looking import inner_part
from sensorium.judging.metric.pictures import Grey, block_means, flat_blocks

Flow = npt.NDArray[np.float32]  # [height, width, 2]: to the right, downwards

LEAST_FRAMES = 3


def measure_movement(grey: Sequence[npt.NDArray[np.uint8]]) -> dict[str, float]:
    """Return the signals of a sequence of frames, each uint8 [height, width]; at least three.

    Raises:
        ValueError: There are fewer.
    """
    if len(grey) < LEAST_FRAMES:
        raise ValueError(f"movement needs {LEAST_FRAMES} frames, there are {len(grey)}")
    flow = _Flow(*grey[0].shape)
    pairs = [flow.pair(first, second) for first, second in pairwise(grey)]
    table = {name: np.array([pair[name] for pair in pairs]) for name in pairs[0] if name != "flow"}
    speed = np.array([np.linalg.norm(pair["flow"], axis=2)[flow.inner].mean() for pair in pairs])
    turns = [
        np.linalg.norm(later["flow"] - earlier["flow"], axis=2)[flow.inner].mean() for earlier, later in pairwise(pairs)
    ]
    between = [flow.interpolation(*grey[place : place + 3]) for place in range(len(grey) - 2)]
    acceleration = float(np.log(np.mean(turns) + 0.01))
    return {
        "warp_mean": float(np.log(table["warp"].mean() + 0.5)),
        "warp_max": float(np.log(table["warp"].max() + 0.5)),
        "occlusion_mean": float(table["occlusion"].mean()),
        "occlusion_max": float(table["occlusion"].max()),
        "change_mean": float(np.log(table["change"].mean() + 0.5)),
        "change_max": float(np.log(table["change"].max() + 0.5)),
        "histogram_drift": float(table["histogram"].mean()),
        "acceleration": acceleration,
        "jerk": acceleration - float(np.log(speed.mean() + 0.01)),
        "interpolation": float(np.log(np.mean(between) + 0.5)),
        "dynamic_degree": float(table["fast"].mean()),
    }


def measure_temporal_noise(grey: Sequence[npt.NDArray[np.uint8]]) -> float:
    """Return the log of what flat blocks do from frame to frame when the movement is followed: noise changes, texture
    goes along. NaN where there are no flat blocks, or only one frame."""
    if len(grey) < 2:
        return float("nan")
    flow = _Flow(*grey[0].shape)
    levels = [flow.noise(first, second) for first, second in pairwise(grey)]
    there = [level for level in levels if not np.isnan(level)]
    return float(np.log(np.mean(there) + 0.1)) if there else float("nan")


class _Flow:
    """Flow between frames of one size, and what it says."""

    def __init__(self, height: int, width: int) -> None:
        self.inner = inner_part(height, width)
        self._grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).astype(np.float32)
        self._estimator: Any = _dis()

    def pair(self, first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Return the flow from a frame to the next, and the signals of the two."""
        forward, backward = self._between(first, second), self._between(second, first)
        a, b = first.astype(np.float32), second.astype(np.float32)
        target = self._grid + forward
        height, width = first.shape
        inside = (target >= 0).all(axis=2) & (target[..., 0] <= width - 1) & (target[..., 1] <= height - 1)
        returned = self._fetch(backward, forward)
        apart = np.linalg.norm(forward + returned, axis=2)
        allowed = 0.5 + 0.05 * (np.linalg.norm(forward, axis=2) + np.linalg.norm(returned, axis=2))
        occluded = (apart > allowed)[self.inner]
        seen = inside[self.inner]
        residual = (a - self._fetch(b, forward))[self.inner]
        kept = seen & ~occluded
        speed = np.linalg.norm(forward, axis=2)[self.inner]
        return {
            "flow": forward,
            "warp": float(np.abs(residual[kept]).mean()) if kept.any() else float(np.abs(residual).mean()),
            "occlusion": float(occluded[seen].mean()) if seen.any() else 1.0,
            "change": float(np.abs(a - b)[self.inner].mean()),
            "histogram": float(np.abs(_histogram(a[self.inner]) - _histogram(b[self.inner])).sum() / 2),
            "fast": float(np.quantile(speed, 0.95)),
        }

    def noise(self, first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
        """Return what differs in flat blocks after following the movement, NaN without such blocks. A change of a whole
        block's brightness is flicker, not noise, and is taken off."""
        a = first.astype(np.float32)
        residual = (a - self._fetch(second.astype(np.float32), self._between(first, second)))[self.inner]
        blocks = flat_blocks(a[self.inner])
        if not blocks.any():
            return float("nan")
        rows, columns = blocks.shape
        means = np.kron(block_means(residual), np.ones((16, 16), dtype=np.float32))
        apart = np.square(residual[: rows * 16, : columns * 16] - means)
        return float(np.sqrt(block_means(apart)[blocks].mean() / 2))

    def interpolation(self, before: Any, middle: Any, after: Any) -> float:
        """Return how far a frame is from what flow between its neighbours puts in its place."""
        onward, back = self._between(before, after), self._between(after, before)
        blend = (
            self._fetch(before.astype(np.float32), back / 2) + self._fetch(after.astype(np.float32), onward / 2)
        ) / 2
        return float(np.abs(middle.astype(np.float32) - blend)[self.inner].mean())

    def _between(self, first: Any, second: Any) -> Flow:
        return np.asarray(self._estimator.calc(first, second, None))

    def _fetch(self, values: Any, flow: Any) -> Any:
        """Return the values that lie where the flow points."""
        target = self._grid + flow
        return cv2.remap(values, target[..., 0], target[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _dis() -> Any:
    """Return the estimator of flow; OpenCV's own type stubs do not know it."""
    return getattr(cv2, "DISOpticalFlow_create")(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # noqa: B009


def _histogram(grey: Grey) -> npt.NDArray[np.float64]:
    """Return the shares of 32 levels of brightness, smoothed so that a step of one grey value is a small change."""
    counts = np.bincount(grey.astype(np.int64).ravel(), minlength=256).astype(np.float64)
    smooth = np.convolve(counts, np.ones(9) / 9, mode="same")
    return np.asarray(smooth.reshape(32, 8).sum(axis=1) / counts.sum())
