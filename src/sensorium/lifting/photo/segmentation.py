"""Which pixels of a photo show the object: a segmenter's weights where there are some, else GrabCut.

u2netp    U^2-Net, small (Qin et al., 2020), weights out of a package (`encoders.packaged.tools`)
onnx      U^2-Net or ISNet (Qin et al., 2022) as an ONNX file of one's own
grabcut   colours inside and outside of a rectangle (Rother et al., 2004), by OpenCV: no weights
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from sensorium.core.errors import DataError, require
from sensorium.encoders.packaged.tools import is_installed, tool_files
from sensorium.lifting.mesh import Floats
from sensorium.media.images import read_image

logger = logging.getLogger(__name__)

Segmenter = Literal["auto", "u2netp", "onnx", "grabcut"]

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ISNET_SIDE = 1024  # networks with this input are ISNets, which take other means
BORDER = 0.05  # of the sides, that GrabCut takes for background
ROUNDS = 5  # of GrabCut
GRABCUT_SIDE = 512  # longer side at which it works


def segment(rgb: Floats, segmenter: Segmenter = "auto", *, weights: str | Path | None = None) -> tuple[Floats, str]:
    """Return the coverage of the object in a photo, float32 [H, W] in [0, 1], and which segmenter found it.

    Args:
        rgb: float32 [H, W, 3] in [0, 1].
        segmenter: Which; auto takes `onnx` where weights are named, else u2netp where it is installed, else grabcut.
        weights: The ONNX file of `onnx`.

    Raises:
        DataError: There is none here, or the weights are missing.
        MissingExtraError: The named one needs a package.
    """
    chosen = _automatic(weights) if segmenter == "auto" else segmenter
    if chosen == "grabcut":
        return _grabcut(rgb), chosen
    if chosen == "onnx":
        if weights is None:
            raise DataError("the segmenter 'onnx' needs the file of its weights")
        if not Path(weights).is_file():
            raise DataError(f"{weights} does not exist: it should hold a segmenter as ONNX")
        return _network(rgb, Path(weights)), chosen
    return _network(rgb, tool_files("u2netp")[0]), chosen


def read_mask(path: str | Path, height: int, width: int) -> Floats:
    """Read a mask, white where the object is, and bring it to the size of its photo; float32 [H, W] in [0, 1].

    Raises:
        DataError: Its sides have another ratio than the photo's.
        MediaError: It cannot be read.
    """
    picture = read_image(path).convert("L")
    if abs(picture.width / picture.height - width / height) > 0.02 * width / height:
        raise DataError(
            f"{path} is {picture.width} x {picture.height} pixels, the photo {width} x {height}: a mask has its shape"
        )
    return _resized(np.asarray(picture, dtype=np.float32) / np.float32(255), height, width)


def _automatic(weights: str | Path | None) -> Segmenter:
    if weights is not None:
        return "onnx"
    if find_spec("onnxruntime") and is_installed("u2netp"):
        return "u2netp"
    if find_spec("cv2"):
        logger.info("no segmenter's weights are installed: GrabCut cuts the object out by its colours alone")
        return "grabcut"
    raise DataError(
        "the photo has no transparency and there is nothing here to cut the object out: pip install "
        "'sensorium[lift]', or give a PNG with transparency, or a mask"
    )


def _network(rgb: Floats, path: Path) -> Floats:
    """Run a saliency network of the U^2-Net family."""
    onnxruntime: Any = require("onnxruntime", extra="lift", purpose="cutting the object out")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        entry = session.get_inputs()[0]
        side = int(entry.shape[2])
    except Exception as error:  # noqa: BLE001 - onnxruntime raises classes of its own for whatever is wrong with a file
        raise DataError(f"{path} is no segmenter: {' '.join(str(error).split())[:200]}") from None
    mean, spread = ((0.5,) * 3, (1.0,) * 3) if side == ISNET_SIDE else IMAGENET
    small = np.stack([_resized(rgb[..., channel], side, side) for channel in range(3)])  # [3, side, side]
    scaled = small / max(float(small.max()), 1e-6)
    normal = (scaled - np.reshape(mean, (3, 1, 1))) / np.reshape(spread, (3, 1, 1))
    found = np.asarray(session.run(None, {entry.name: normal[None].astype(np.float32)})[0], dtype=np.float32)
    found = found.reshape(-1, *found.shape[-2:])[0]
    low, high = float(found.min()), float(found.max())
    if not high - low > 1e-6:
        raise DataError(f"{path.name} sees no object in the photo: give a mask, or a PNG with transparency")
    return _resized((found - low) / (high - low), *rgb.shape[:2])


def _grabcut(rgb: Floats) -> Floats:
    cv2: Any = require("cv2", extra="lift", purpose="cutting the object out", instead="give a PNG with transparency")
    height, width = rgb.shape[:2]
    scale = min(1.0, GRABCUT_SIDE / max(height, width))
    small_height, small_width = max(8, round(height * scale)), max(8, round(width * scale))
    small = np.stack([_resized(rgb[..., channel], small_height, small_width) for channel in range(3)], 2)
    pixels = np.ascontiguousarray(np.rint(small[..., ::-1] * 255).astype(np.uint8))
    edge_x, edge_y = max(1, round(BORDER * small_width)), max(1, round(BORDER * small_height))
    rectangle = (edge_x, edge_y, small_width - 2 * edge_x, small_height - 2 * edge_y)
    labels = np.zeros((small_height, small_width), dtype=np.uint8)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(pixels, labels, rectangle, background, foreground, ROUNDS, cv2.GC_INIT_WITH_RECT)
    except cv2.error:  # one colour everywhere: its models of colours have nothing to tell apart
        raise DataError("GrabCut finds no object in the photo: give a mask, or a PNG with transparency") from None
    inside = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return _resized(inside.astype(np.float32), height, width)


def _resized(values: Floats, height: int, width: int) -> Floats:
    """Resize one channel of floats, averaging where it shrinks; a filter that rings would make haze."""
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
    return resized.clip(0, 1)
