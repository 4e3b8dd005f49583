"""Forward and backward of every rasteriser that works here, in one run, against the reference; and where the time goes.

    OMP_NUM_THREADS=1 python benchmarks/rasterisers.py [--gaussians 5000] [--side 256] [--only numba] [--row FILE]

The scene is where an optimisation begins (a grey ball of round Gaussians of opacity .1), seen from the default
distance. Repetitions alternate between the back ends, so that a busy machine slows all of them. Printed are medians of
the CPU time of this process and of wall time, ratios of wall time within each repetition, the parts of the compiled
back end, and its arithmetic against the fastest that this machine did in the same run: fused multiply-adds, and
exponentials of NumPy.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from sensorium.core.rundir import machine_class
from sensorium.lifting.camera import orbit
from sensorium.lifting.cloud import ball
from sensorium.lifting.projection import project
from sensorium.lifting.rasterisers import RasterBackend, availability
from sensorium.lifting.rasterisers import numba_kernels as kernels
from sensorium.lifting.rasterisers.compiling import compiled
from sensorium.lifting.rasterisers.numba_cpu import _Lists

CPU_BACKENDS, GPU_BACKENDS = ("numba", "torch"), ("gsplat", "gswarp")
# Additions and multiplications per pixel and Gaussian, counted in `numba_kernels.blend` and `blend_backward`.
FORWARD_FLOPS, BACKWARD_FLOPS = 39, 61


def seconds(work: Callable[[], None]) -> tuple[float, float]:
    """CPU and wall seconds of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def forward_backward(backend: RasterBackend, count: int, side: int, device: str) -> Callable[[], None]:
    cloud, camera = ball(count, seed=0).to(device), orbit(-10, 20, height=side, width=side)
    target = torch.linspace(0, 1, side * side * 3, device=device).reshape(side, side, 3)

    def work() -> None:
        out = backend.render(cloud.leaves(), camera, bg=(1, 1, 1))
        torch.autograd.backward((out.rgb - target).square().mean() + out.alpha.mean())
        if device == "cuda":
            torch.cuda.synchronize()

    return work


@compiled(fastmath={"contract"})
def multiply_adds(values: Any, factor: Any, term: Any, turns: int) -> None:
    """Chains of sixteen for 64 values side by side: nothing to fold, and little to load."""
    for _ in range(turns):
        for k in range(kernels.PIXELS):
            x = values[k]
            for _ in range(16):
                x = x * factor + term
            values[k] = x


def machine_peak() -> tuple[float, float]:
    """Billions of additions and multiplications, and of exponentials, per second of one core."""
    values, turns = np.ones(kernels.PIXELS, np.float32), 200_000
    constants = (np.float32(0.5), np.float32(1))
    multiply_adds(values, *constants, 1)
    fused = min(seconds(lambda: multiply_adds(values, *constants, turns))[0] for _ in range(7))
    numbers = np.linspace(-5, 0, 1 << 16, dtype=np.float32)
    out = np.empty_like(numbers)

    def exponentials() -> None:
        for _ in range(200):
            np.exp(numbers, out=out)

    exp = min(seconds(exponentials)[0] for _ in range(7))
    return 32 * kernels.PIXELS * turns / fused / 1e9, 200 * len(numbers) / exp / 1e9


def profile(count: int, side: int, repeats: int) -> dict[str, float]:
    """Milliseconds of CPU of each part of the compiled back end, medians; and how many pairs it walks."""
    camera = orbit(-10, 20, height=side, width=side)
    times: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        begun = time.process_time()
        result = work()
        times.setdefault(name, []).append(1e3 * (time.process_time() - begun))
        return result

    for _ in range(repeats):
        leaves = ball(count, seed=0).leaves()
        seen = timed("projection", lambda leaves=leaves: project(leaves, camera))
        order = torch.argsort(seen.depths.detach(), stable=True)
        order = order[seen.visible[order]]
        lists = timed("lists", lambda order=order, seen=seen: _Lists(seen, order, camera))
        picture = np.empty((side, side, 5), np.float32)
        lights, lasts = (np.empty((lists.tiles, kernels.PIXELS), np.float32) for _ in range(2))
        common = (lists.tile_starts, lists.ranks)
        timed(
            "blend",
            lambda lists=lists, common=common, out=(picture, lights, lasts): kernels.blend(
                0, lists.tiles, *common, lists.spans, lists.packed, lists.columns, *out
            ),
        )
        upstream, rows = np.ones_like(picture), np.empty((len(lists.ranks), kernels.GRADIENTS), np.float32)
        timed(
            "blend_backward",
            lambda lists=lists, common=common, rest=(lights, lasts, upstream, rows): kernels.blend_backward(
                0, lists.tiles, *common, lists.places, lists.spans, lists.packed, lists.columns, *rest
            ),
        )
        found = [np.zeros((count, 2), np.float32), np.zeros((count, 3), np.float32), np.zeros(count, np.float32)]
        found += [np.zeros(count, np.float32), np.zeros((count, 3), np.float32)]
        timed(
            "gather",
            lambda lists=lists, rows=rows, found=found: kernels.gather(
                lists.order, lists.starts, lists.packed, rows, *found
            ),
        )
        pull = (torch.ones_like(seen.means), torch.ones_like(seen.conics), torch.ones_like(seen.opacities))
        timed(
            "projection_backward",
            lambda seen=seen, pull=pull: torch.autograd.backward((seen.means, seen.conics, seen.opacities), pull),
        )
    taken = (lasts.max(1) + 1).astype(int)
    spans = (lists.spans >> 8) - (lists.spans & 255)
    starts = lists.tile_starts
    pairs = sum(int(spans[starts[t] : starts[t] + taken[t]].sum()) for t in range(lists.tiles))
    return {**{name: median(values) for name, values in times.items()}, "entries": len(lists.ranks), "pairs": pairs}


def second_process() -> dict[str, float]:
    """Seconds until the compiled back end has drawn and judged two Gaussians in a new process, imports apart."""
    script = (
        "import time, torch\n"
        "from sensorium.lifting.rasterisers import availability\n"
        "import numba\n"
        "cpu, wall = time.process_time(), time.perf_counter()\n"
        "assert availability('numba')[0] is not None\n"
        "print(time.process_time() - cpu, time.perf_counter() - wall)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    cpu, wall = map(float, done.stdout.split())
    return {"cpu_seconds": cpu, "wall_seconds": wall}


def summary(own: list[tuple[float, float]], reference: list[tuple[float, float]] | None) -> dict[str, Any]:
    """Medians, the least wall time, and the ratios to the reference within each repetition."""
    cpu, wall = (median(value[i] for value in own) for i in (0, 1))
    found: dict[str, Any] = {"cpu_ms": round(1e3 * cpu, 2), "wall_ms": round(1e3 * wall, 2)}
    found["least_wall_ms"] = round(1e3 * min(value[1] for value in own), 2)
    if reference:
        ratios = sorted(theirs[1] / mine[1] for theirs, mine in zip(reference, own, strict=True))
        found["ratio"] = round(median(ratios), 1)
        found["ratio_range"] = [round(ratios[0], 1), round(ratios[-1], 1)]
        found["cpu_ratio"] = round(median(theirs[0] / mine[0] for theirs, mine in zip(reference, own, strict=True)), 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gaussians", type=int, default=5000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", action="append", choices=[*CPU_BACKENDS, *GPU_BACKENDS])
    parser.add_argument("--row", type=Path, help="append the figures to this file")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    works = {}
    for name, device in [(name, "cpu") for name in CPU_BACKENDS] + [(name, "cuda") for name in GPU_BACKENDS]:
        if asked.only and name not in asked.only:
            continue
        backend, reason = availability(name, device)
        if backend is None:
            print(f"{name}: does not draw here: {reason}")
            continue
        works[name] = forward_backward(backend, asked.gaussians, asked.side, device)
        works[name]()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(asked.repeats):
        for name, work in works.items():
            times[name].append(seconds(work))
    row: dict[str, Any] = {
        "cell": "speed",
        "gaussians": asked.gaussians,
        "side": asked.side,
        "threads": asked.threads,
        "repeats": asked.repeats,
        "machine": machine_class(),
        "torch": torch.__version__,
    }
    print(f"{machine_class()}, {asked.threads} thread(s), torch {torch.__version__}")
    for name, values in times.items():
        row[name] = summary(values, times.get("torch"))
        print(f"{name}: {row[name]}")
    parts = profile(asked.gaussians, asked.side, asked.repeats)
    row["profile_ms"] = {name: round(value, 3) for name, value in parts.items()}
    print("profile, ms of CPU:", row["profile_ms"])
    flops, exponentials = machine_peak()
    for name, per_pair in (("blend", FORWARD_FLOPS), ("blend_backward", BACKWARD_FLOPS)):
        reached = per_pair * parts["pairs"] / parts[name] / 1e6
        exps = parts["pairs"] / parts[name] / 1e6
        row[f"{name}_limit"] = {
            "gflops": round(reached, 2),
            "peak_gflops": round(flops, 2),
            "share": round(reached / flops, 3),
            "gexp": round(exps, 3),
            "numpy_gexp": round(exponentials, 3),
        }
        print(f"{name}: {row[f'{name}_limit']}")
    row["second_process"] = {name: round(value, 2) for name, value in second_process().items()}
    print("second process:", row["second_process"])
    if asked.row:
        with asked.row.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
