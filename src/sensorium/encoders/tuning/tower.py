"""Item towers: an encoder inside a model that is trained, with distinct items of a batch encoded once.

    tower = Tower(encoder, "top_k", dim=64)
    vectors = tower(items, prepared_of)          # int64 [n] item ids with repeats -> float32 [n, 64]

A batch of histories holds an item many times. Its distinct items are sorted by length, cut into micro batches by the
encoder's budget, encoded once each, and spread over the places where they stand; gradients of all places add up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sensorium.core.errors import ConfigError
from sensorium.encoders.protocol import FoundationEncoder, Prepared
from sensorium.encoders.tuning.tuning import Tune, Tuned, tune_module

# From distinct item ids, ascending, to their prepared content.
PreparedOf = Callable[[list[int]], Sequence[Prepared]]


class Tower(nn.Module):
    """An encoder, what of it trains, and a linear head.

    Attributes:
        encoder: Any encoder with weights; loaded.
        tuned: What trains.
        head: Linear P -> dim, or the identity.
        encoded: How many items have been encoded so far, for tests and reports.
    """

    def __init__(
        self,
        encoder: FoundationEncoder,
        tune: Tune = "frozen",
        *,
        dim: int | None = None,
        head: nn.Module | None = None,
        layer: int | None = None,
        top_k: int = 2,
        bottleneck: int = 64,
        rank: int = 8,
        alpha: int = 16,
        recompute: bool = False,
    ) -> None:
        """Load the encoder and choose what trains.

        Args:
            encoder: Its module is changed in place; a tower owns its encoder.
            tune: frozen, top_k, houlsby, lora, bitfit or full; see `tuning`.
            dim: Width of the vectors; None: the encoder's own, without a head.
            head: What follows the encoder, instead of a linear map to `dim`; it is the caller's.
            layer: Place in the encoder's layers whose pooled state is the item's, -1 the last; None: the encoder's own
                vector, which some read from a lower layer.
            top_k: Blocks that train, for "top_k".
            bottleneck: For "houlsby".
            rank: For "lora".
            alpha: For "lora".
            recompute: Compute the activations of a micro batch again for its gradient: less memory, the same gradient.

        Raises:
            ConfigError: The encoder has nothing that could train in this way.
        """
        super().__init__()
        encoder.load()
        if tune == "frozen" and dim is None and head is None:
            raise ConfigError("a frozen tower without a head has nothing to train: give dim")
        self.encoder = encoder
        self.tuned: Tuned = tune_module(
            encoder.module, tune, top_k=top_k, bottleneck=bottleneck, rank=rank, alpha=alpha
        )
        self.body = encoder.module  # registered here, so that its parameters are the tower's
        self.layer = layer
        width = encoder.pooled_dim if layer is None else encoder.layer_dims[layer]
        own = nn.Identity() if dim is None else nn.Linear(width, dim)
        self.head: nn.Module = own if head is None else head
        self.dim = width if dim is None else dim
        self.recompute = recompute
        self.encoded = 0

    def train(self, mode: bool = True) -> Tower:
        """Put the head and the parts that train into training mode; the rest of the encoder stays in evaluation."""
        super().train(mode)
        self.tuned.train(mode)
        return self

    def forward(self, items: Tensor, prepared_of: PreparedOf) -> Tensor:
        """Return the vectors of some items.

        Args:
            items: Item ids, int64 of any shape, with repeats.
            prepared_of: Asked once, with the distinct ones.

        Returns:
            float32 [*items.shape, dim].
        """
        distinct, places = torch.unique(items, return_inverse=True)
        vectors = self.vectors(prepared_of(distinct.tolist()))
        return vectors[places]

    def vectors(self, prepared: Sequence[Prepared]) -> Tensor:
        """Return the vectors of contents, each encoded once, float32 [n, dim], in their order."""
        order = sorted(range(len(prepared)), key=lambda place: (prepared[place].length, place))
        found = [
            self._embed(self.encoder.collate([prepared[place] for place in batch]))
            for batch in self._cut(prepared, order)
        ]
        self.encoded += len(prepared)
        back = torch.empty(len(order), dtype=torch.int64)
        back[torch.tensor(order)] = torch.arange(len(order))
        embedded = torch.cat(found)
        vectors: Tensor = self.head(embedded[back.to(embedded.device)])
        return vectors

    def _embed(self, batch: dict[str, Tensor]) -> Tensor:
        if not (self.recompute and torch.is_grad_enabled() and self.tuned.tune != "frozen"):
            return self.embed(batch)
        found: Tensor = checkpoint(self.embed, batch, use_reentrant=False)
        return found

    def embed(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the encoder's vectors of one batch, [b, P]; without a graph where nothing in it trains.

        Raises:
            ConfigError: What trains lies above the layer that the vector is read from, so that it would never learn.
        """
        device = next(self.body.parameters()).device
        placed = {name: value.to(device) for name, value in batch.items()}
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.tuned.tune != "frozen"):
            vector = self._vector(placed)
        if torch.is_grad_enabled() and self.tuned.tune != "frozen" and not vector.requires_grad:
            raise ConfigError(
                f"the vector of {self.encoder.card.name} is read from below the blocks that train: they would never "
                "learn; give layer=-1 to take the last layer's state"
            )
        return vector

    def _vector(self, batch: dict[str, Tensor]) -> Tensor:
        own = getattr(self.encoder, "embed", None)
        if own is not None:
            found: Tensor = own(batch, self.layer)
            return found
        states, vector = self.encoder.forward(batch)
        if self.layer is None:
            return vector
        return states[:, self.layer, : self.encoder.layer_dims[self.layer]]

    def _cut(self, prepared: Sequence[Prepared], order: list[int]) -> list[list[int]]:
        """Cut a sorted list into micro batches within the encoder's budget."""
        batches: list[list[int]] = []
        for place in order:
            length = max(1, prepared[place].length)
            if not batches or (len(batches[-1]) + 1) * length > self.encoder.budget:
                batches.append([])
            batches[-1].append(place)
        return batches

    def trainable(self) -> list[nn.Parameter]:
        """Return what an optimiser is given."""
        return [value for value in self.parameters() if value.requires_grad]

    def groups(self, lr: float, encoder_lr: float) -> list[dict[str, Any]]:
        """Return parameter groups for an optimiser: the head, and what trains in the encoder, at rates of their own."""
        inside = self.tuned.parameters()
        head = list(self.head.parameters())
        return [
            group for group in ({"params": head, "lr": lr}, {"params": inside, "lr": encoder_lr}) if group["params"]
        ]
