"""fp16 without overflow: each layer is divided by a power of two that its own first chunk asks for.

    m_k = max abs of layer k in the first chunk that has content
    scale_k = 1 if H m_k <= 6e4, else the smallest power of two >= H m_k / 6e4          (H: headroom, 8)

Division by a power of two is exact, so scaling costs no precision. A later value that is too large stops the work.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError

LIMIT = 6e4  # below the largest fp16, 65,504
HEADROOM = 8.0

Floats = npt.NDArray[np.float32]


def scale_for(largest: npt.NDArray[np.float64], headroom: float) -> Floats:
    """Return the powers of two for maxima [K]: float32 [K]."""
    needed = np.maximum(headroom * largest / LIMIT, 1.0)
    return np.exp2(np.ceil(np.log2(needed))).astype(np.float32)


def to_half(
    values: Floats, scale: Floats, *, what: str, layers: list[str], items: list[str]
) -> npt.NDArray[np.float16]:
    """Divide by the scale and round to fp16.

    Args:
        values: [n, K, ...], finite.
        scale: [K].
        what: "states" or "vector", for the message.
        layers: A name for each of the K.
        items: A name for each of the n.

    Raises:
        DataError: A value does not fit; the message names layer and item.
    """
    shape = (1, len(scale)) + (1,) * (values.ndim - 2)
    with np.errstate(over="ignore"):
        half = (values / scale.reshape(shape)).astype(np.float16)
    if np.isfinite(half).all():
        return half
    n, k = np.argwhere(~np.isfinite(half.reshape(len(half), len(scale), -1)).all(-1))[0].tolist()
    raise DataError(
        f"{what} of layer {layers[k]} of item {items[n]} reach {np.abs(values[n, k]).max():.3g}, more than the scale "
        f"{scale[k]:g} that the first items asked for can hold in fp16: encode again with --headroom 64"
    )
