"""Seconds from a cloud to a textured mesh, by step, at the size of the preset `cpu`.

    OMP_NUM_THREADS=2 python benchmarks/meshing.py                 # 20,000 Gaussians, 128^3 samples, 1,024^2 texels
    OMP_NUM_THREADS=1 python benchmarks/meshing.py --gaussians 5000 --rounds 3

The cloud is a lumpy ball of surface splats with a coloured pattern. Everything is compiled by a small mesh first.
Beside the block-wise density stands the dense sum on a sample of its grid points, scaled to all of them. Wall time and
CPU time of the process are printed: where other programs share the cores, only the second says what the code costs.
"""

import argparse
import platform
import time

import numpy as np
import torch

from sensorium.lifting.cloud import GaussianCloud, from_points
from sensorium.lifting.density import dense_sum, density
from sensorium.lifting.meshing import MeshConfig, make_mesh

SAMPLED = 2_000  # grid points of the dense sum


def lumpy_ball(count: int) -> GaussianCloud:
    height = 1 - (2 * np.arange(count) + 1) / count
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    across = np.sqrt(1 - height**2)
    points = np.stack([across * np.cos(turn), height, across * np.sin(turn)], 1)
    bumps = 1 + 0.15 * np.sin(5 * turn)[:, None] * across[:, None] ** 2 * np.sin(6 * height)[:, None]
    colours = 0.5 + 0.5 * np.sin(12 * points + np.array([0, 2, 4]))
    made = from_points((0.4 * bumps * points).astype(np.float32), colours, opacity=0.8)
    width = 0.4 * np.sqrt(4 * np.pi / count) * 0.6
    scales = torch.full_like(made.log_scales, float(np.log(width)))
    return GaussianCloud(made.means, scales, made.quats, made.opacity_logit, made.sh_dc)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gaussians", type=int, default=20_000)
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--texture", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    make_mesh(lumpy_ball(400), MeshConfig(resolution=24, max_faces=500, texture=64, view_size=32))  # compiles

    cloud = lumpy_ball(arguments.gaussians)
    config = MeshConfig(resolution=arguments.resolution, texture=arguments.texture)
    for _ in range(arguments.rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        made = make_mesh(cloud, config)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        found = made.measures
        print(f"\n{len(cloud):,} Gaussians -> {found.faces:,} faces at density {made.level:g}, ", end="")
        print(f"watertight {found.watertight}, outlines {found.silhouette_iou:.3f}: {wall:.1f} s wall, {cpu:.1f} s CPU")
        for step, seconds in made.seconds.items():
            print(f"  {step:28}{seconds:8.2f} s")

    start = time.process_time()
    field = density(cloud, arguments.resolution)
    blocks = time.process_time() - start
    axis = np.linspace(-1, 1, arguments.resolution)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    chosen = np.random.default_rng(0).choice(len(grid), SAMPLED, replace=False)
    start = time.process_time()
    dense = dense_sum(cloud, field.to_world(grid[chosen]))
    whole = (time.process_time() - start) * len(grid) / SAMPLED
    error = np.abs(dense - field.values.ravel()[chosen]).max() / field.highest
    print(f"\ndensity: {blocks:.2f} s CPU by blocks, about {whole:,.0f} s for the dense sum, ", end="")
    print(f"largest difference {error:.1%} of the highest")


if __name__ == "__main__":
    main()
