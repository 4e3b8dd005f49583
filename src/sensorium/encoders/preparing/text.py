"""Text to token ids, by a tokeniser's own `tokenizer.json`.

The file says how to clean, lower-case, cut and frame a text. What it says about padding and truncation is ignored: a
text is cut on the right at `max_tokens`, special tokens counted, and padded on the right when a batch is made. (Files
of old repositories may hold a length of 1e30, or pad on the left.)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sensorium.core.errors import DataError, require
from sensorium.core.files import sha256_file
from sensorium.encoders.protocol import Prepared
from sensorium.encoders.text import VERSION as ASSEMBLY
from sensorium.media.errors import MediaError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VERSION = 1  # changes when the same text would give other ids; part of every key
TOKENIZER = "tokenizer.json"


class TextPreparer:
    """Tokenise one assembled text.

    Attributes:
        facts: What enters the key: the tokeniser's SHA-256, `max_tokens`, `prefix`, sides, the padding id.
        pad_id: What a batch is padded with on the right; its value is masked. The tokeniser's padding token, or where
            it has none its end of text, or 0.
        max_tokens: Longer texts are cut.
    """

    def __init__(self, tokenizer_folder: str | Path, max_tokens: int, prefix: str = "") -> None:
        """Read what is small; the tokeniser itself is built with the first text, in the process that needs it.

        Args:
            tokenizer_folder: Holds `tokenizer.json`, and `tokenizer_config.json` where there is one.
            max_tokens: At least 1, special tokens counted.
            prefix: Set before every text, such as "passage: ".

        Raises:
            DataError: There is no `tokenizer.json`.
        """
        if max_tokens < 1:
            raise DataError(f"max_tokens is {max_tokens}, and a text has at least one token")
        self._file = Path(tokenizer_folder) / TOKENIZER
        if not self._file.is_file():
            raise DataError(f"{tokenizer_folder} holds no {TOKENIZER}: this encoder cannot read text")
        self.max_tokens, self.prefix = max_tokens, prefix
        self._tokenizer: Tokenizer | None = None
        self.pad_id = _pad_id(self._file)
        self.facts: dict[str, Any] = {
            "kind": "text",
            "version": VERSION,
            "assembly": ASSEMBLY,
            "tokenizer_sha256": sha256_file(self._file),
            "max_tokens": max_tokens,
            "prefix": prefix,
            "padding": "right",
            "truncation": "right",
            "pad_id": self.pad_id,
        }

    def __call__(self, raw: str | bytes | Path) -> Prepared:
        """Tokenise a text.

        Returns:
            `input_ids` and `token_type_ids`, int64 [n], 1 <= n <= max_tokens; note "truncated" where it was cut.

        Raises:
            MediaError: With reason "not_utf8", or "empty" (no token in it).
        """
        if isinstance(raw, Path):
            raw = _content(raw)
        try:
            text = raw.decode() if isinstance(raw, bytes) else raw
            text.encode()  # half a surrogate pair is no text
        except UnicodeError as error:
            raise MediaError("not_utf8", f"the text is not UTF-8: {error}") from None
        if not text.strip():
            raise MediaError("empty", "there is no text")
        encoding = self._built().encode(self.prefix + text)
        if not encoding.ids:
            raise MediaError("empty", "the tokeniser finds nothing in this text")
        arrays = {
            "input_ids": np.asarray(encoding.ids, np.int64),
            "token_type_ids": np.asarray(encoding.type_ids, np.int64),
        }
        notes = frozenset({"truncated"}) if encoding.overflowing else frozenset[str]()
        return Prepared(arrays, length=len(encoding.ids), notes=notes)

    def _built(self) -> Tokenizer:
        if self._tokenizer is None:
            tokenizers = require("tokenizers", extra="encoders", purpose="tokenising text")
            built = tokenizers.Tokenizer.from_file(str(self._file))
            built.no_padding()
            try:
                built.enable_truncation(self.max_tokens)
            except Exception as error:  # noqa: BLE001 - the library has error types of its own making
                raise DataError(f"{self._file}: cannot cut texts at {self.max_tokens} tokens: {error}") from None
            self._tokenizer = built
        return self._tokenizer

    def __getstate__(self) -> dict[str, Any]:
        """A worker builds its own tokeniser from the file: faster than sending it."""
        return {**self.__dict__, "_tokenizer": None}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MediaError("missing_file", f"it cannot be read: {error.strerror}", str(path)) from None


def _pad_id(file: Path) -> int:
    """Return the id of the padding token that the folder's files name, else of the end of text, else 0."""
    content = _json(file)
    ids: dict[str, int] = {token["content"]: token["id"] for token in content.get("added_tokens") or ()}
    model = content.get("model") or {}
    vocabulary = model.get("vocab") or {}
    if isinstance(vocabulary, dict):
        ids = {**vocabulary, **ids}
    else:  # unigram models list (piece, score)
        ids = {**{piece: place for place, (piece, *_) in enumerate(vocabulary)}, **ids}
    config = {**_json(file.with_name("special_tokens_map.json")), **_json(file.with_name("tokenizer_config.json"))}
    for role in ("pad_token", "eos_token"):
        token = config.get(role)
        text = token.get("content") if isinstance(token, dict) else token
        if text in ids:
            return int(ids[text])
    padding = content.get("padding") or {}
    if "pad_id" in padding:
        return int(padding["pad_id"])
    return next((int(ids[text]) for text in ("[PAD]", "<pad>", "</s>", "<|endoftext|>") if text in ids), 0)


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}") from None
    return content if isinstance(content, dict) else {}
