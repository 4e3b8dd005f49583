"""Rasterisers: one protocol, a reference in PyTorch, a fast one for CPUs and two for CUDA.

    from sensorium.lifting.rasterisers import render
    picture = render(cloud, camera, bg=(1, 1, 1)).rgb

`base.py` says what a back end is and how all of them blend, `selection.py` which one draws.
"""

from sensorium.lifting.rasterisers.base import BLACK, GROUP, WHITE, RasterBackend, RenderOut
from sensorium.lifting.rasterisers.selection import Refused, availability, render, select

__all__ = [
    "BLACK",
    "GROUP",
    "WHITE",
    "RasterBackend",
    "Refused",
    "RenderOut",
    "availability",
    "render",
    "select",
]
