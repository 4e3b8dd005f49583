"""Tokens: item ids moved up by one, so that token 0 is free for padding. The shift is made here and nowhere else
(docs/architecture.md, "Ideas").

Tokens exist only where padded sequences do, in sequential models and item towers; every file and every public array
holds item ids.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

PADDING = 0
"""The token that stands for no item."""

Ids = TypeVar("Ids", Tensor, npt.NDArray[np.integer[Any]])


def to_tokens(items: Ids) -> Ids:
    """Return the tokens 1..I of item ids 0..I-1, any shape, whole numbers of any width."""
    return items + 1


def from_tokens(tokens: Ids) -> Ids:
    """Return the item ids of tokens; padding becomes -1, which is no item."""
    return tokens - 1
