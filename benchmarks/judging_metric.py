"""How long the metric judge takes for a clip of 33 frames at 256 pixels, on one core.

    OMP_NUM_THREADS=1 python benchmarks/judging_metric.py

A made clip of moving texture is written as H.264, then read, measured and scored in four dimensions, several times.
Printed are the medians of wall and processor time, and the shares of reading, frames and movement.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from sensorium.core.rundir import machine_class
from sensorium.core.seeds import numpy_generator
from sensorium.judging.cells import VideoCell
from sensorium.judging.dimensions import dimension
from sensorium.judging.metric.judge import MetricJudge
from sensorium.judging.metric.looking import look
from sensorium.judging.metric.signals import measure
from sensorium.media.video import write_video

FRAMES, SIZE, REPEATS = 33, 256, 7
QUALITY = ("imaging_quality", "aesthetic_quality", "temporal_consistency", "motion_effects")


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return the medians of wall and processor time."""
    work()
    wall, processor = [], []
    for _ in range(REPEATS):
        begun, used = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - begun)
        processor.append(time.process_time() - used)
    return median(wall), median(processor)


def main() -> None:
    cv2.setNumThreads(1)
    noise = numpy_generator(0, "benchmark").normal(size=(SIZE, 2 * SIZE, 3)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 2.0)
    wide = np.clip(125 + 35 * texture / texture.std(), 0, 255).astype(np.uint8)
    judge = MetricJudge()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, [np.ascontiguousarray(wide[:, 3 * at : 3 * at + SIZE]) for at in range(FRAMES)], 10)
        cell = VideoCell("made", "texture", "", 0, path)
        frames = [frame.pixels for frame in look(path)]
        assert len(frames) == FRAMES

        def everything() -> None:
            measured = judge.measure(cell)
            for name in QUALITY:
                assert judge.judge(cell, dimension(name), measured).score is not None

        whole = seconds(everything)
        parts = {
            "reading": seconds(lambda: list(look(path))),
            "frames": seconds(lambda: measure(frames, movement=False)),
            "movement": seconds(lambda: measure(frames, pictures=False)),
        }
    print(machine_class(), f"1 thread, OpenCV {cv2.__version__}")
    print(f"clip of {FRAMES} frames at {SIZE} px: {whole[0]:.2f} s, {whole[1]:.2f} s of processor time")
    print("; ".join(f"{name} {100 * used / whole[1]:.0f} %" for name, (_, used) in parts.items()))


if __name__ == "__main__":
    main()
