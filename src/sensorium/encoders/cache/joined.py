"""Hidden states of a catalogue, and behind them those of items that came later, read as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sensorium.core.errors import DataError
from sensorium.encoders.cache.keys import differences
from sensorium.encoders.cache.states import HiddenStates

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

FREE = ("fields", "compute_dtype")
"""Facts of a cache that may differ from those of the items that came before: how their columns are named, and what they
were computed in.
"""


class JoinedStates:
    """Two caches by one encoder. Layers, widths and manifest are those of the catalogue.

    Attributes:
        own: States of the items of the catalogue, tokens 1 to I.
        added: Those of later items, tokens from I + 1; None where none of these has content.
    """

    def __init__(self, own: HiddenStates, added: HiddenStates | int) -> None:
        """Compare the two.

        Args:
            own: Of the catalogue.
            added: Of later items; or how many they are, where none of them has content and nothing is stored.

        Raises:
            DataError: They are not by the same weights, or not of the same layers and preprocessing.
        """
        later = None if isinstance(added, int) else added
        other = [] if later is None else differences(_facts(own), _facts(later))
        if later is not None and other:
            raise DataError(f"{later.folder} was not encoded as {own.folder}, they differ in {', '.join(other)}")
        self.own, self.added = own, later
        self.folder, self.manifest, self.mask = own.folder, own.manifest, own.mask
        self.layers, self.layer_dims = own.layers, own.layer_dims
        self.n_items = own.n_items + (added if isinstance(added, int) else added.n_items)

    def take(
        self, tokens: torch.Tensor | npt.ArrayLike, layers: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return states and presence of items, as `HiddenStates.take` does.

        Raises:
            DataError: A token or a layer that is not there.
        """
        asked, later = self._divided(tokens)
        states, present = self.own.take(asked.masked_fill(later, 0), layers)
        if self.added is not None and later.any():
            found, there = self.added.take(asked[later] - self.own.n_items, layers)
            states, present[later] = _laid_over(states, later, found), there
        return states, present

    def token_mask(self, tokens: torch.Tensor | npt.ArrayLike) -> torch.Tensor:
        """Return which tokens of items are content, bool [n, n_tok], as wide as `take` returns states.

        Raises:
            DataError: The caches hold no tokens.
        """
        asked, later = self._divided(tokens)
        mask = self.own.token_mask(asked.masked_fill(later, 0))
        if self.added is not None and later.any():
            mask = _laid_over(mask, later, self.added.token_mask(asked[later] - self.own.n_items))
        return mask

    def _divided(self, tokens: torch.Tensor | npt.ArrayLike) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens int64 [n], and which are of later items, bool [n]."""
        import torch

        asked = torch.as_tensor(tokens, dtype=torch.int64, device="cpu")
        if asked.numel() and int(asked.max()) > self.n_items:
            raise DataError(f"tokens are 0 to {self.n_items:,}, not up to {int(asked.max()):,}")
        return asked, asked > self.own.n_items


def _laid_over(rows: torch.Tensor, where: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Return rows [n, t, ...] with some replaced by found [m, u, ...], both padded with zeros to the longer of t, u."""
    whole = rows.new_zeros(len(rows), max(rows.shape[1], found.shape[1]), *rows.shape[2:])
    whole[:, : rows.shape[1]] = rows
    whole[where] = 0
    whole[where, : found.shape[1]] = found
    return whole


def _facts(states: HiddenStates) -> dict[str, Any]:
    facts = {**states.manifest["facts"], "weights": states.manifest["weights_hash"]}
    preprocessing = {name: value for name, value in facts["preprocessing"].items() if name not in FREE}
    return {name: value for name, value in {**facts, "preprocessing": preprocessing}.items() if name not in FREE}
