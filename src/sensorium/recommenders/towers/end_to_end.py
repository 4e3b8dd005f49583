"""The end-to-end tower: an encoder of texts, pictures, sound or clips inside the model, trained as far as is asked.

    e_i = act(W z_i + b),   z_i = Encoder(raw content of item i)     (MicroLens, arXiv 2309.15379, section 4)

Each distinct item of a batch is encoded once. What trains of the encoder is `encoders.tuning`'s affair: nothing, the
last blocks, adapters, low-rank terms, biases, or all of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Component, Config, component
from sensorium.core.errors import ConfigError
from sensorium.data.item_content import ItemContent
from sensorium.encoders.base import Modality
from sensorium.encoders.encode import is_foundation
from sensorium.encoders.protocol import FoundationEncoder, Prepared
from sensorium.encoders.tuning.tower import Tower as TunedEncoder
from sensorium.encoders.tuning.tuning import Tune
from sensorium.recommenders.towers.base import Draw
from sensorium.recommenders.towers.content import Keep, PreparedItems
from sensorium.recommenders.towers.encoder import Activation, EncoderTower, Scaling

ACTIVATIONS: dict[Modality, Activation] = {"text": "gelu", "image": "none", "audio": "gelu", "video": "gelu"}


class EndToEndConfig(Config):
    """One encoder inside a model."""

    encoder: component("sensorium.encoders") = Field(description="the encoder and its own keys")  # type: ignore[valid-type]
    fields: list[str] | None = Field(
        None, description="columns of the items that it reads; null = title and description, or its modality's"
    )
    tune: Tune = Field(
        "frozen", description="what of it trains: frozen, top_k, houlsby, lora, bitfit or full; the head always does"
    )
    top_k: int = Field(2, ge=1, description="top_k: the last blocks that train, with the final norm")
    bottleneck: int = Field(64, ge=1, description="houlsby: width of the adapters")
    rank: int = Field(8, ge=1, description="lora: rank of its terms")
    alpha: int = Field(16, ge=1, description="lora: their scale, times the rank")
    layer: int | None = Field(
        None, description="place among the encoder's layers whose pooled state is read, -1 the last; null = its vector"
    )
    activation: Activation | None = Field(
        None, description="none or gelu, behind the head; null = gelu, for pictures none, as MicroLens has it"
    )
    scaling: Scaling = Field(
        "none", description="standardise: mean and scale over the items that training shows are taken out of the vector"
    )
    recompute: bool = Field(
        False, description="compute activations again for the gradient: memory of one micro batch, about a third slower"
    )
    prepared: Keep = Field(
        "auto",
        description="memory: all content is decoded once and kept; demand: in each step; auto: memory where a quarter "
        "of the free one is enough and something trains",
    )
    workers: int | None = Field(
        None, ge=0, description="decoding processes; 0 = none, without a time limit; null = by the machine's cores"
    )


class EndToEndTower(EncoderTower):
    """Encodes the raw content of items.

    Attributes:
        tuned: The encoder and what trains in it; `tuned.encoded` counts the contents that were encoded.
        items: The content of the items.
    """

    def __init__(
        self, content: ItemContent | None, shown: npt.NDArray[np.bool_], width: int, draw: Draw, config: EndToEndConfig,
        name: str,
    ) -> None:  # fmt: skip
        """Load the encoder and look at the content.

        Args:
            content: Of the items.
            shown: bool [I], items that training shows.
            width: d.
            draw: Of the first values.
            config: Which encoder, and how.
            name: Of this tower among others.

        Raises:
            ConfigError: There is no content to read, or the encoder cannot be trained in this way.
            DataError: The encoder's weights are not here, or no item has content of its modality.
            MissingExtraError: A library that the encoder needs is not installed.
        """
        encoder, chosen = foundation(config.encoder, name), config.encoder.name
        if content is None:
            raise ConfigError(f"model.encoders.{name}: the data of this model hold no raw content of items")
        keep = "demand" if config.prepared == "auto" and config.tune == "frozen" else config.prepared
        items = PreparedItems(content, encoder, config.fields, keep=keep, workers=config.workers)
        try:
            tuned = tuned_encoder(encoder, config, draw, name)
        except IndexError:
            raise ConfigError(
                f"model.encoders.{name}.layer is {config.layer}, and '{chosen}' has {len(encoder.layers)} layers"
            ) from None
        super().__init__(
            [tuned.dim], shown, width, draw, name,
            activation=config.activation or ACTIVATIONS[encoder.card.modality],
            scaling=config.scaling,
            weights=encoder.weights_hash,
            contents=items.digest,
        )  # fmt: skip
        self.items, self._tuned = items, (tuned,)  # in a tuple: `body` alone is a part of this module
        self.hold(tuned.body, tuned.tuned.active)

    @property
    def tuned(self) -> TunedEncoder:
        """The encoder and what trains in it."""
        return self._tuned[0]

    def encode(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder's vectors of items int64 [n] and which of them have content: [n, P], bool [n]."""
        return self.encode_prepared(self.items.take(items.tolist()), items.device)

    def encode_prepared(
        self, prepared: Sequence[Prepared | None], device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """Return the encoder's vectors of any content, None standing for none: [n, P], bool [n]."""
        present = torch.tensor([entry is not None for entry in prepared], dtype=torch.bool, device=device)
        there = [entry for entry in prepared if entry is not None]
        if not there:
            return self.mean.new_zeros(len(prepared), len(self.mean)), present
        found = self.tuned.vectors(there)
        vectors = found.new_zeros(len(prepared), len(self.mean))
        vectors[present] = found
        return vectors, present

    def set_mode(self, training: bool) -> None:
        """Put what trains into training mode, the rest of the encoder into evaluation mode."""
        if hasattr(self, "_tuned"):
            self.tuned.tuned.train(training)


def foundation(chosen: Component, name: str) -> FoundationEncoder:
    """Return a configured encoder, not yet loaded.

    Raises:
        ConfigError: It is fitted to a catalogue.
        DataError: Its weights are not here; the message says what to install, fetch or pass.
        MissingExtraError: A library is not installed.
    """
    if not is_foundation(chosen.target):
        raise ConfigError(
            f"model.encoders.{name}.encoder: '{chosen.name}' is fitted to a catalogue and has no weights to train: "
            "encode with it, and read its vectors by tower: features"
        )
    built: FoundationEncoder = chosen.target(chosen.config)
    return built


def tuned_encoder(encoder: FoundationEncoder, config: EndToEndConfig, draw: Draw, name: str) -> TunedEncoder:
    """Return an encoder with what trains in it, whose new parameters depend on the draw alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw(f"tower.{name}.tune").initial_seed())
        return TunedEncoder(
            encoder,
            config.tune,
            head=nn.Identity(),
            layer=config.layer,
            top_k=config.top_k,
            bottleneck=config.bottleneck,
            rank=config.rank,
            alpha=config.alpha,
            recompute=config.recompute,
        )
