"""Measure what perceptual distances say of correct views of an object: the unit of their thresholds.

    OMP_NUM_THREADS=1 python tools/measure_pyramid.py

For procedural objects of consecutive seeds, the reference is compared with views whose direction is so many degrees
away, both ways round at the reference's elevation; pictures lie on white. One line for each angle: the median of each
distance over objects and sides. `sensorium.encoders.lpips_pyramid.AT_FIFTY` is the line of 50 degrees.
"""

from __future__ import annotations

import argparse
import math

import torch

from sensorium.encoders.lpips import LPIPS
from sensorium.encoders.lpips_pyramid import Pyramid
from sensorium.lifting.photo.cutout import on_background
from sensorium.lifting.prior.objects import draw_object

OBJECTS, SIDE, ANGLE = 16, 128, 50.0


def azimuth_of(angle: float, elevation: float) -> float:
    """Return the azimuth, degrees, whose direction is `angle` degrees from azimuth 0 at the same elevation.

    cos(angle) = sin^2(e) + cos^2(e) cos(azimuth); where the circle of that elevation is too small, its far end.
    """
    rise = math.radians(elevation)
    wanted = (math.cos(math.radians(angle)) - math.sin(rise) ** 2) / math.cos(rise) ** 2
    return math.degrees(math.acos(max(-1.0, min(1.0, wanted))))


@torch.no_grad()
def values(distance: LPIPS, angle: float, objects: int = OBJECTS, side: int = SIDE) -> torch.Tensor:
    """Return the distance to both sides of each object, float32 [2 objects]."""
    found = []
    for seed in range(objects):
        made = draw_object(seed)
        turn = azimuth_of(angle, made.elevation)
        pixels = made.render([made.elevation] * 3, [0.0, turn, -turn], side)
        rgb = on_background(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
        found.append(distance(2 * rgb[1:] - 1, 2 * rgb[:1] - 1))
    return torch.cat(found)


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description="perceptual distances of correct views")
    parser.add_argument("--objects", type=int, default=OBJECTS)
    options = parser.parse_args()
    for angle in (5.0, 15.0, 30.0, ANGLE, 60.0, 90.0):
        told = [
            f"{net.net} {values(net, angle, options.objects).median().item():.4f}"
            for net in (Pyramid(), LPIPS.shipped())
        ]
        print(f"{angle:.0f} degrees: {', '.join(told)}")


if __name__ == "__main__":
    main()
