"""colour-histogram: which colours lie where in a picture, and which way its edges run.

The picture is squashed to 64 x 64 pixels and cut into a 2 x 2 grid. Each cell gives 8 x 12 colour bins (8 hues; 3
saturations times 4 values) and 8 gradient directions: 4 x (96 + 8) = 416 values.

    colours   square roots of the bins' shares of pixels (Hellinger), so that small accents count
    gradients square roots of the mean gradient length in each direction, relative to the step from black to white

Fitted are two numbers: each of the two parts is divided by its total standard deviation over the fitted items, so that
neither drowns the other in a distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from sensorium.core import config as core_config
from sensorium.core.errors import DataError
from sensorium.core.files import read_npy, write_npy
from sensorium.encoders.base import EncoderCard, Vectors
from sensorium.media.images import read_image

SIDE, GRID = 64, 2
HUES, SATURATIONS, VALUES, DIRECTIONS = 8, 3, 4, 8
COLOURS = HUES * SATURATIONS * VALUES  # of one cell: 96
WIDTH = GRID * GRID * (COLOURS + DIRECTIONS)  # 416
SATURATION_EDGES = (43, 128)  # of 255: pale below a sixth, strong from a half


class ColourHistogram:
    """An image encoder without weights: colours and edge directions on a 2 x 2 grid."""

    Config = core_config.NoOptions

    card = EncoderCard(
        name="colour-histogram",
        family="fitted",
        modality="image",
        pooled_dim=WIDTH,
        preprocessing="upright RGB, alpha on white, squashed to 64 x 64 pixels with antialiasing",
        prep_version=1,
    )

    def __init__(self, config: core_config.NoOptions | None = None) -> None:
        self.config = config or self.Config()
        self.scale = np.ones(2)  # what colours, and what gradients, are multiplied by

    def prepare(self, raw: bytes) -> npt.NDArray[np.float32]:
        """Decode a picture and measure it: float32 [416], the colours of all cells first.

        Raises:
            MediaError: The picture cannot be used.
        """
        return describe(read_image(raw))

    def fit(self, prepared: Sequence[npt.NDArray[np.float32]]) -> None:
        """Learn the two scales."""
        parts = _split(np.stack(prepared).astype(np.float64))
        spread = np.array([np.sqrt(part.var(0).sum()) for part in parts])
        self.scale = np.where(spread > 1e-9, 1 / np.maximum(spread, 1e-9), 1.0)  # one picture has no spread

    def forward(self, prepared: Sequence[npt.NDArray[np.float32]]) -> Vectors:
        """Return the vectors, float32 [n, 416]; none is zero."""
        parts = _split(np.stack(prepared).astype(np.float64))
        return np.concatenate([part * scale for part, scale in zip(parts, self.scale, strict=True)], 1).astype(
            np.float32
        )

    def save(self, folder: Path) -> None:
        """Write scale.npy."""
        write_npy(folder / "scale.npy", self.scale)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.scale = read_npy(folder / "scale.npy")
        if self.scale.shape != (2,):
            raise DataError(f"{folder / 'scale.npy'} does not hold the two scales of colour-histogram; encode again")


def describe(image: Image.Image) -> npt.NDArray[np.float32]:
    """Return the 416 values of an RGB picture before scaling: float32 [416]."""
    small = image.resize((SIDE, SIDE), Image.Resampling.BOX if min(image.size) >= SIDE else Image.Resampling.BICUBIC)
    hue, saturation, value = np.moveaxis(np.asarray(small.convert("HSV")).astype(np.int64), -1, 0)
    bins = hue * HUES // 256 * SATURATIONS + np.digitize(saturation, SATURATION_EDGES)
    bins = bins * VALUES + value * VALUES // 256
    half = np.arange(SIDE) * GRID // SIDE
    cell = half[:, None] * GRID + half
    cell_pixels = (SIDE // GRID) ** 2
    colours = np.bincount((cell * COLOURS + bins).ravel(), minlength=GRID * GRID * COLOURS) / cell_pixels

    down, right = np.gradient(np.asarray(small.convert("L")).astype(np.float64) / 255)
    turn = np.floor((np.arctan2(down, right) / (2 * np.pi) % 1) * DIRECTIONS + 0.5).astype(np.int64) % DIRECTIONS
    length = np.hypot(down, right).ravel()
    gradients = np.bincount((cell * DIRECTIONS + turn).ravel(), length, GRID * GRID * DIRECTIONS) / cell_pixels
    values: npt.NDArray[np.float64] = np.sqrt(np.concatenate([colours, gradients]))
    return values.astype(np.float32)


def _split(table: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the colours and the gradients of a table [n, 416]."""
    return table[:, : GRID * GRID * COLOURS], table[:, GRID * GRID * COLOURS :]
