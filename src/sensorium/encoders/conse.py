"""ConSE: a picture (or a sound) in the space of texts, without training (Norouzi et al., ICLR 2014).

    p = what a classifier sees in the picture, over its classes
    e = sum over the T classes with the largest p of  p_t E("a photo of a " + name of class t)

E is the text encoder `minilm-l6`; the classifier is `efflite0` with the 1,000 classes of ImageNet, or `yamnet` with its
521 kinds of sound ("the sound of " + name). Before pictures are compared with texts both sides are centred over the
items and brought to length one: `aligned`.

It works for pictures of objects and hardly for film posters, which show none of the classes. It is not CLIP: no pair of
a picture and a text was ever seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sensorium.core.config import Config
from sensorium.encoders.base import EncoderCard
from sensorium.encoders.packaged.base import PackagedConfig
from sensorium.encoders.packaged.pictures import EffLite0, EffLiteConfig
from sensorium.encoders.packaged.sounds import YamNetConfig, YamNetEncoder
from sensorium.encoders.packaged.texts import MiniLM, PackagedText

if TYPE_CHECKING:
    from torch import Tensor

TOP = 10
Floats = npt.NDArray[np.float32]


def class_names() -> list[str]:
    """Return the first lemma of each of the 1,000 classes, in the order of the classifier (WordNet 3.0)."""
    return [str(name) for name in json.loads((files("sensorium.encoders") / "files/imagenet_classes.json").read_text())]


def text_vectors(encoder: PackagedText, texts: Sequence[str], batch: int = 64) -> Tensor:
    """Return the vectors of texts, float32 [n, D], by a loaded text encoder."""
    import torch

    with torch.inference_mode():
        parts = [
            encoder.forward(encoder.collate([encoder.preparer(text) for text in texts[start : start + batch]]))[1]
            for start in range(0, len(texts), batch)
        ]
    return torch.cat(parts).clone()


def combine(probabilities: Tensor, vectors: Tensor, top: int = TOP) -> Tensor:
    """Return e of each row.

    Args:
        probabilities: float32 [b, classes].
        vectors: Of the classes' texts, float32 [classes, D].
        top: T, how many classes count.

    Returns:
        float32 [b, D].
    """
    import torch

    weights, places = probabilities.topk(min(top, probabilities.shape[1]), dim=1)
    return torch.einsum("bt,btd->bd", weights, vectors[places])


def aligned(vectors: Floats) -> Floats:
    """Centre vectors [n, D] over the items and bring each to length one; a vector that is the mean stays zero."""
    centred = vectors - vectors.mean(0)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12), np.float32)


class ConseConfig(EffLiteConfig):
    """Options of conse-efflite0."""

    top: int = Field(TOP, ge=1, le=1000, description="how many classes count")


class ConseSoundConfig(YamNetConfig):
    """Options of conse-yamnet."""

    top: int = Field(TOP, ge=1, le=521, description="how many kinds of sound count")


def _joined_card(card: EncoderCard, name: str, text: EncoderCard) -> EncoderCard:
    """Return a card of two encoders: it runs where both do."""
    reasons = list(dict.fromkeys(part for part in (card.why_not, text.why_not) if part))
    return card.model_copy(
        update={
            "name": name,
            "family": f"conse over {card.family}",
            "pooled_dim": text.pooled_dim,
            "languages": text.languages,
            "runs_now": not reasons,
            "why_not": " and ".join(reasons),
            "download_mb": (card.download_mb or 0.0) + (text.download_mb or 0.0),
            "trust": f"{card.trust}; {text.trust}",
        }
    )


def _text_config(config: PackagedConfig) -> Config:
    """Random pictures still need real texts: only where weights are found is passed on."""
    return MiniLM.Config(weights=config.weights if config.weights in ("auto", "packaged") else "auto")


class ConsePictures(EffLite0):
    """Pictures in the space of minilm-l6: states are those of efflite0, the vector is e, [384]."""

    Config: ClassVar[type[PackagedConfig]] = ConseConfig
    pooled_dim = 384
    pooling = "ConSE"

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._text = MiniLM(_text_config(self.config))
        self.weights_hash = hashlib.sha256(f"{self.weights_hash} {self._text.weights_hash}".encode()).hexdigest()
        self.pooling = f"ConSE, {self.config.top} classes"

    @classmethod
    def _card(cls, config: Any, source: Any, why_not: str) -> EncoderCard:
        return _joined_card(
            super()._card(config, source, why_not), "conse-efflite0", MiniLM.describe(_text_config(config))
        )

    def load(self) -> None:
        """Load both encoders, and encode the names of the classes."""
        if not self._loaded:
            self._text.load()
            self._vectors = text_vectors(self._text, [f"a photo of a {name}" for name in class_names()])
        super().load()

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return states [b, 7, 320] and e [b, 384]."""
        states, vector = super().forward(batch)
        seen = self.network.logits(vector).float().softmax(1)
        return states, combine(seen, self._vectors.to(seen.device), self.config.top)


class ConseSounds(YamNetEncoder):
    """Sounds in the space of minilm-l6: states are those of yamnet, the vector is e, [384]."""

    Config: ClassVar[type[PackagedConfig]] = ConseSoundConfig
    random = False
    pooled_dim = 384

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._text = MiniLM(_text_config(self.config))
        self.weights_hash = hashlib.sha256(f"{self.weights_hash} {self._text.weights_hash}".encode()).hexdigest()
        self.pooling = f"ConSE, {self.config.top} kinds of sound"

    @classmethod
    def _card(cls, config: Any, source: Any, why_not: str) -> EncoderCard:
        return _joined_card(
            super()._card(config, source, why_not), "conse-yamnet", MiniLM.describe(_text_config(config))
        )

    def load(self) -> None:
        """Load both encoders, and encode the names of the sounds."""
        if not self._loaded:
            self._text.load()
            self._vectors = text_vectors(self._text, [f"the sound of {name}" for name in self.class_names()])
        super().load()

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return states [b, 14, 1024] and e [b, 384]."""
        states, vector = super().forward(batch)
        heard = self.network.logits(vector).float().softmax(1)
        return states, combine(heard, self._vectors.to(heard.device), self.config.top)
