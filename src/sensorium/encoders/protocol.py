"""What an encoder with weights is: a foundation model, its exact preprocessing, and what enters the key of its cache.

It has two halves, since decoding runs in other processes than the model:

- a `Preparer` turns one item's raw content into NumPy arrays. It is pickled to worker processes that must stay small
  and quick to start: its module imports NumPy, Pillow, PyAV or tokenizers, never torch;
- a `FoundationEncoder` pads prepared items to a batch and returns the states of all its layers and one pooled vector.

    encoder = Family(config)              # cheap: knows its card, its preparer and its weights' hash
    encoder.load()                        # only now is `module` built, in eval mode and float32
    items = [encoder.preparer(text) for text in texts]
    states, pooled = encoder.forward(encoder.collate(items))      # [b, K, D], [b, P]

Fitted encoders, which learn from the catalogue, follow `base.Encoder`. A third party's encoder registers under the
entry points "sensorium.encoders" and passes `sensorium.testing.encoders.check_encoder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy.typing as npt

from sensorium.core import config as core_config
from sensorium.encoders.base import EncoderCard, LicenceCard, Modality, WeightsCard

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "EncoderCard",
    "FoundationEncoder",
    "LicenceCard",
    "Modality",
    "Prepared",
    "Preparer",
    "WeightsCard",
]


@dataclass(frozen=True)
class Prepared:
    """One item, decoded: what travels from a decoding process to the model.

    Attributes:
        arrays: NumPy arrays by name, such as `input_ids` int64 [n] or `pixels` float32 [pieces, 3, H, W].
        length: What the item takes of a batch's budget, and the key by which items of a chunk are sorted: tokens for
            texts, 1 for pictures, windows for sound, frames for video. A batch costs its number of items times the
            largest length in it.
        pieces: Frames or windows that are averaged to one item; 1 for texts and pictures.
        notes: What the manifest counts: "truncated" (content beyond a limit was left out), "partial" (a damaged
            file was used up to its cut).
    """

    arrays: dict[str, npt.NDArray[Any]]
    length: int
    pieces: int = 1
    notes: frozenset[str] = field(default_factory=frozenset)


@runtime_checkable
class Preparer(Protocol):
    """Raw content to arrays, in a process of its own: picklable, without torch.

    Attributes:
        facts: Every number, name and hash that the outcome depends on (the tokeniser's SHA-256 too), as plain values
            of JSON: all of it enters the key of the cache.
    """

    facts: dict[str, Any]

    def __call__(self, raw: str | bytes | Path) -> Prepared:
        """Prepare one item.

        Args:
            raw: The assembled text; or the file of a picture, sound or clip (bytes of it, where a caller holds them).

        Raises:
            MediaError: The content cannot be used; the item is set aside with the reason. Reason "empty" says that
                there is no content in it (a sound shorter than any window): the item counts as absent.
        """
        ...


@runtime_checkable
class FoundationEncoder(Protocol):
    """A frozen model and its preprocessing. `K` layers of width `D`, pooled width `P`.

    All but `module` is known before `load`, without building the model: an encode that finds everything up to date
    never loads it.

    Attributes:
        card: What `describe` returns, completed by what this instance knows (the source and hash of its weights).
        module: The model, after `load`: eval mode, float32.
        preparer: Its preprocessing.
        weights_hash: SHA-256 of the weights, or of all their parts; equal weights from another source have the same.
        layers: Indices into the model's hidden states, ascending, 0 = embedding output; K of them.
        layer_dims: True width of each of them; D is the largest, narrower layers are zero-padded on the right.
        pooled_dim: P.
        pooling: How tokens or positions become one vector: "mean", "cls", "last" or the encoder's own word.
        final_norm: Whether the last layer is stored after the model's final norm.
        budget: What a micro batch may cost: 4,096 padded tokens, 16 pictures or frames, 8 windows.
    """

    Config: ClassVar[type[core_config.Config]]

    card: EncoderCard
    module: nn.Module
    preparer: Preparer
    weights_hash: str
    layers: tuple[int, ...]
    layer_dims: tuple[int, ...]
    pooled_dim: int
    pooling: str
    final_norm: bool
    budget: int

    @classmethod
    def describe(cls, config: Any) -> EncoderCard:
        """Return the card for a configuration, in milliseconds: loads nothing, opens no connection.

        `runs_now` and `why_not` say whether it could be loaded here now, and if not the one command that changes it.
        """
        ...

    def __init__(self, config: Any) -> None:
        """Find the weights and read what is small (config, tokeniser); build nothing.

        Raises:
            DataError: The weights are not here; the message says what to install, fetch or pass.
            MissingExtraError: A library is not installed.
        """
        ...

    def load(self) -> None:
        """Verify the weights and build `module` in eval mode and float32. A second call does nothing.

        Raises:
            DataError: The weights are missing, damaged, or others than those that are expected.
        """
        ...

    def collate(self, items: Sequence[Prepared]) -> dict[str, Tensor]:
        """Pad prepared items to one batch, on the CPU."""
        ...

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return states pooled over tokens and pieces, float32 [b, K, D], and the pooled vectors, float32 [b, P].

        A row must not depend on the others beyond rounding: padding is masked.
        """
        ...

    def tokens(self, batch: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
        """Return the states of one layer before pooling, float32 [b, n_tok, D], and which are content, bool [b, n_tok].

        Args:
            batch: What `collate` returned.
            layer: An index into the model's hidden states, one of `layers`.
        """
        ...
