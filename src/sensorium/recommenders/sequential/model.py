"""The one sequential recommender: a tower for items, an encoder for histories, a loss. Its presets say which.

    score(history, i) = <h, e_i>      h the encoder's last state over the last L items, e_i the tower's vector

Other models of this room put their own tower or objective in its place, or add terms to the loss, and keep the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.core.errors import ConfigError, DataError
from sensorium.data.sequences import SequenceStore, pack_histories
from sensorium.data.view import TrainView
from sensorium.data.windows import WindowBatch, WindowBatches
from sensorium.nn.across import computed_once, mean_over_batch, plain_rows_of_all
from sensorium.nn.tokens import PADDING, from_tokens, to_tokens
from sensorium.recommenders.base import RANKING_TERM, Recommender
from sensorium.recommenders.sequential.encoded import EncodedBatch
from sensorium.recommenders.sequential.losses import full_cross_entropy, in_batch_cross_entropy, sampled_cross_entropy
from sensorium.recommenders.towers.base import Tower
from sensorium.recommenders.towers.building import TowerConfig, build_tower
from sensorium.recommenders.towers.encoder import TRAINS_WITHOUT_DECAY, encoder_towers
from sensorium.training.protocols import Phase


def schedule(*, weight_decay: float, repeat_policy: str, history: str) -> dict[str, Any]:
    """Return what a run of a preset takes where it says nothing: the schedule of MicroLens' code, at the width and rate
    for one processor. A GPU's are dim 512, lr 1e-4, batch_size 512.

    Args:
        weight_decay: Of AdamW, for all but what trains of encoders.
        repeat_policy: `evaluation.repeat_policy`.
        history: `evaluation.history`.
    """
    return {
        "training": {
            "epochs": 50,
            "batch_size": 128,
            "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": weight_decay},
            "clip_norm": 5.0,
            "patience": 10,
        },
        "evaluation": {"ks": [5, 10, 20], "repeat_policy": repeat_policy, "history": history},
        "selection": "hit_rate@10",
    }


HISTORIES_AT_ONCE = 1024
ITEMS_AT_ONCE = 65_536
CATALOGUE_IN_EACH_STEP = (
    "objective: full encodes the whole catalogue in each step, with gradients: choose in_batch or sampled where an "
    "encoder trains"
)


class SequentialRecommender(Recommender):
    """Predicts the next item of a history.

    A subclass provides `build_encoder`, and `build_tower`, `asked`, `encode_items` and `extra_losses` where it differs.
    """

    query_kind: ClassVar[Literal["user", "history"]] = "history"

    class Config(TowerConfig):
        """The keys that all models of this room share."""

        length: int = Field(10, ge=1, description="items of a history that are read, L: the last ones")
        windows: Literal["last", "all"] = Field(
            "last", description="last: the last L + 1 train rows of a user; all: the whole, cut into windows of L + 1"
        )
        objective: Literal["in_batch", "sampled", "full"] = Field(
            "in_batch",
            description="in_batch: the batch's items, popularity taken out; sampled: training.negatives drawn for each "
            "position; full: the whole catalogue",
        )
        debias_alpha: float = Field(1.0, ge=0, le=1, description="in_batch: weight of log popularity; 0 = none")
        dropout: float = Field(0.1, ge=0, lt=1, description="dropout of the encoder")

        @model_validator(mode="after")
        def _catalogue_in_each_step(self) -> SequentialRecommender.Config:
            if self.objective == "full" and self.trains_encoders:
                raise ValueError(CATALOGUE_IN_EACH_STEP)
            return self

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
        kept = kept.of(np.flatnonzero(kept.lengths > 1))  # one row alone is no window (`data.windows.cut`)
        self.shown_count = np.bincount(kept.values, minlength=view.n_items)
        self.shown = self.shown_count > 0
        share = np.maximum(self.shown_count, 1) / max(self.shown_count.sum(), 1)
        log_p = np.concatenate([[0.0], np.log(share)]).astype(np.float32)
        self.register_buffer("log_p", torch.from_numpy(log_p), persistent=False)  # by token
        self.register_buffer("competing", torch.from_numpy(self.shown), persistent=False)
        self.tower = self.build_tower(view)
        if config.objective == "full" and any(not tower.frozen for tower in encoder_towers(self.tower)):
            raise ConfigError(f"model.{CATALOGUE_IN_EACH_STEP}")  # blocks above stored states: the data alone tell
        self.encoder = self.build_encoder()

    def build_encoder(self) -> nn.Module:
        """Return the encoder: from vectors [B, L, d] and a mask bool [B, L] to states [B, L, d]."""
        raise NotImplementedError

    def build_tower(self, view: TrainView) -> Tower:
        """Return the tower that the configuration names; see `towers.building`."""
        return build_tower(self.config, view, self.shown, self.generator)

    def asked(self, mask: Tensor) -> Tensor:
        """Return which states learn to predict the item after them, bool [B, L], of those that are of items."""
        return mask

    def components(self) -> dict[str, nn.Module]:
        """Return the parts by whose names what was learned can be carried to another catalogue, all or some of them."""
        return dict(self.named_children())

    @property
    def ids_alone(self) -> bool:
        """Whether it reads no features as it is configured."""
        return not self.config.reads_features

    # --- training -----------------------------------------------------------------------------------------------------

    def make_batches(self, batch_size: int, negatives: int) -> WindowBatches:
        """Return the batches that this model learns from: windows of the train rows."""
        drawn = negatives if self.config.objective == "sampled" else 0
        return WindowBatches(
            self._view, self.config.length, self.config.windows, batch_size=batch_size, n_negatives=drawn
        )

    def phases(self) -> list[Phase]:
        """Return one phase over all parameters, one pass over the windows for each epoch.

        What trains of encoders is a group, which may have a rate and a weight decay of its own; it has no decay unless
        the configuration says so.
        """
        inside = [value for tower in encoder_towers(self.tower) for value in tower.encoder_parameters()]
        groups = {"encoder": inside} if inside else {}
        return [Phase("main", list(self.parameters()), self.loss, groups=groups, group_defaults=TRAINS_WITHOUT_DECAY)]

    def encode_items(self, tokens: Tensor) -> Tensor:
        """Return the vectors of tokens int64 [n] for a loss: [n, d].

        What other terms need of an item beside its vector, such as that of each modality, may follow in further
        columns: it is then computed once as well, and is `beside` in the encoded batch.
        """
        vectors: Tensor = self.tower(tokens)
        return vectors

    def encoded_batch(self, batch: WindowBatch) -> EncodedBatch:
        """Return the windows of a batch with the vectors of their items and the states of the encoder."""
        tokens = to_tokens(batch.items)  # [B, L + 1]
        mask = tokens[:, :-1] != PADDING
        asked = self.asked(mask)
        if self.config.objective == "in_batch":
            distinct, count = torch.unique(plain_rows_of_all(tokens), return_counts=True)
            found = computed_once(distinct, self.encode_items) if self.tower.costly else self.encode_items(distinct)
        else:
            drawn = to_tokens(batch.neg)[asked]  # [R, N]
            distinct, count = torch.unique(torch.cat([tokens.flatten(), drawn.flatten()]), return_counts=True)
            found = self.encode_items(distinct)
        vectors, beside = found.tensor_split([self.tower.width], dim=1)
        place = torch.searchsorted(distinct, tokens)
        states = self.encoder(vectors[place[:, :-1]], mask)
        return EncodedBatch(tokens, mask, asked, distinct, count, vectors, beside, place, states)

    def loss(self, batch: WindowBatch) -> dict[str, Tensor]:  # type: ignore[override]
        """Return the ranking term: every item of a window after its first is to be predicted from those before it.

        Beside it stand the terms of `extra_losses`.
        """
        encoded = self.encoded_batch(batch)
        if self.config.objective == "in_batch":
            lost = self._lost_in_batch(encoded)
        else:
            lost = self._lost_beyond_batch(encoded, batch)
        return {RANKING_TERM: mean_over_batch(lost, len(encoded)), **self.extra_losses(batch, encoded)}

    def extra_losses(self, batch: WindowBatch, encoded: EncodedBatch) -> dict[str, Tensor]:
        """Return further terms by name, each one number with its weight in it; here there are none.

        A model with objectives of its own says them here. Means over the batch are taken as `nn.across` takes them, so
        that several processes have the numbers of one.
        """
        return {}

    def _lost_in_batch(self, encoded: EncodedBatch) -> Tensor:
        """Return the loss of each state, [R]; negatives are the items of the whole batch, whoever holds its rows."""
        tokens, distinct = encoded.tokens, encoded.distinct
        own = torch.zeros(len(tokens), len(distinct), dtype=torch.bool, device=tokens.device)
        own.scatter_(1, encoded.place, True)
        own[:, distinct == PADDING] = True  # padding is nobody's negative
        window = torch.arange(len(tokens), device=tokens.device).unsqueeze(1).expand_as(encoded.mask)[encoded.asked]
        log_p = self.config.debias_alpha * self.log_p[distinct]
        return in_batch_cross_entropy(
            encoded.predicting, window, encoded.target, encoded.vectors, encoded.count, own, log_p
        )

    def _lost_beyond_batch(self, encoded: EncodedBatch, batch: WindowBatch) -> Tensor:
        """Return the loss of each state, [R], against drawn items or all of them."""
        if self.config.objective == "full":
            target = from_tokens(encoded.distinct[encoded.target])
            return full_cross_entropy(encoded.predicting, target, self._all_items(), self.competing)
        negative = encoded.places_of(to_tokens(batch.neg)[encoded.asked])
        return sampled_cross_entropy(encoded.predicting, encoded.vectors[encoded.target], encoded.vectors[negative])

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
