"""Whether the modalities of one item tell the same story about it.

Text and sound live in different spaces, so that agreement is relational: an item is described by its similarities to A
anchor items within each modality, and two modalities agree as far as these profiles correlate.

    r_i^m = (<z_i^m, z_a^m>) over the anchors a that have both modalities
    S(i)  = mean over pairs m < m' that the item has of the Pearson correlation of r_i^m and r_i^m', in [-1, 1]
    S(i)  = 0 for an item with fewer than two modalities

Modalities of one shared space (as CLIP makes them) can be compared directly: `cosine`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.errors import ConfigError

Method = Literal["relational", "cosine"]

ITEMS_AT_ONCE = 8192


def agreement(
    vectors: Sequence[Tensor],
    present: Sequence[npt.NDArray[np.bool_]],
    *,
    method: Method,
    anchors: int,
    generator: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Return S: float64 [I].

    Args:
        vectors: By modality, unit vectors float32 [I, d_m], 0 where there is no content.
        present: By modality, bool [I].
        method: As above.
        anchors: A, drawn uniformly, for each pair of modalities among the items that have both.
        generator: Of the draws.

    Raises:
        ConfigError: `cosine`, and the modalities have different widths: they share no space.
    """
    total = np.zeros(len(present[0]))
    pairs = np.zeros(len(present[0]))
    for one, other in combinations(range(len(vectors)), 2):
        both = present[one] & present[other]
        if not both.any():
            continue
        if method == "cosine":
            if vectors[one].shape != vectors[other].shape:
                raise ConfigError(
                    "calibration.agreement: cosine compares modalities of one shared space, and they are "
                    f"{vectors[one].shape[1]} and {vectors[other].shape[1]} wide: use relational"
                )
            found = (vectors[one] * vectors[other]).sum(1).double().numpy()
        else:
            known = np.flatnonzero(both)
            chosen = torch.from_numpy(generator.permutation(known)[:anchors])
            found = _correlations(vectors[one], vectors[other], chosen)
        total += np.where(both, found, 0.0)
        pairs += both
    return total / np.maximum(pairs, 1)


def standardised_agreement(
    found: npt.NDArray[np.float64], present: Sequence[npt.NDArray[np.bool_]]
) -> npt.NDArray[np.float64]:
    """Return c_i = (S(i) - mean) / sd over the items with two modalities or more, and 0 for the others: [I]."""
    several = np.sum(present, axis=0) > 1
    if not several.any():
        return np.zeros_like(found)
    sd = found[several].std()
    return np.where(several, (found - found[several].mean()) / (sd if sd > 0 else 1.0), 0.0)


def _correlations(one: Tensor, other: Tensor, anchors: Tensor) -> npt.NDArray[np.float64]:
    """Return each item's correlation of its similarities to the anchors in two modalities: float64 [I]."""
    found = []
    for start in range(0, len(one), ITEMS_AT_ONCE):
        profiles = []
        for z in (one, other):
            r = z[start : start + ITEMS_AT_ONCE] @ z.index_select(0, anchors).T  # [n, A]
            profiles.append(torch.nn.functional.normalize(r - r.mean(1, keepdim=True), dim=1))
        found.append((profiles[0] * profiles[1]).sum(1).double())
    return torch.cat(found).numpy()
