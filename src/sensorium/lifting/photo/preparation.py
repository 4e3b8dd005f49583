"""A photo becomes a reference: opened, cut out, enlarged where it is small."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import Tensor

from sensorium.core.config import Config
from sensorium.lifting.photo.cutout import Cutout, cut_out
from sensorium.lifting.photo.enlarging import NCNN_MODELS, Enlarger, enlarge
from sensorium.lifting.photo.opening import Array, open_photo
from sensorium.lifting.photo.segmentation import Segmenter, read_mask, segment

logger = logging.getLogger(__name__)


class PhotoConfig(Config):
    """How a photo becomes a cut-out."""

    mask: str | None = Field(None, description="file of a mask, white where the object is; none: transparency, or the "
                             "segmenter")  # fmt: skip
    segmenter: Segmenter = Field("auto", description="who cuts the object out: auto, u2netp, onnx or grabcut")
    segmenter_weights: str | None = Field(None, description="file of the segmenter 'onnx'")
    enlarger: Enlarger = Field("auto", description="super-resolution of small photos: auto, onnx, ncnn, spandrel, "
                               "lanczos or none")  # fmt: skip
    enlarger_weights: str | None = Field(None, description="file of the enlargers 'onnx' and 'spandrel'")
    enlarger_model: str = Field(NCNN_MODELS[0], description=f"network of 'ncnn': {', '.join(NCNN_MODELS)}")


@dataclass(frozen=True, eq=False)
class Prepared:
    """An object as the optimisation wants it.

    Attributes:
        cutout: The object, alone.
        facts: How it was made: segmenter, enlarger, its guard's PSNR, sides in pixels.
        notes: What was noticed, one sentence each.
    """

    cutout: Cutout
    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def framed(self, side: int) -> Tensor:
        """Return it in the middle of a square, premultiplied, float32 [4, side, side]."""
        return self.cutout.framed(side)


def prepare_photo(source: str | Path | Array, config: PhotoConfig | None = None, *, side: int) -> Prepared:
    """Open a photo, cut its object out and enlarge it where it is small.

    Args:
        source: A picture file or an array, see `opening.open_photo`.
        config: How.
        side: Pixels of the frame that it is wanted for.

    Raises:
        MediaError: The file cannot be read.
        DataError: No object can be cut out of it, or what is needed for that is not here.
    """
    config = config or PhotoConfig()
    photo = open_photo(source)
    height, width = photo.rgb.shape[:2]
    if config.mask is not None:
        alpha, found_by = read_mask(config.mask, height, width), "mask"
    elif photo.alpha is not None:
        alpha, found_by = photo.alpha, "transparency"
    else:
        alpha, found_by = segment(photo.rgb, config.segmenter, weights=config.segmenter_weights)
    cutout = cut_out(photo.rgb, alpha, name=photo.name)
    large = enlarge(cutout, side, config.enlarger, weights=config.enlarger_weights, model=config.enlarger_model)
    for note in photo.notes:
        logger.info("%s: %s", photo.name, note)
    facts = {
        "pixels": [width, height],
        "cut_out_by": found_by,
        "object_side": cutout.side,
        "enlarged_by": large.enlarger,
        "enlarged_side": large.cutout.side,
        "enlarged_psnr": large.psnr,
    }
    return Prepared(large.cutout, facts, [*photo.notes, *large.notes])
