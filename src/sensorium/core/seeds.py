"""Every random draw of the project comes from here: a seed and the keys that say what the draw is for.

Two draws with different keys are independent, the same keys give the same numbers on every platform, and no draw
depends on how many others were made before it. That is what makes an interrupted run resume to the same numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch


def derive(seed: int, *keys: int | str) -> int:
    """Return a 63-bit seed for one purpose: BLAKE2b of the seed and the keys, each with its type."""
    hasher = hashlib.blake2b(digest_size=8)
    for key in (seed, *keys):
        text = f"i{key}" if isinstance(key, int) else f"s{key}"
        hasher.update(len(text).to_bytes(4, "little") + text.encode())
    return int.from_bytes(hasher.digest(), "little") >> 1


def numpy_generator(seed: int, *keys: int | str) -> np.random.Generator:
    """Return a NumPy generator (PCG64) for one purpose."""
    return np.random.Generator(np.random.PCG64(derive(seed, *keys)))


def torch_generator(seed: int, *keys: int | str) -> torch.Generator:
    """Return a CPU torch generator for one purpose."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *keys))


def catalogue_order(n_items: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the order in which equal scores are ranked: int64 [n_items], the place of each item, smaller wins.

    One permutation for all models of a comparison. It knows nothing about ids, which often follow popularity or
    appearance, so that a scorer that knows nothing gets chance (docs/protocol.md, "Ranking").
    """
    return numpy_generator(seed, "catalogue order", n_items).permutation(n_items).astype(np.int64)
