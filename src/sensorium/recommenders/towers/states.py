"""Towers over stored hidden states (`encoders.cache`): what an encoder said of each item is read, not computed.

pooled states     e_i = W [(s_i^k - mu_k) / sigma_k over the layers k that are named] + b; nothing of the encoder trains
states of tokens  one layer's, stored with `encode --pooling none`: the blocks above that layer train from there, as
                  `tune: top_k` trains them from raw content (`encoders.tuning.boundary`), without the blocks below
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core import registry
from sensorium.core.config import Config, build
from sensorium.core.errors import ConfigError
from sensorium.core.files import digest
from sensorium.data.item_content import ItemContent
from sensorium.encoders.cache.joined import JoinedStates
from sensorium.encoders.cache.keys import canonical
from sensorium.encoders.cache.states import GROUP as ENCODERS
from sensorium.encoders.cache.states import HiddenStates, Resident, open_states
from sensorium.encoders.protocol import FoundationEncoder
from sensorium.encoders.tuning.boundary import Boundary
from sensorium.encoders.tuning.parts import blocks_of
from sensorium.encoders.tuning.tower import Tower as TunedEncoder
from sensorium.nn.tokens import to_tokens
from sensorium.recommenders.towers.base import Draw, Tower
from sensorium.recommenders.towers.encoder import Activation, EncoderTower, Scaling

States = HiddenStates | JoinedStates


class StatesConfig(Config):
    """How stored hidden states are read."""

    layers: list[int] | None = Field(
        None, min_length=1, description="layers of the encoder, 0 = embedding output; null = the last that is stored"
    )
    activation: Activation = Field("none", description="none or gelu, behind the head")
    scaling: Scaling = Field(
        "standardise",
        description="standardise: each layer's mean and scale over the items that training shows; or none",
    )
    resident: Resident = Field(
        "auto", description="auto: in memory where a quarter of the free one is enough; never: read from the disk"
    )
    layer: int | None = Field(
        None,
        description="states of tokens: place among the layers whose pooled state is the vector, -1 the last; null = "
        "the encoder's own vector",
    )


class StatesTower(EncoderTower):
    """A head over pooled states of one layer or several, which are concatenated."""

    def __init__(
        self, states: States, content: ItemContent, shown: npt.NDArray[np.bool_], width: int, draw: Draw,
        config: StatesConfig, name: str,
    ) -> None:  # fmt: skip
        """Choose the layers.

        Args:
            states: Pooled over tokens; the tower owns them.
            content: Of the items, which says whose states each item gets.
            shown: bool [I], items that training shows.
            width: d.
            draw: Of the first values.
            config: How they are read.
            name: Of this tower among others.

        Raises:
            ConfigError: A layer is not stored.
        """
        layers = list(states.layers[-1:]) if config.layers is None else config.layers
        if missing := [layer for layer in layers if layer not in states.layers]:
            raise ConfigError(
                f"model.states.layers: '{name}' holds no layer {missing[0]} "
                f"(it has {', '.join(map(str, states.layers))})"
            )
        self._sizes = [states.layer_dims[states.layers.index(layer)] for layer in layers]
        weights, contents = _identity(states, content)
        super().__init__(
            self._sizes, shown, width, draw, name,
            activation=config.activation, scaling=config.scaling, weights=weights, contents=contents,
        )  # fmt: skip
        self._states, self._layers, self._content = states, layers, content
        self.reading = _reading(states, layers)

    def encode(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the chosen layers of items int64 [n], side by side: float32 [n, P], bool [n]."""
        found, present = self._states.take(_places(items, self._content), self._layers)  # [n, K, D]
        parts = [found[:, place, :size] for place, size in enumerate(self._sizes)]
        return torch.cat(parts, dim=1).to(items.device), present.to(items.device)

    def _recalled(self, items: Tensor) -> tuple[Tensor, Tensor]:
        return self.encode(items)  # they are stored already


class BoundaryTower(EncoderTower):
    """The blocks above a stored layer, trained from its tokens, and a head.

    Attributes:
        tuned: The encoder; its blocks below the stored layer are never run.
    """

    def __init__(
        self, states: States, content: ItemContent, shown: npt.NDArray[np.bool_], width: int, draw: Draw,
        config: StatesConfig, name: str,
    ) -> None:  # fmt: skip
        """Load the encoder that made the states.

        Args:
            states: Tokens of one layer; the tower owns them.
            content: Of the items.
            shown: bool [I], items that training shows.
            width: d.
            draw: Of the first values.
            config: How they are read.
            name: Of this tower among others.

        Raises:
            ConfigError: The encoder is not installed, or cannot be trained from this layer.
            DataError: Its weights are not here.
        """
        if config.layers is not None and config.layers != list(states.layers):
            raise ConfigError(f"model.states.layers: '{name}' holds tokens of layer {states.layers[0]} alone")
        encoder = _encoder_of(states)
        encoder.load()
        blocks = len(blocks_of(encoder.module)) - states.layers[0]
        if blocks < 1:
            raise ConfigError(
                f"'{name}' holds tokens of layer {states.layers[0]}, above which '{encoder.card.name}' has no "
                "block that could train: encode a lower layer (sensorium encode --pooling none --layers N)"
            )
        tuned = TunedEncoder(encoder, "top_k", top_k=blocks, head=nn.Identity(), layer=config.layer)
        weights, contents = _identity(states, content)
        super().__init__(
            [tuned.dim], shown, width, draw, name,
            activation=config.activation, scaling=config.scaling, weights=weights, contents=contents,
        )  # fmt: skip
        self._states, self._content, self._tuned = states, content, (tuned,)
        self.reading = _reading(states, states.layers)
        self._boundary = Boundary(tuned)
        self.hold(tuned.body, tuned.tuned.active)

    @property
    def tuned(self) -> TunedEncoder:
        """The encoder and what trains in it."""
        return self._tuned[0]

    def encode(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder's vectors of items int64 [n] and which have content: [n, P], bool [n]."""
        places = _places(items, self._content)
        found, present = self._states.take(places)  # [n, n_tok, D]
        mask = self._states.token_mask(places)
        vectors = self.mean.new_zeros(len(items), len(self.mean))
        there = torch.nonzero(present).squeeze(1)
        if len(there):
            budget = max(1, self.tuned.encoder.budget // (1 if mask is None else mask.shape[1]))
            parts = [self._boundary.vectors(found[part], mask[part]) for part in torch.split(there, budget)]
            self.tuned.encoded += len(there)
            vectors[there.to(items.device)] = torch.cat(parts).to(vectors.dtype)
        return vectors, present.to(items.device)

    def set_mode(self, training: bool) -> None:
        """Put the blocks that train into training mode, the rest of the encoder into evaluation mode."""
        if hasattr(self, "_tuned"):
            self.tuned.tuned.train(training)


def states_tower(
    content: ItemContent | None, shown: npt.NDArray[np.bool_], width: int, draw: Draw, config: StatesConfig, name: str
) -> Tower:
    """Return the tower over the hidden states that lie behind a feature set of a data set.

    Args:
        content: Of the items.
        shown: bool [I], items that training shows.
        width: d.
        draw: Of the first values.
        config: How they are read.
        name: Of the feature set.

    Raises:
        ConfigError: The data hold no content, or not these layers.
        DataError: The feature set holds no hidden states.
        StaleCache: They are not of the catalogue, the encoder or the weights as they are now.
    """
    if content is None:
        raise ConfigError("model.tower: states: the data of this model hold no stored states of items")
    own = open_states(name, dataset=content.dataset, resident=config.resident)
    states: States = own
    if content.added is not None:
        added: HiddenStates | int = content.added.n_items  # without content nothing was stored of them
        if content.added.info.features[name].present:
            added = open_states(name, dataset=content.added, resident=config.resident)
        states = JoinedStates(own, added)
    kind = StatesTower if states.mask is None else BoundaryTower
    return kind(states, content, shown, width, draw, config, name)


def _places(items: Tensor, content: ItemContent) -> Tensor:
    """Return the tokens under which the states of items stand."""
    rows = content.rows(items.cpu().numpy())
    return to_tokens(torch.from_numpy(rows))


def _identity(states: States, content: ItemContent) -> tuple[str, str]:
    """Return what tells the weights that made states, and the content that they are of, from others."""
    row = "" if content.row is None else digest(content.row)
    return str(states.manifest["weights_hash"]), str(states.manifest["digest_sha256"]) + row


def _reading(states: States, layers: Sequence[int]) -> str:
    """Return which layers are read, and how they were made; not of which columns: another catalogue has its own."""
    facts = states.manifest["facts"]
    made = {key: value for key, value in facts["preprocessing"].items() if key != "fields"}
    of = {key: facts[key] for key in ("pooling", "final_norm", "prep_version")}
    return f"layers {', '.join(map(str, layers))} of {states.manifest['encoder']} {canonical({**of, **made})}"


def _encoder_of(states: States) -> FoundationEncoder:
    name = states.manifest["encoder"]
    target = registry.get(ENCODERS, name)
    config = build(target.Config, states.manifest["config"], source=str(states.folder / "manifest.json"))
    return cast("FoundationEncoder", target(config))
