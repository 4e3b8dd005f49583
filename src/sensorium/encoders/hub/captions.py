"""image-captions: a picture by the text that describes it (IISAN-Versa).

A captioner of the BLIP family writes one sentence per picture, greedily, so that the same picture gives the same
sentence; a text encoder then reads it. `captions` returns the sentences themselves, for a text column of a catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sensorium.core import config as core_config
from sensorium.core.config import Component, component
from sensorium.core.errors import ConfigError, DataError, require
from sensorium.encoders.base import EncoderCard, LicenceCard, Modality, WeightsCard
from sensorium.encoders.hub import weights as hub_weights
from sensorium.encoders.hub.base import PREP_VERSION, missing_package, quiet
from sensorium.encoders.hub.sequences import stacked
from sensorium.encoders.hub.vision import read_processor
from sensorium.encoders.preparing.image import ImagePreparer
from sensorium.encoders.protocol import FoundationEncoder, Prepared, Preparer

if TYPE_CHECKING:
    from torch import Tensor, nn

BLIP = "Salesforce/blip-image-captioning-base"
NAME = "image-captions"


class ImageCaptionsConfig(core_config.Config):
    """Options of captions."""

    id: str = Field(BLIP, description="Hub id of a captioner of the BLIP family, or a folder that holds one")
    revision: str | None = Field(None, description="commit, tag or branch of the Hub")
    weights: str = Field("auto", description="auto or hub, or a folder")
    max_new_tokens: int = Field(30, ge=1, description="longest caption, in tokens")
    text: component("sensorium.encoders") = Field(  # type: ignore[valid-type]
        "minilm-l6", description="the text encoder that reads the captions"
    )


class ImageCaptions:
    """Pictures, described in words, then read by a text encoder."""

    Config = ImageCaptionsConfig
    modality: Modality = "image"
    budget = 16

    module: nn.Module
    preparer: Preparer

    def __init__(self, config: Any = None) -> None:
        self.config = config if config is not None else self.Config()
        self.found = hub_weights.find(NAME, self.config.id, self.config.revision, self.config.weights)
        facts = self.found.config()
        if facts["model_type"] != "blip":
            kind = facts["model_type"]
            raise DataError(f"{self.found.name} is of the family '{kind}', captions are written by 'blip'")
        asked: Component = self.config.text
        self.text: FoundationEncoder = asked.target(asked.config)
        if self.text.card.modality != "text":
            raise ConfigError(f"text: captions are read by a text encoder, not by '{self.text.card.name}'")
        numbers = read_processor(self.found.folder)
        side = int((facts.get("vision_config") or {}).get("image_size", 384))
        if "mean" not in numbers:
            raise DataError(f"{self.found.name} does not say how pictures are normalised (no preprocessor_config.json)")
        images = ImagePreparer(
            (side, side), "squash", numbers["mean"], numbers["std"], numbers.get("interpolation", "bicubic")
        )
        images.facts |= {"captions": self.config.max_new_tokens, "text": self.text.preparer.facts}
        self.preparer = images
        own = hub_weights.weights_hash(self.found)
        self._own_hash = own
        self.weights_hash = hub_weights.combined([own, self.text.weights_hash])
        self.layers, self.layer_dims = self.text.layers, self.text.layer_dims
        self.pooled_dim, self.pooling, self.final_norm = self.text.pooled_dim, self.text.pooling, self.text.final_norm
        self._loaded = False
        self.card = self._card(self.config, self.text.card, self.found, self.weights_hash, "")

    @classmethod
    def describe(cls, config: Any) -> EncoderCard:
        """Return the card; opens no connection."""
        text: EncoderCard = config.text.target.describe(config.text.config)
        reason = missing_package()
        if not reason and not hub_weights.is_here(config.id, config.revision, config.weights):
            reason = hub_weights.why_not(config.id, 990 if config.id == BLIP else None)
        if not reason and not text.runs_now:
            reason = f"its text encoder {text.name} cannot run: {text.why_not}"
        return cls._card(config, text, None, None, reason)

    @classmethod
    def _card(
        cls, config: Any, text: EncoderCard, found: hub_weights.Found | None, sha256: str | None, why_not: str
    ) -> EncoderCard:
        published = config.id == BLIP
        return EncoderCard(
            name=NAME,
            family="captions",
            modality="image",
            pooled_dim=text.pooled_dim,
            layers=text.layers,
            layer_dims=text.layer_dims,
            params=247_400_000 if published else None,
            max_tokens=text.max_tokens,
            resolution=(384, 384) if published else None,
            weights=WeightsCard(
                source=found.source if found else "hub",
                package=config.id,
                version=found.version if found else config.revision,
                file=None,
                sha256=sha256,
            ),
            licence=LicenceCard(weights="BSD-3-Clause" if published else None, package=None),
            download_mb=990 if published else None,
            runs_now=not why_not,
            why_not=why_not,
            trust="Salesforce" if published else "whoever published this id",
            languages="English",
            preprocessing=f"upright RGB, squashed; a sentence by the captioner, read by {text.name}",
            prep_version=PREP_VERSION,
        )

    def load(self) -> None:
        """Verify and build the captioner and the text encoder."""
        if self._loaded:
            return
        hub_weights.verify(self.found, self._own_hash)
        transformers = require("transformers", extra="encoders", purpose=NAME)
        import torch

        with quiet(transformers):
            captioner, info = transformers.BlipForConditionalGeneration.from_pretrained(
                self.found.folder,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        gaps = [key for key in info.get("missing_keys") or () if "position_ids" not in key]
        if gaps:
            raise DataError(f"the weights of {self.found.name} lack {len(gaps)} parameters, such as {gaps[0]}")
        self.text.load()
        self.module = torch.nn.ModuleDict({"captioner": captioner.eval(), "text": self.text.module})
        self._tokenizer: Any = None
        self._loaded = True

    def captions(self, batch: Mapping[str, Tensor]) -> list[str]:
        """Return one sentence for each picture of a batch."""
        import torch

        captioner: Any = self.module["captioner"]  # type: ignore[index]
        with torch.inference_mode():
            ids = captioner.generate(
                pixel_values=batch["pixels"], max_new_tokens=self.config.max_new_tokens, do_sample=False, num_beams=1
            )
        if self._tokenizer is None:
            tokenizers = require("tokenizers", extra="encoders", purpose=NAME)
            file = self.found.folder / "tokenizer.json"
            if not file.is_file():
                raise DataError(f"{self.found.name} holds no tokenizer.json: captions cannot be put into words")
            self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        sentences = self._tokenizer.decode_batch(ids.cpu().tolist(), skip_special_tokens=True)
        return [" ".join(sentence.split()) for sentence in sentences]

    def _read(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the captions as a batch of the text encoder; a picture without words is called a picture."""
        items = [self.text.preparer(sentence or "picture") for sentence in self.captions(batch)]
        device = batch["pixels"].device
        return {name: value.to(device) for name, value in self.text.collate(items).items()}

    def collate(self, items: Sequence[Prepared]) -> dict[str, Tensor]:
        """Stack pictures: `pixels` float32 [b, 3, H, W]."""
        return stacked(items, "pixels")

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the states and vectors of the captions."""
        return self.text.forward(self._read(batch))

    def tokens(self, batch: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
        """Return the tokens of the captions."""
        return self.text.tokens(self._read(batch), layer)
