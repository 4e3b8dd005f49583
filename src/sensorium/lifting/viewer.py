"""A page that shows an object in a browser, from disk: it can be turned, and nothing is loaded from anywhere.

The object travels inside the page. A mesh is drawn with its texture; of a cloud up to 200,000 Gaussians are drawn,
sorted by depth, in the colours that they have from every side. Below lies a picture of the same view, which stays where
a browser has no WebGL 2 or runs no scripts.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from sensorium.core.pages import picture as inline_picture
from sensorium.core.pages import write_page
from sensorium.lifting.camera import FOVY
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.files.pictures import to_png
from sensorium.lifting.mesh import TexturedMesh
from sensorium.lifting.turntable import gif_bytes, picture, turn
from sensorium.lifting.views import SLACK, Asset, Frame, frame, ring

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_SPLATS = 200_000
STILL, PREVIEW, PREVIEWS = 512, 192, 8  # pixels of the still, pixels and number of the previews
FILM_FRAMES, FILM_SIZE = 36, 256
GAIN = 256.0  # covariances of a unit sphere times this lie well inside half precision
ROW = 1024  # Gaussians in one row of the texture that holds them


@dataclass(frozen=True)
class Stage:
    """An object as a page holds it; `lifting/templates/parts.html` shows it.

    Attributes:
        still: A picture of it.
        description: What it shows, for those who cannot see it.
        about: Kind, first camera and counts, as JSON.
        data: Base64 of its arrays, by name.
        is_mesh: Whether it has a surface.
    """

    still: Markup
    description: str
    about: str
    data: dict[str, str]
    is_mesh: bool


def write_viewer(
    path: str | Path,
    asset: Asset,
    *,
    title: str,
    lead: str = "",
    elevation: float = -15.0,
    film: bool = True,
    facts: Sequence[tuple[str, str]] = (),
    notices: Sequence[str] = (),
) -> None:
    """Write the page of an object.

    Args:
        path: The file.
        asset: A cloud or a textured mesh.
        title: Of the page.
        lead: A line under the title.
        elevation: Of the first view and of the previews, degrees; negative is above.
        film: Whether to show a turn of it as a GIF too.
        facts: Names and values, beside the counts of the object.
        notices: Lines that a reader should know.
    """
    around = frame(asset)
    stills = [
        (round(azimuth), _inline(picture(asset, elevation, azimuth, size=PREVIEW, around=around), azimuth))
        for azimuth in ring(PREVIEWS)
    ]
    said = list(notices)
    if isinstance(asset, GaussianCloud):
        if len(asset) > MOST_SPLATS:
            said.append(
                f"The picture that turns shows the {MOST_SPLATS:,} Gaussians that cover most of {len(asset):,}."
            )
        if asset.sh_degree:
            said.append("The picture that turns leaves out how colours change with the side they are seen from.")
    write_page(
        path,
        title,
        "lifting/templates/viewer.html",
        lead=lead or _lead(asset),
        stage=stage(asset, elevation=elevation),
        facts=[*_counts(asset), *facts],
        notices=said,
        film=_film(asset, elevation) if film else None,
        stills=stills,
    )


def stage(asset: Asset, *, elevation: float = -15.0, azimuth: float = 0.0) -> Stage:
    """Return an object for a page, seen first from an elevation and an azimuth in degrees."""
    around = frame(asset)
    about: dict[str, Any] = {
        "elevation": elevation,
        "azimuth": azimuth,
        "distance": SLACK / math.sin(math.radians(FOVY) / 2),
        "fovy": FOVY,
    }
    if isinstance(asset, GaussianCloud):
        count, packed = _packed(asset, around)
        about |= {"kind": "cloud", "count": count, "gain": GAIN}
        data = {"gaussians": _base64(packed.tobytes())}
    else:
        about["kind"] = "mesh"
        data = _arrays(asset, around)
    pixels = picture(asset, elevation, azimuth, size=STILL, around=around)
    description = f"{_lead(asset)}, seen from elevation {elevation:g} and azimuth {azimuth:g} degrees"
    still = inline_picture(Image.fromarray(pixels), description=description)
    return Stage(still, description, json.dumps(about), data, isinstance(asset, TexturedMesh))


def _arrays(mesh: TexturedMesh, around: Frame) -> dict[str, str]:
    """A mesh in the unit sphere, little-endian."""
    positions = (mesh.v - np.array(around.target)) / around.radius
    return {
        "positions": _base64(positions.astype("<f4").tobytes()),
        "normals": _base64(mesh.vn.astype("<f4").tobytes()),
        "places": _base64(mesh.vt.astype("<f4").tobytes()),
        "faces": _base64(mesh.f.astype("<u4").tobytes()),
        "albedo": f"data:image/png;base64,{_base64(to_png(mesh.albedo))}",
    }


def _packed(cloud: GaussianCloud, around: Frame) -> tuple[int, npt.NDArray[np.uint32]]:
    """How many Gaussians are drawn, and their numbers in the unit sphere: uint32 [rows * 1024, 8], padded with zeros.

    Three float32 of the mean, four bytes of colour and opacity, six float16 of the covariance times `GAIN`, one unused.
    """
    cloud = cloud.detach().to("cpu").to(torch.float32)
    if len(cloud) > MOST_SPLATS:
        covered = cloud.opacities * cloud.scales.sort(1).values[:, 1:].prod(1)  # as seen from its widest side
        cloud = cloud[covered.topk(MOST_SPLATS).indices.sort().values]
    count = len(cloud)
    packed = np.zeros((-(-count // ROW) * ROW, 8), dtype="<u4")
    means = (cloud.means.double().numpy() - np.array(around.target)) / around.radius
    packed[:count, :3] = means.astype("<f4").view("<u4")
    shade = torch.cat([cloud.colours.clamp(0, 1), cloud.opacities[:, None]], 1).numpy()
    packed[:count, 3] = np.rint(shade * 255).astype("u1").view("<u4")[:, 0]
    axes = (cloud.rotations * cloud.scales[:, None]).double().numpy() / around.radius
    covariance = np.einsum("nik,njk->nij", axes, axes)[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]] * GAIN
    largest = float(np.finfo(np.float16).max)
    halves = np.ascontiguousarray(covariance.clip(-largest, largest).astype("<f2"))
    packed[:count, 4:7] = halves.view("<u4")
    return count, packed


def _lead(asset: Asset) -> str:
    if isinstance(asset, GaussianCloud):
        return f"A cloud of {len(asset):,} Gaussians"
    return (
        f"A mesh of {len(asset.f):,} faces with a texture of {asset.albedo.shape[1]} x {asset.albedo.shape[0]} texels"
    )


def _counts(asset: Asset) -> list[tuple[str, str]]:
    if isinstance(asset, GaussianCloud):
        return [("Gaussians", f"{len(asset):,}"), ("harmonics", f"degree {asset.sh_degree}")]
    return [
        ("faces", f"{len(asset.f):,}"),
        ("vertices", f"{len(asset.v):,}"),
        ("texture", f"{asset.albedo.shape[1]} x {asset.albedo.shape[0]}"),
    ]


def _inline(pixels: npt.NDArray[np.uint8], azimuth: float) -> Markup:
    return inline_picture(Image.fromarray(pixels), description=f"the object from azimuth {azimuth:g} degrees")


def _film(asset: Asset, elevation: float) -> Markup:
    from markupsafe import Markup

    content = gif_bytes(list(turn(asset, frames=FILM_FRAMES, size=FILM_SIZE, elevation=elevation)))
    return Markup('<p><img src="data:image/gif;base64,{}" alt="one turn of the object" width="{}"></p>').format(
        _base64(content), FILM_SIZE
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
