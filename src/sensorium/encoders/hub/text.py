"""Text encoders of the Hub: BERT and its kin, and decoder language models.

Tokens are padded on the right and masked, so that a text's states do not depend on its neighbours. Pooling is the mean
over all tokens of the text, class and separator tokens included; `cls`, the first token (XLNet: the last, where it
stands); or `last`, the last token. In decoders the first position is a sink that all texts share: `pool_skip` leaves
it out of the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sensorium.core.errors import ConfigError, DataError, require
from sensorium.core.files import read_json
from sensorium.core.home import cache_home
from sensorium.encoders.hub.base import HubConfig, HubEncoder, Output
from sensorium.encoders.hub.families import Shape, facts_of
from sensorium.encoders.preparing.text import TOKENIZER, TextPreparer
from sensorium.encoders.protocol import Prepared

if TYPE_CHECKING:
    from torch import Tensor

MAX_TOKENS = 128
SENTENCE = "sentence_bert_config.json"


class HubTextConfig(HubConfig):
    """Options of a text encoder."""

    max_tokens: int = Field(MAX_TOKENS, ge=1, description="longer texts are cut on the right")
    prefix: str = Field("", description="set before every text, as 'passage: ' for the E5 family")
    pool_skip: int | None = Field(
        None, ge=0, description="positions left out of the mean at the start; default: 1 for decoders, else 0"
    )


class HubText(HubEncoder):
    """Any text model of the known families, by its id or folder."""

    Config = HubTextConfig
    modality = family_modality = "text"
    group_name = "hub-text"
    budget = 4_096

    def _make_preparer(self) -> TextPreparer:
        ceiling = ceiling_of(self.found.folder, self.shape)
        if ceiling is not None and self.config.max_tokens > ceiling:
            if "max_tokens" in self.config.model_fields_set:
                raise ConfigError(f"max_tokens: {self.card_name} reads at most {ceiling} tokens")
            return TextPreparer(self._tokenizer(), ceiling, self.config.prefix)
        return TextPreparer(self._tokenizer(), self.config.max_tokens, self.config.prefix)

    @property
    def card_name(self) -> str:
        """Its name, before there is a card."""
        return self._name(self.config)

    @property
    def skip(self) -> int:
        """Positions left out of the mean."""
        asked = self.config.pool_skip
        return int(self.family.layout == "decoder") if asked is None else int(asked)

    def _pooling(self) -> str:
        pooling = super()._pooling()
        return f"{pooling}, skip {self.skip}" if self.skip and pooling == "mean" else pooling

    def _tokenizer(self) -> Path:
        """Return a folder with a `tokenizer.json`; old repositories hold its parts, from which it is made once."""
        folder = self.found.folder
        if (folder / TOKENIZER).is_file():
            return folder
        parts = sorted(path for path in folder.iterdir() if path.suffix in (".txt", ".json", ".model"))
        if not any(path.name.startswith(("vocab", "spiece", "tokenizer", "sentencepiece")) for path in parts):
            raise DataError(f"{folder} holds no tokeniser: neither {TOKENIZER} nor the vocabulary it is made from")
        from sensorium.core.files import digest, sha256_file

        made = cache_home() / "tokenizers" / digest([(path.name, sha256_file(path)) for path in parts])[:32]
        if not (made / TOKENIZER).is_file():
            transformers = require("transformers", extra="encoders", purpose="making a tokeniser from its vocabulary")
            built = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            built.save_pretrained(made)
        if not (made / TOKENIZER).is_file():
            raise DataError(
                f"the tokeniser of {self.found.name} has no fast form ({TOKENIZER}): it cannot be used here"
            )
        return made

    def collate(self, items: Sequence[Prepared], width: int | None = None) -> dict[str, Tensor]:
        """Pad on the right: `input_ids`, `attention_mask`, `token_type_ids`, int64 [b, n].

        Args:
            items: Texts.
            width: Pad to this many tokens instead of the longest text's.
        """
        import torch

        preparer: Any = self.preparer
        if self.family.cls == "SiglipTextModel":  # trained on texts that fill all positions; its pooler reads the last
            width = self.shape.max_tokens
        n = max(width or 0, max(item.length for item in items))
        ids = torch.full((len(items), n), preparer.pad_id, dtype=torch.int64)
        mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, item in enumerate(items):
            ids[row, : item.length] = torch.from_numpy(item.arrays["input_ids"])
            types[row, : item.length] = torch.from_numpy(item.arrays["token_type_ids"])
            mask[row, : item.length] = 1
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}

    def run(self, batch: Mapping[str, Tensor]) -> Output:
        """Run the model on padded tokens."""
        mask = batch["attention_mask"]
        given: dict[str, Any] = {"input_ids": batch["input_ids"], "output_hidden_states": True}
        if self.family.cls != "SiglipTextModel":
            given["attention_mask"] = mask
        if self._types():
            given["token_type_ids"] = batch["token_type_ids"]
        if self.family.layout == "decoder":
            given["use_cache"] = False
        outputs = self.module(**given)
        hidden, content = self.states_of(outputs), mask.bool()
        vector = outputs.pooler_output if self.family.pooler else self.pool(as_last(outputs), content)
        return Output(hidden, content, vector.float())

    def _types(self) -> bool:
        """Whether the model was taught token types. (RoBERTa's kin have one type, whatever their tokeniser says.)"""
        facts = facts_of(self.family, self.facts)
        return self.family.cls in ("BertModel", "ElectraModel", "XLNetModel") and facts.get("type_vocab_size", 2) > 1

    def pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Pool the tokens of m texts: [m, n, D] and bool [m, n] to float32 [m, D]."""
        assert mask is not None
        hidden = hidden.float()
        last = mask.sum(1) - 1
        if self.pooling == "last" or (self.pooling == "cls" and self.family.cls == "XLNetModel"):
            return hidden.gather(1, last.view(-1, 1, 1).expand(-1, 1, hidden.shape[2])).squeeze(1)
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.skip:
            kept = mask.clone()
            kept[:, : self.skip] = False
            mask = kept | (mask & (last < self.skip).unsqueeze(1))  # a text of nothing else keeps what it has
        return super().pool(hidden, mask)

    @classmethod
    def _preprocessing(cls, config: Any) -> str:
        return f"clean text, NFC, cut on the right at {config.max_tokens} tokens of the model's own tokeniser"

    @classmethod
    def _ceiling(cls, config: Any, shape: Shape | None) -> int | None:
        return shape.max_tokens if shape else None


def as_last(outputs: Any) -> Tensor:
    """Return the last state of a model, after its final norm."""
    state: Tensor = outputs.last_hidden_state
    return state


def ceiling_of(folder: Path, shape: Shape) -> int | None:
    """Return how many tokens a model reads at most: by its positions and by how it was trained to embed sentences."""
    stated = read_json(folder / SENTENCE).get("max_seq_length") if (folder / SENTENCE).is_file() else None
    limits = [int(limit) for limit in (shape.max_tokens, stated) if limit]
    return min(limits) if limits else None
