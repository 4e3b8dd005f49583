"""Which rasteriser draws: the one that was named, else that of `SENSORIUM_RASTER`, else the fastest that works here.

"Works" means that it has drawn two Gaussians in this process. The choice, and why each other one was not taken, is
logged once for each kind of device.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sensorium.core import registry
from sensorium.core.errors import ResourceError, SensoriumError, UnknownNameError
from sensorium.lifting.camera import Camera
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.rasterisers.base import BLACK, GROUP, Background, RasterBackend, RenderOut
from sensorium.lifting.rasterisers.torch_reference import TorchRasteriser

logger = logging.getLogger(__name__)

VARIABLE = "SENSORIUM_RASTER"
PREFERRED = {"cuda": ("gsplat", "gswarp", "torch"), "cpu": ("numba", "torch")}  # fastest first


@dataclass(frozen=True)
class Refused:
    """A back end that does not draw here, and why."""

    name: str
    reason: str


def render(
    cloud: GaussianCloud,
    camera: Camera,
    *,
    bg: Background = BLACK,
    backend: str | RasterBackend | None = None,
    sh_degree: int = 0,
    want: Sequence[str] = ("rgb", "alpha"),
) -> RenderOut:
    """Draw a cloud with the best back end for its device, or with a named one.

    Args:
        cloud: N >= 0 Gaussians.
        camera: Who looks.
        bg: Background colour.
        backend: A back end or its registered name; None selects, see `select`.
        sh_degree: Degree of spherical harmonics that is used.
        want: Of "rgb", "alpha" and "depth"; depth is None unless named.
    """
    chosen = select(backend, cloud.means.device.type) if backend is None or isinstance(backend, str) else backend
    return chosen.render(cloud, camera, bg=bg, sh_degree=sh_degree, want=want)


def select(name: str | None = None, device: str = "cpu") -> RasterBackend:
    """Return the back end that draws on a kind of device.

    Args:
        name: A registered name; None takes `SENSORIUM_RASTER` where it is set, else the fastest that works.
        device: "cpu" or "cuda".

    Raises:
        UnknownNameError: No back end of that name.
        ResourceError: The named one does not work here; the message says why.
    """
    asked = name or os.environ.get(VARIABLE)
    if not asked:
        return _automatic(device)
    chosen, reason = availability(asked, device)
    if chosen is None:
        by = "" if name else f" (named by {VARIABLE})"
        raise ResourceError(f"the rasteriser '{asked}'{by} does not draw on {device} here: {reason}")
    return chosen


@cache
def _automatic(device: str) -> RasterBackend:
    """Take the first of the preferred back ends that works; the plain one always does."""
    order = PREFERRED.get(device, ("torch",))
    chosen: RasterBackend | None = None
    refused = []
    for name in (*order, *(name for name in registry.names(GROUP) if name not in order)):
        if name not in order:
            refused.append(Refused(name, "it draws elsewhere, or only when it is named"))
        elif chosen is not None:
            refused.append(Refused(name, "it is slower"))
        else:
            chosen, reason = availability(name, device)
            refused += [] if chosen is not None else [Refused(name, reason)]
    chosen = chosen or TorchRasteriser()
    others = "; ".join(f"not {other.name}: {other.reason}" for other in refused)
    logger.info("rasteriser on %s: %s (%s)", device, chosen.name, others)
    return chosen


@cache
def availability(name: str, device: str = "cpu") -> tuple[RasterBackend | None, str]:
    """Try a back end once; return it, or None and the reason.

    Raises:
        UnknownNameError: No back end of that name.
    """
    try:
        backend_class = registry.get(GROUP, name)
    except UnknownNameError:
        raise
    except SensoriumError as error:  # it is registered, and its module cannot be imported
        return None, str(error)
    if device not in backend_class.device_types:
        return None, f"it draws on {', '.join(sorted(backend_class.device_types))}"
    works, reason = backend_class.available()
    return (backend_class(), "") if works else (None, reason)
