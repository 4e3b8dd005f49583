"""Two encoders with weights that are small enough for tests: random, seeded, and able to misbehave when told to.

Imported as a top-level module (see `cache/conftest.py`), so that decoding processes can import it as well.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from sensorium.core import config as core_config
from sensorium.encoders.protocol import EncoderCard, LicenceCard, Prepared, WeightsCard
from sensorium.media.errors import MediaError
from sensorium.media.images import read_image

WORDS, WIDTH, SIDE = 97, 8, 8


class Words:
    """Words to numbers. The words DIE, HANG and BROKEN do what they say."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self.facts: dict[str, Any] = {"kind": "words", "max_tokens": max_tokens}

    def __call__(self, raw: str | bytes | Path) -> Prepared:
        words = str(raw).split()
        if "DIE" in words:
            os.kill(os.getpid(), signal.SIGKILL)
        if "HANG" in words:
            time.sleep(60)
        if "BROKEN" in words:
            raise MediaError("undecodable", "it says so itself")
        if "HOLLOW" in words:
            raise MediaError("empty", "there is nothing in it")
        ids = np.array([1 + zlib.crc32(word.encode()) % WORDS for word in words], dtype=np.int64)
        notes = frozenset({"truncated"}) if len(ids) > self.max_tokens else frozenset()
        ids = ids[: self.max_tokens]
        return Prepared({"ids": ids}, length=len(ids), notes=notes)


class Squares:
    """Pictures to 8 x 8 pixels."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.facts: dict[str, Any] = {"kind": "squares", "side": side}

    def __call__(self, raw: str | bytes | Path) -> Prepared:
        small = read_image(raw if not isinstance(raw, str) else Path(raw)).resize((self.side, self.side))
        return Prepared({"pixels": np.asarray(small).astype(np.float32).transpose(2, 0, 1) / 255}, length=1)


class _Tiny:
    """What both share: seeded weights, counting, and being killed at a given forward."""

    name = ""

    @classmethod
    def describe(cls, config: Any) -> EncoderCard:
        raise NotImplementedError

    def __init__(self, config: Any) -> None:
        self.config = config
        self.card = self.describe(config)
        self.weights_hash = hashlib.sha256(f"{self.name}{config.seed}".encode()).hexdigest()
        self.final_norm = False
        self.seen = 0

    def load(self) -> None:
        import torch

        if hasattr(self, "module"):
            return
        torch.manual_seed(self.config.seed)
        self.module = self.build().eval()
        TinyText.loads += 1

    def build(self) -> Any:
        raise NotImplementedError

    def _count(self, n: int) -> None:
        limit = int(os.environ.get("TINY_KILL_AT", "0"))
        time.sleep(float(os.environ.get("TINY_SLEEP", "0")))
        self.seen += 1
        TinyText.forwarded += n
        if limit and self.seen >= limit:
            os.kill(os.getpid(), signal.SIGKILL)


class TinyText(_Tiny):
    """An embedding and two layers."""

    class Config(core_config.Config):
        seed: int = 0
        max_tokens: int = Field(12, ge=1)
        planted: float = 1.0  # layer 1 is multiplied by it
        spike: str = ""  # a text that begins so has layer 2 of this size
        spike_size: float = 1e6
        leak: bool = False  # the mean runs over padding as well
        mood: float = 0.0  # not deterministic

    name = "tiny-text"
    forwarded = 0
    loads = 0

    @classmethod
    def describe(cls, config: Any) -> EncoderCard:
        return EncoderCard(
            name=cls.name,
            family="tiny",
            modality="text",
            pooled_dim=WIDTH,
            layers=(0, 1, 2),
            layer_dims=(WIDTH,) * 3,
            params=WORDS * WIDTH,
            max_tokens=config.max_tokens,
            weights=WeightsCard(source="random"),
            licence=LicenceCard(weights="none"),
            languages="any",
            preprocessing="words become numbers",
            prep_version=1,
            download_mb=0.0,
            trust="made for tests",
        )

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.preparer = Words(config.max_tokens)
        self.layers, self.layer_dims, self.pooled_dim = (0, 1, 2), (WIDTH,) * 3, WIDTH
        self.pooling, self.budget = "mean", 64

    def build(self) -> Any:
        from torch import nn

        return nn.ModuleList([nn.Embedding(WORDS + 1, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)])

    def collate(self, items: Sequence[Prepared]) -> dict[str, Any]:
        import torch

        longest = max(item.length for item in items)
        ids = torch.zeros(len(items), longest, dtype=torch.int64)
        for row, item in enumerate(items):
            ids[row, : item.length] = torch.from_numpy(item.arrays["ids"])
        return {"ids": ids}

    def _states(self, batch: Mapping[str, Any]) -> tuple[Any, Any]:
        import torch

        ids = batch["ids"]
        mask = torch.ones_like(ids, dtype=torch.bool) if self.config.leak else ids > 0
        h = self.module[0](ids)
        states = [h]
        for layer in (1, 2):
            h = torch.tanh(self.module[layer](h))
            states.append(h * self.config.planted if layer == 1 else h)
        if self.config.spike:
            first = 1 + zlib.crc32(self.config.spike.encode()) % WORDS
            states[2] = torch.where((ids[:, :1] == first)[..., None], torch.tensor(self.config.spike_size), states[2])
        if self.config.mood:
            states[2] = states[2] + self.config.mood * torch.rand(())
        return torch.stack(states, 1), mask  # [b, 3, n, D]

    def forward(self, batch: Mapping[str, Any]) -> tuple[Any, Any]:
        self._count(len(batch["ids"]))
        states, mask = self._states(batch)
        weight = mask[:, None, :, None].float()
        pooled = (states * weight).sum(2) / weight.sum(2)
        return pooled, pooled[:, -1]

    def tokens(self, batch: Mapping[str, Any], layer: int) -> tuple[Any, Any]:
        self._count(len(batch["ids"]))
        states, mask = self._states(batch)
        return states[:, layer], mask


class TinyImage(_Tiny):
    """Two stages of different width."""

    class Config(core_config.Config):
        seed: int = 0
        side: int = SIDE

    name = "tiny-image"

    @classmethod
    def describe(cls, config: Any) -> EncoderCard:
        return EncoderCard(
            name=cls.name,
            family="tiny",
            modality="image",
            pooled_dim=6,
            layers=(1, 2),
            layer_dims=(4, 6),
            params=1000,
            resolution=(config.side, config.side),
            weights=WeightsCard(source="random"),
            licence=LicenceCard(weights="none"),
            preprocessing="squashed to a small square",
            prep_version=1,
            download_mb=0.0,
            trust="made for tests",
        )

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.preparer = Squares(config.side)
        self.layers, self.layer_dims, self.pooled_dim = (1, 2), (4, 6), 6
        self.pooling, self.budget = "mean", 16

    def build(self) -> Any:
        from torch import nn

        return nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3)])

    def collate(self, items: Sequence[Prepared]) -> dict[str, Any]:
        import torch

        return {"pixels": torch.from_numpy(np.stack([item.arrays["pixels"] for item in items]))}

    def forward(self, batch: Mapping[str, Any]) -> tuple[Any, Any]:
        import torch

        self._count(len(batch["pixels"]))
        one = torch.relu(self.module[0](batch["pixels"]))
        two = torch.relu(self.module[1](one))
        first = torch.nn.functional.pad(one.mean((2, 3)), (0, 2))
        return torch.stack([first, two.mean((2, 3))], 1), two.mean((2, 3))

    def tokens(self, batch: Mapping[str, Any], layer: int) -> tuple[Any, Any]:
        import torch

        one = torch.relu(self.module[0](batch["pixels"]))
        states = one if layer == 1 else torch.relu(self.module[1](one))
        flat = states.flatten(2).transpose(1, 2)
        return flat, torch.ones(flat.shape[:2], dtype=torch.bool)
