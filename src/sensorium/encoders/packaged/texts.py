"""minilm-l6, mpnet-base, e5-small, smollm2-135m: text encoders whose weights come in packages.

States and vector are means over the tokens, special ones included. A decoder's first position is a sink that holds no
content and outweighs all others (SmolLM2, layer 12: 26,700 against some 100; in a mean over 20 tokens still 1,400):
`pool_skip` leaves it out of the mean. A text of one token keeps it, having nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from sensorium.core.errors import ConfigError
from sensorium.core.files import read_json
from sensorium.encoders.packaged import sources
from sensorium.encoders.packaged.base import PackagedConfig, PackagedEncoder, load_pretrained
from sensorium.encoders.preparing.text import TextPreparer
from sensorium.encoders.protocol import Prepared

if TYPE_CHECKING:
    from torch import Tensor, nn


class TextConfig(PackagedConfig):
    """Options of a text encoder."""

    max_tokens: int = Field(128, ge=1, description="longer texts are cut on the right; special tokens count")
    pooling: Literal["mean", "cls", "last"] = Field("mean", description="how tokens become one vector")


class DecoderConfig(TextConfig):
    """Options of a decoder language model."""

    pool_skip: int = Field(1, ge=0, description="leading positions that the mean leaves out")


class PackagedText(PackagedEncoder):
    """A transformer over tokens, in PyTorch through transformers.

    Attributes:
        architecture: Class of transformers.
        sizes: Layers without the embedding, and their width.
        ceiling: The largest `max_tokens` that it was made for.
    """

    Config: ClassVar[type[PackagedConfig]] = TextConfig
    needs = ("transformers", "tokenizers")
    architecture: ClassVar[str]
    sizes: ClassVar[tuple[int, int]]
    params: ClassVar[int]
    ceiling: ClassVar[int]
    languages: ClassVar[str] = "English"
    prefix: ClassVar[str] = ""
    family: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    budget = 4096

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        if self.config.max_tokens > self.ceiling:
            raise ConfigError(
                f"encoder {self.weights.name}: max_tokens is {self.config.max_tokens}, it was made for {self.ceiling}"
            )
        self.preparer = TextPreparer(self.folder, self.config.max_tokens, self.prefix)
        count, width = self.sizes
        self.layers, self.layer_dims = tuple(range(count + 1)), (width,) * (count + 1)
        self.pooled_dim = width
        self.skip: int = getattr(self.config, "pool_skip", 0)
        self.pooling = self.config.pooling + (f", {self.skip} skipped" if self.skip else "")
        self.pad = self.preparer.pad_id

    @classmethod
    def _facts(cls, config: Any) -> dict[str, Any]:
        count, width = cls.sizes
        return {
            "family": cls.family,
            "modality": "text",
            "pooled_dim": width,
            "layers": tuple(range(count + 1)),
            "layer_dims": (width,) * (count + 1),
            "params": cls.params,
            "max_tokens": cls.ceiling,
            "languages": cls.languages,
            "preprocessing": f"its own tokeniser, cut at {config.max_tokens} tokens"
            + (f", after '{cls.prefix}'" if cls.prefix else ""),
        }

    def _build(self) -> nn.Module:
        model = load_pretrained(self.folder, self.architecture, **self.options)
        told = read_json(self.folder / "config.json")
        if (told["num_hidden_layers"], told["hidden_size"]) != self.sizes:
            raise ConfigError(
                f"{self.folder} has {told['num_hidden_layers']} layers of width {told['hidden_size']}, "
                f"{self.weights.name} has {self.sizes[0]} of {self.sizes[1]}"
            )
        return model

    def collate(self, items: Sequence[Prepared]) -> dict[str, Tensor]:
        """Pad on the right: `input_ids` and `attention_mask`, int64 [b, n]."""
        import torch

        length = max(item.length for item in items)
        ids = torch.full((len(items), length), self.pad, dtype=torch.int64)
        mask = torch.zeros(len(items), length, dtype=torch.int64)
        for row, item in enumerate(items):
            ids[row, : item.length] = torch.from_numpy(item.arrays["input_ids"])
            mask[row, : item.length] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def _states(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = self.module(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            output_hidden_states=True,
            **({"use_cache": False} if self.skip else {}),
        ).hidden_states
        return found

    def _weights(self, mask: Tensor) -> Tensor:
        """Return how much each token counts, float32 [b, n], rows summing to 1."""
        import torch

        places = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
        lengths = mask.sum(1, keepdim=True)
        if self.config.pooling == "cls":
            chosen = places == 0
        elif self.config.pooling == "last":
            chosen = places == lengths - 1
        else:
            chosen = (places < lengths) & (places >= torch.minimum(lengths - 1, torch.full_like(lengths, self.skip)))
        return chosen.float() / chosen.sum(1, keepdim=True)

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return pooled states [b, K, D] and the vector, the pooled last layer, [b, D]."""
        import torch

        weights = self._weights(batch["attention_mask"]).unsqueeze(1)  # [b, 1, n]
        pooled = torch.cat([weights @ states.float() for states in self._states(batch)], dim=1)
        return pooled, pooled[:, -1]

    def tokens(self, batch: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
        """Return the states of one layer [b, n, D] and the mask bool [b, n]."""
        return self._states(batch)[layer].float(), batch["attention_mask"].bool()


class MiniLM(PackagedText):
    """all-MiniLM-L6-v2: small, and the default for text."""

    weights = sources.MINILM
    architecture, sizes, params, ceiling, family = "BertModel", (6, 384), 22_713_216, 256, "bert"


class MPNet(PackagedText):
    """all-mpnet-base-v2: large; better in every figure, at seven times the cost."""

    weights = sources.MPNET
    architecture, sizes, params, ceiling, family = "MPNetModel", (12, 768), 109_486_464, 384, "mpnet"


class E5Small(PackagedText):
    """multilingual-e5-small from 4 bits; texts are read after "passage: "."""

    weights = sources.E5_SMALL
    architecture, sizes, params, ceiling, family = "BertModel", (12, 384), 117_505_920, 512, "bert"
    languages, prefix = "about 100", "passage: "
    options: ClassVar[dict[str, Any]] = {"add_pooling_layer": False}


class SmolLM2(PackagedText):
    """SmolLM2-135M-Instruct from 4 bits: the decoder path. As an embedding it is below MiniLM at ten times the cost."""

    Config: ClassVar[type[PackagedConfig]] = DecoderConfig
    weights = sources.SMOLLM2
    architecture, sizes, params, ceiling, family = "LlamaModel", (30, 576), 134_515_008, 512, "llama"
