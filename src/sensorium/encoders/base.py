"""What an encoder is: a card that says what it does, and five steps from raw content to one vector.

Encoders that carry no weights of their own are *fitted*: they learn a vocabulary or a scale from the catalogue that
they encode. Which items they learn from is a rule of honest evaluation, and stands in the manifest of what they wrote
(`encode.py`). They are named as what they are: no foundation model hides behind them.

A third party's encoder registers under the entry points "sensorium.encoders".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sensorium.core import config as core_config
from sensorium.core.config import Config

Modality = Literal["text", "image", "audio", "video"]
Vectors = npt.NDArray[np.float32]

Raw = TypeVar("Raw", contravariant=True)
Prepared = TypeVar("Prepared")


class WeightsCard(Config):
    """Where the weights of an encoder come from, and which bytes they are."""

    source: Literal["hub", "packaged", "path", "random"] = Field(description="where they were found or would be")
    package: str | None = Field(None, description="Hub id, package of the registry, or folder")
    version: str | None = Field(None, description="commit of the Hub, or version of the package")
    file: str | None = Field(None, description="the weight file in it")
    sha256: str | None = Field(None, description="SHA-256 of that file; None where nothing pins or has read it yet")


class LicenceCard(Config):
    """Whose terms hold for an encoder."""

    weights: str | None = Field(None, description="licence of the weights; None: not stated")
    package: str | None = Field(None, description="licence that the package states that carries them")


class EncoderCard(Config):
    """What a reader must know of an encoder before using its vectors.

    A field that does not apply is None. `runs_now` and `why_not` are of this machine, at the moment of asking.
    """

    name: str = Field(description="name under sensorium.encoders")
    family: str = Field(
        description="the kind of method; 'fitted' encoders carry no weights and learn from the catalogue"
    )
    modality: Modality = Field(description="what it reads")
    pooled_dim: int = Field(description="width of its vector; a fitted one may have less on a small catalogue")
    layers: tuple[int, ...] = Field((), description="hidden_states indices it can store, 0 = embedding output")
    layer_dims: tuple[int, ...] = Field((), description="true width of each of these layers")
    params: int | None = Field(None, description="number of parameters")
    max_tokens: int | None = Field(None, description="text: ceiling of tokens")
    resolution: tuple[int, int] | None = Field(None, description="pictures and frames: height and width in pixels")
    sample_rate: int | None = Field(None, description="sound: samples per second")
    frames: int | None = Field(None, description="video: frames per clip")
    weights: WeightsCard | None = Field(None, description="where its weights come from; None: it has none")
    licence: LicenceCard | None = Field(None, description="whose terms hold; None: it has no weights")
    download_mb: float | None = Field(None, description="what has to be fetched before the first use, in MB")
    runs_now: bool = Field(True, description="whether it can run on this machine as it is")
    why_not: str = Field("", description="if not: why, and the one command that changes it")
    trust: str = Field("", description="who made the weights, and what is known of them, in one line")
    languages: str = Field("", description="languages of the texts it was made for")
    preprocessing: str = Field(description="what happens to raw content before the encoder, in one sentence")
    prep_version: int = Field(description="changes with the preprocessing; part of every key")


class Encoder(Protocol[Raw, Prepared]):
    """Raw content to vectors. Raw content is the assembled text, or the bytes of a file."""

    Config: ClassVar[type[core_config.Config]]
    card: ClassVar[EncoderCard]

    def __init__(self, config: Any) -> None: ...

    def prepare(self, raw: Raw) -> Prepared:
        """Decode one item's content, the part of the work that depends on nothing else.

        Raises:
            MediaError: The content cannot be used; the item is set aside with the reason.
        """
        ...

    def fit(self, prepared: Sequence[Prepared]) -> None:
        """Learn from the content of the items that training may see.

        Raises:
            DataError: There is too little to learn from.
        """
        ...

    def forward(self, prepared: Sequence[Prepared]) -> Vectors:
        """Return one vector for each content, float32 [n, P]. A row of zeros says: nothing known in this content."""
        ...

    def save(self, folder: Path) -> None:
        """Write what was learned, without pickle, so that new items can be encoded later."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote.

        Raises:
            DataError: A file is missing or damaged.
        """
        ...
