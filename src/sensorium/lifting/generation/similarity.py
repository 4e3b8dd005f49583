"""How much an asset looks like its photo from all around, in the eyes of an encoder: dino_sim and clip_sim.

    sim = mean over 8 azimuths k of cos(e(photo on white), e(view k on white))

The measure of DreamGaussian's evaluation (Tang et al., ICLR 2024, by its program `kiui.cli.clip_sim`), with its camera:
elevation 0, radius 3, vertical field of view 50 degrees, 800 x 800 pixels, the mesh centred and scaled so that its
longest extent is 1.8. The value depends on that scale, so it is recorded.

    dino_sim    `dinov2s-focus`: a DINOv2-derived ViT-S/14 that was fine-tuned for saliency; neither CLIP nor DINOv2-S
    clip_sim    the projected picture vector of a CLIP

The two never share a column, and values of two CLIPs are not comparable: the encoder and the hash of its weights stand
beside each value. Where weights are not on this machine the column is left out, with the reason; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from sensorium.core import registry
from sensorium.core.config import Config
from sensorium.core.errors import DataError, SensoriumError
from sensorium.encoders.packaged.base import load_pretrained
from sensorium.encoders.protocol import FoundationEncoder, Prepared
from sensorium.lifting.camera import Camera, orbit
from sensorium.lifting.files.pictures import to_image
from sensorium.lifting.mesh import Floats, TexturedMesh
from sensorium.lifting.meshrender import render_mesh
from sensorium.lifting.photo.cutout import on_background
from sensorium.lifting.views import ring
from sensorium.media.images import encode_image

ENCODERS = "sensorium.encoders"
DINO, CLIP = "dinov2s-focus", "clip-b32"
COLUMNS = {"dino_sim": DINO, "clip_sim": CLIP}

VIEWS, ELEVATION, RADIUS, FOVY, SIDE, EXTENT = 8, 0.0, 3.0, 50.0, 800, 1.8


class SimilarityConfig(Config):
    """Which encoders compare the asset with its photo."""

    dino: str = Field("auto", description="dino_sim by dinov2s-focus: auto, where its weights are installed; none; or "
                      "a folder of its converted files")  # fmt: skip
    clip: str = Field("auto", description="clip_sim by CLIP: auto, where openai/clip-vit-base-patch32 lies in the "
                      "Hub's cache; none; or the folder of another CLIP as transformers writes it")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Embedder:
    """Pictures to vectors.

    Attributes:
        name: Of the encoder, or of the folder that holds it.
        sha256: Of its weights.
        vectors: RGB pictures to float32 [n, P]; loads the network when it is first asked.
    """

    name: str
    sha256: str
    vectors: Callable[[Sequence[Image.Image]], Tensor]


@dataclass(frozen=True, eq=False)
class Embedders:
    """Who compares.

    Attributes:
        found: By column, `dino_sim` and `clip_sim`.
        absent: By column, why it is left out.
    """

    found: dict[str, Embedder]
    absent: dict[str, str]


def embedders(config: SimilarityConfig | None = None) -> Embedders:
    """Find the encoders; no network is built yet, nothing is downloaded.

    Args:
        config: Which.

    Raises:
        DataError: A folder that was named holds no such encoder.
        MissingExtraError: It needs a package that is not installed.
    """
    config = config or SimilarityConfig()
    found: dict[str, Embedder] = {}
    absent: dict[str, str] = {}
    for column, choice in (("dino_sim", config.dino), ("clip_sim", config.clip)):
        if choice == "none":
            absent[column] = "not asked for"
            continue
        make = _dino if column == "dino_sim" else _clip
        if choice != "auto":
            found[column] = make(str(Path(choice).expanduser()))
            continue
        encoder = registry.get(ENCODERS, COLUMNS[column])
        card = encoder.describe(encoder.Config())
        if not card.runs_now:
            absent[column] = f"{COLUMNS[column]}: {card.why_not}"
            continue
        try:
            found[column] = make("auto")
        except SensoriumError as error:  # they are there and cannot be used: a lift does not fail for that
            absent[column] = f"{COLUMNS[column]}: {error}"
    return Embedders(found, absent)


def similarity(mesh: TexturedMesh, photo: Tensor, chosen: Embedders) -> dict[str, Any]:
    """Return how much a mesh looks like its photo; see the module.

    Args:
        mesh: In any units.
        photo: Premultiplied RGBA, float32 [4, s, s] in [0, 1].
        chosen: Who compares.

    Returns:
        `dino_sim` and `clip_sim` in [-1, 1], as far as there are encoders; `encoders`, name and SHA-256 by column;
        `absent`, the reason by column; `camera`; `extent`, the mesh's longest side in its own units; `scale`, 1.8 over
        it. Without any encoder nothing is drawn: `absent` alone.

    Raises:
        DataError: The mesh has no face, or no extent.
    """
    if not chosen.found:
        return {"absent": chosen.absent}
    cameras, extent = around(mesh)
    pictures = [to_image(_first(on_background(photo.cpu())))]
    with torch.no_grad():
        pictures += [to_image(render_mesh(mesh, camera).rgb.clamp(0, 1).numpy()) for camera in cameras]
    values = {}
    for column, embedder in chosen.found.items():
        vectors = torch.nn.functional.normalize(embedder.vectors(pictures).double(), dim=1)
        values[column] = float((vectors[1:] @ vectors[0]).mean())
    return {
        **values,
        "encoders": {column: {"name": one.name, "sha256": one.sha256} for column, one in chosen.found.items()},
        "absent": chosen.absent,
        "camera": {"azimuths": VIEWS, "elevation": ELEVATION, "radius": RADIUS, "fovy_deg": FOVY, "side": SIDE},
        "extent": extent,
        "scale": EXTENT / extent,
    }


def around(mesh: TexturedMesh) -> tuple[list[Camera], float]:
    """Return the eight cameras, and the mesh's longest extent in its own units.

    The cameras stand 3 * extent / 1.8 from the middle of the mesh's box in place of the mesh being scaled: the
    pictures are the same.

    Raises:
        DataError: The mesh has no face, or no extent.
    """
    points: Floats = mesh.v[np.unique(mesh.f)]
    if not len(points):
        raise DataError("a mesh without faces cannot be compared with its photo")
    low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
    extent = float((high - low).max())
    if not extent > 0:
        raise DataError("a mesh that is one point cannot be compared with its photo")
    scale = EXTENT / extent
    cameras = [
        orbit(
            ELEVATION,
            azimuth,
            RADIUS / scale,
            target=(low + high) / 2,
            fovy_deg=FOVY,
            height=SIDE,
            width=SIDE,
            near=0.2 / scale,
            far=100 / scale,
        )
        for azimuth in ring(VIEWS)
    ]
    return cameras, extent


# --- encoders -------------------------------------------------------------------------------------------------------


def _dino(choice: str) -> Embedder:
    made = registry.get(ENCODERS, DINO)
    encoder: FoundationEncoder = made(made.Config(weights=choice))

    def vectors(pictures: Sequence[Image.Image]) -> Tensor:
        encoder.load()
        with torch.no_grad():
            return encoder.forward(encoder.collate(_prepared(encoder, pictures)))[1]

    return Embedder(DINO, encoder.weights_hash, vectors)


def _clip(choice: str) -> Embedder:
    made = registry.get(ENCODERS, CLIP)
    encoder: Any = made(made.Config(weights=choice))
    if encoder.family.cls != "CLIPVisionModel":
        raise DataError(f"{choice} holds no CLIP, but weights for {encoder.family.cls}: clip_sim needs a CLIP")
    loaded: list[Any] = []

    def vectors(pictures: Sequence[Image.Image]) -> Tensor:
        if not loaded:
            loaded.append(load_pretrained(encoder.found.folder, "CLIPVisionModelWithProjection", part=True).eval())
        batch: Mapping[str, Tensor] = encoder.collate(_prepared(encoder, pictures))
        with torch.no_grad():
            found: Tensor = loaded[0](pixel_values=batch["pixels"]).image_embeds
        return found

    return Embedder(CLIP if choice == "auto" else Path(choice).name, encoder.weights_hash, vectors)


def _prepared(encoder: FoundationEncoder, pictures: Sequence[Image.Image]) -> list[Prepared]:
    return [encoder.preparer(encode_image(picture, "PNG")) for picture in pictures]


def _first(rgb: Tensor) -> Floats:
    """A picture [3, s, s] as [s, s, 3] within [0, 1]."""
    return np.ascontiguousarray(rgb.clamp(0, 1).movedim(0, -1).numpy(), dtype=np.float32)
