"""The one sequential recommender: a tower for items, an encoder for histories, a loss. Its presets say which.

    score(history, i) = <h, e_i>      h the encoder's last state over the last L items, e_i the tower's vector

Other models of this room put their own tower or objective in its place and keep the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.errors import ConfigError, DataError
from sensorium.data.sequences import SequenceStore, pack_histories
from sensorium.data.view import TrainView
from sensorium.data.windows import WindowBatch, WindowBatches
from sensorium.nn.tokens import PADDING, from_tokens, to_tokens
from sensorium.recommenders.base import RANKING_TERM, Recommender
from sensorium.recommenders.sequential.losses import full_cross_entropy, in_batch_cross_entropy, sampled_cross_entropy
from sensorium.recommenders.towers.base import Tower
from sensorium.recommenders.towers.features import FeatureTower, FusionTower, IDPlusTower
from sensorium.recommenders.towers.id import IDTower
from sensorium.training.protocols import Phase

HISTORIES_AT_ONCE = 1024
ITEMS_AT_ONCE = 65_536


class SequentialRecommender(Recommender):
    """Predicts the next item of a history. A subclass provides `build_encoder`, and `build_tower` where it differs."""

    query_kind: ClassVar[Literal["user", "history"]] = "history"

    class Config(Recommender.Config):
        """The keys that all models of this room share."""

        dim: int = Field(64, ge=2, description="width of items and states, d")
        length: int = Field(10, ge=1, description="items of a history that are read, L: the last ones")
        windows: Literal["last", "all"] = Field(
            "last", description="last: the last L + 1 train rows of a user; all: the whole, cut into windows of L + 1"
        )
        tower: Literal["id", "features", "id+features", "fusion"] = Field(
            "id", description="what an item is: its id, its features, the sum of both, or a mixture of its features"
        )
        features: list[str] | None = Field(None, description="features of the tower; null = all that the run may read")
        objective: Literal["in_batch", "sampled", "full"] = Field(
            "in_batch",
            description="in_batch: the batch's items, popularity taken out; sampled: training.negatives drawn for each "
            "position; full: the whole catalogue",
        )
        debias_alpha: float = Field(1.0, ge=0, le=1, description="in_batch: weight of log popularity; 0 = none")
        dropout: float = Field(0.1, ge=0, lt=1, description="dropout of the encoder")

    config: Config
    log_p: Tensor
    competing: Tensor

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config)
        if view.weight is not None:
            raise ConfigError("sequential models read no weights of train rows: choose data without the column weight")
        self._view = view
        store = view.sequences
        kept = store if config.windows == "all" else store.tail(config.length + 1)
        counts = np.bincount(kept.values, minlength=view.n_items)
        self.shown = counts > 0
        share = np.maximum(counts, 1) / max(counts.sum(), 1)
        log_p = np.concatenate([[0.0], np.log(share)]).astype(np.float32)
        self.register_buffer("log_p", torch.from_numpy(log_p), persistent=False)  # by token
        self.register_buffer("competing", torch.from_numpy(self.shown), persistent=False)
        self.tower = self.build_tower(view)
        self.encoder = self.build_encoder()

    def build_encoder(self) -> nn.Module:
        """Return the encoder: from vectors [B, L, d] and a mask bool [B, L] to states [B, L, d]."""
        raise NotImplementedError

    def build_tower(self, view: TrainView) -> Tower:
        """Return the tower that the configuration names.

        Raises:
            ConfigError: It reads features, and the view has none or not these.
        """
        config = self.config
        if config.tower == "id":
            return IDTower(self.shown, config.dim, self.generator)
        names = list(view.features) if config.features is None else config.features
        if not names or (missing := [name for name in names if name not in view.features]):
            known = ", ".join(view.features) or "none; make some with sensorium encode"
            asked = f"no feature '{missing[0]}'" if names else "no features"
            raise ConfigError(f"model.tower {config.tower} reads features, and there are {asked} (known: {known})")
        if config.tower == "fusion":
            return FusionTower(
                [FeatureTower([view.features[name]], self.shown, config.dim, self.generator, name) for name in names],
                self.generator,
            )
        content = FeatureTower([view.features[name] for name in names], self.shown, config.dim, self.generator)
        if config.tower == "features":
            return content
        return IDPlusTower(IDTower(self.shown, config.dim, self.generator), content)

    @property
    def ids_alone(self) -> bool:
        """Whether it reads no features as it is configured."""
        return self.config.tower == "id"

    # --- training -----------------------------------------------------------------------------------------------------

    def make_batches(self, batch_size: int, negatives: int) -> WindowBatches:
        """Return the batches that this model learns from: windows of the train rows."""
        drawn = negatives if self.config.objective == "sampled" else 0
        return WindowBatches(
            self._view, self.config.length, self.config.windows, batch_size=batch_size, n_negatives=drawn
        )

    def phases(self) -> list[Phase]:
        """Return one phase over all parameters, one pass over the windows for each epoch."""
        return [Phase("main", list(self.parameters()), self.loss)]

    def loss(self, batch: WindowBatch) -> dict[str, Tensor]:  # type: ignore[override]
        """Return the ranking term: every item of a window after its first is to be predicted from those before it."""
        tokens = to_tokens(batch.items)  # [B, L + 1]
        distinct, place = torch.unique(tokens, return_inverse=True)
        vectors = self.tower(distinct)
        mask = tokens[:, :-1] != PADDING
        states = self.encoder(vectors[place[:, :-1]], mask)[mask]
        target = place[:, 1:][mask]
        if self.config.objective == "sampled":
            drawn = to_tokens(batch.neg)[mask]  # [R, N]
            negative = self.tower(drawn.flatten()).view(*drawn.shape, -1)
            return {RANKING_TERM: sampled_cross_entropy(states, vectors[target], negative)}
        if self.config.objective == "full":
            everything = self._all_items()
            return {
                RANKING_TERM: full_cross_entropy(states, from_tokens(tokens[:, 1:][mask]), everything, self.competing)
            }
        own = torch.zeros(len(tokens), len(distinct), dtype=torch.bool, device=tokens.device)
        own.scatter_(1, place, True)
        own[:, distinct == PADDING] = True  # padding is nobody's negative
        count = torch.bincount(place.flatten(), minlength=len(distinct))
        window = torch.arange(len(tokens), device=tokens.device).unsqueeze(1).expand_as(mask)[mask]
        log_p = self.config.debias_alpha * self.log_p[distinct]
        return {RANKING_TERM: in_batch_cross_entropy(states, window, target, vectors, count, own, log_p)}

    # --- answers ------------------------------------------------------------------------------------------------------

    def query_vectors(self, queries: SequenceStore) -> Tensor:  # type: ignore[override]
        """Return the last state of each history, float32 [n, d]; zero for an empty one.

        Raises:
            DataError: An item is not in the catalogue.
        """
        if len(queries.values) and not 0 <= queries.values.min() <= queries.values.max() < self.n_items:
            raise DataError(f"a history holds an item that is unknown to this model: it knows 0 to {self.n_items - 1}")
        windows = torch.from_numpy(queries.last(self.config.length))
        found = [self._last_states(part) for part in torch.split(windows, HISTORIES_AT_ONCE)]
        return torch.cat(found) if found else self.log_p.new_zeros(0, self.config.dim)

    def item_vectors(self) -> Tensor:
        """Return the vectors of all items, float32 [I, d]."""
        return self._all_items()

    def score_history(self, histories: Sequence[Tensor]) -> Tensor:
        """Return scores float32 [n, I] for n histories, each int64 item ids, oldest first."""
        return self.query_vectors(pack_histories(histories)) @ self.item_vectors().T

    def _last_states(self, items: Tensor) -> Tensor:
        tokens = to_tokens(items).to(self.log_p.device)
        distinct, place = torch.unique(tokens, return_inverse=True)
        states: Tensor = self.encoder(self.tower(distinct)[place], tokens != PADDING)
        return states[:, -1]

    def _all_items(self) -> Tensor:
        tokens = to_tokens(torch.arange(self.n_items, device=self.log_p.device))
        return torch.cat([self.tower(part) for part in torch.split(tokens, ITEMS_AT_ONCE)])
