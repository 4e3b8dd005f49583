"""Clouds fitted to known views of objects whose other views are known too: held-out PSNR, one row a fit.

    OMP_NUM_THREADS=1 python benchmarks/splatting.py [--rows docs/results/rows/splatting.jsonl] [--only cube]
    python benchmarks/splatting.py --table     # fills the tables of docs/results/splatting.md

Generated scenes (`sensorium.testing.scenes`): 12 views of 64 x 64 pixels, 300 Gaussians to begin with, 200 steps. Crops
of the garden (`$SENSORIUM_DATA/image3d/gsplat_test_garden.npz`): a ball of the published points, each an opaque round
Gaussian as wide as its neighbours are away, turned upright and scaled to the default frame, is drawn from 24 views of
128 x 128 pixels; 2,000 grey Gaussians are fitted to these in 400 steps. Held out are 8 views from between. A fit that
has its row is not done again.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student

from sensorium.core.config import dump
from sensorium.core.files import digest, write_text
from sensorium.core.home import shared_data
from sensorium.core.rundir import machine_class
from sensorium.lifting.camera import orbit
from sensorium.lifting.cloud import from_points
from sensorium.lifting.fitting import FitConfig, View, fit
from sensorium.lifting.optimisation import DensityConfig, OptimisationConfig, RatesConfig
from sensorium.lifting.rasterisers import WHITE, render, select
from sensorium.testing.scenes import SCENES, photographs

ROWS = Path(__file__).parents[1] / "docs" / "results" / "rows" / "splatting.jsonl"
PAGE = ROWS.parents[1] / "splatting.md"
SEEDS = (0, 1, 2)
AROUND = [(elevation, azimuth) for elevation in (-30, 0, 25) for azimuth in (0, 90, 180, 270)]
BETWEEN = [(-15, 45), (10, 135), (-40, 225), (15, 315), (-25, 20), (5, 110), (-10, 200), (20, 290)]
CROPS = {"garden table": ((0.0, 0.0, 0.0), 0.5), "garden lawn": ((0.75, 0.45, -0.1), 0.5)}  # centre, radius

Views = tuple[list[View], list[View]]


def scene_views(name: str) -> Views:
    return photographs(name, AROUND, 64), photographs(name, BETWEEN, 64)


def garden_views(name: str) -> Views:
    folder = shared_data()
    if folder is None:
        raise SystemExit("the garden needs SENSORIUM_DATA; use --only to fit generated scenes")
    centre, radius = CROPS[name]
    with np.load(folder / "image3d" / "gsplat_test_garden.npz") as garden:
        points, colours = garden["means3d"] - np.array(centre, np.float32), garden["colors"] / 255.0
    inside = np.linalg.norm(points, axis=1) < radius
    upright = points[inside][:, [0, 2, 1]] * np.array([1, 1, -1], np.float32) * (0.65 / radius)
    cloud = from_points(upright, colours[inside], opacity=0.95)
    around = [(elevation, azimuth) for elevation in (-50, -25, 0) for azimuth in range(0, 360, 45)]
    between = [(-38, 22), (-38, 202), (-12, 67), (-12, 247), (-12, 157), (-38, 337), (-25, 112), (-5, 292)]

    def draw(directions: list[tuple[int, int]]) -> list[View]:
        views = []
        for elevation, azimuth in directions:
            camera = orbit(elevation, azimuth, height=128, width=128)
            with torch.no_grad():
                out = render(cloud, camera, bg=WHITE)
            views.append(View(camera, out.rgb.clamp(0, 1).numpy(), out.alpha.numpy()))
        return views

    return draw(around), draw(between)


def settings(name: str) -> FitConfig:
    density = DensityConfig(interval=50, start=50, max_points=3000)
    rates = RatesConfig(sh_dc=0.03)
    if name in CROPS:
        optimisation = OptimisationConfig(
            iterations=400, rates=rates, density=density.model_copy(update={"max_points": 12_000})
        )
        return FitConfig(points=2000, radius=0.6, views_per_step=1, optimisation=optimisation)
    return FitConfig(
        points=300,
        views_per_step=2,
        optimisation=OptimisationConfig(iterations=200, rates=rates, density=density),
    )


def one_row(name: str, seed: int, views: Views) -> dict[str, Any]:
    train, heldout = views
    config = settings(name)
    cpu, begun = time.process_time(), time.perf_counter()
    result = fit(train, config, heldout=heldout, seed=seed)
    return {
        "cell": f"fit {name}",
        "seed": seed,
        "config_hash": digest(dump(config)),
        "rasteriser": select().name,
        "begin_heldout_psnr": round(result.begin_heldout_psnr or 0, 3),
        "heldout_psnr": round(result.heldout_psnr or 0, 3),
        "train_psnr": round(result.train_psnr, 3),
        "points": len(result.cloud),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "wall_seconds": round(time.perf_counter() - begun, 1),
        "machine": machine_class(),
        "config": dump(config),
    }


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def fit_table(rows: list[dict[str, Any]]) -> str:
    """Means over seeds, plus or minus half the 95 % interval of that mean (Student's t)."""
    lines = [
        "| scene | before | held out | gain | fitted | Gaussians | CPU s | seeds |",
        "| --- " + "| ---: " * 7 + "|",
    ]
    for cell in dict.fromkeys(row["cell"] for row in rows if row["cell"].startswith("fit ")):
        mine = [row for row in rows if row["cell"] == cell]
        before, after = ([row[key] for row in mine] for key in ("begin_heldout_psnr", "heldout_psnr"))
        gain = [last - first for first, last in zip(before, after, strict=True)]
        spread = [interval(values) for values in (before, after, gain, [row["train_psnr"] for row in mine])]
        points, cpu = (f"{fmean(row[key] for row in mine):,.0f}" for key in ("points", "cpu_seconds"))
        lines.append(f"| {' | '.join([cell.removeprefix('fit '), *spread, points, cpu, str(len(mine))])} |")
    return "\n".join(lines)


def interval(values: list[float]) -> str:
    half = student.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{fmean(values):.2f} ± {half:.2f}"


def speed_table(rows: list[dict[str, Any]]) -> str:
    """What `benchmarks/rasterisers.py --row` measured: CPU milliseconds, and ratios of wall time."""
    lines = ["| Gaussians | side | torch, ms | numba, ms | ratio | lowest | highest |", "| ---: " * 7 + "|"]
    for row in rows:
        if row["cell"] == "speed":
            mine, reference = row["numba"], row["torch"]
            times = f"{reference['cpu_ms']:,.0f} | {mine['cpu_ms']:.0f}"
            ratios = f"{mine['ratio']} | {mine['ratio_range'][0]} | {mine['ratio_range'][1]}"
            lines.append(f"| {row['gaussians']:,} | {row['side']} | {times} | {ratios} |")
    return "\n".join(lines)


def profile_table(rows: list[dict[str, Any]]) -> str:
    """Where the time of the first speed row goes."""
    row = next(row for row in rows if row["cell"] == "speed")
    names = ("projection", "lists", "blend", "blend_backward", "gather", "projection_backward")
    lines = ["| part | CPU ms | Gflop/s | share of peak | G exp/s |", "| --- | ---: | ---: | ---: | ---: |"]
    for name in names:
        limit = row.get(f"{name}_limit")
        reached = f"{limit['gflops']:.1f} | {limit['share']:.0%} | {limit['gexp']:.2f}" if limit else " | | "
        lines.append(f"| {name.replace('_', ' ')} | {row['profile_ms'][name]:.1f} | {reached} |")
    peak = row["blend_limit"]
    lines.append(f"| *this core alone* | | {peak['peak_gflops']:.1f} | 100% | {peak['numpy_gexp']:.2f} |")
    return "\n".join(lines)


TABLES = {"fits": fit_table, "speed": speed_table, "profile": profile_table}


def filled(page: str, rows: list[dict[str, Any]]) -> str:
    """Return the results page with every table made anew from the rows."""
    block = re.compile(r"(<!-- splatting: (\w+) -->\n).*?(<!-- end of splatting -->)", flags=re.DOTALL)
    return block.sub(lambda found: f"{found[1]}{TABLES[found[2]](rows)}\n{found[3]}", page)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--only", action="append", choices=[*SCENES, *CROPS])
    parser.add_argument("--table", action="store_true", help="only fill the tables of the results page")
    asked = parser.parse_args()
    if not asked.table:
        select()  # compiles before anything is timed
        for name in asked.only or [*SCENES, *CROPS]:
            views = garden_views(name) if name in CROPS else scene_views(name)
            for seed in SEEDS:
                there = {(row["cell"], row.get("seed"), row.get("config_hash")) for row in read(asked.rows)}
                if (f"fit {name}", seed, digest(dump(settings(name)))) in there:
                    continue
                row = one_row(name, seed, views)
                with asked.rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print({key: value for key, value in row.items() if key != "config"}, flush=True)
    write_text(PAGE, filled(PAGE.read_text(encoding="utf-8"), read(asked.rows)))
    print(fit_table(read(asked.rows)))


if __name__ == "__main__":
    main()
