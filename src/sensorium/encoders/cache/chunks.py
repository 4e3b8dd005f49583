"""From a list of items to states, chunk by chunk: the part of encoding that every way of running it shares.

A chunk is 256 consecutive entries of the work list. Texts and sounds of a chunk are sorted by (length, place) and cut
into micro batches by the encoder's budget; pictures and clips, which are of one length and large, are batched in order
as they arrive. So the composition of a batch depends on the work list and its content alone: never on the number of
processes, on timing, or on where an earlier run was killed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.encoders.cache.decoding import SECONDS, Decoder, Outcome, Raw, Refusal, size_of
from sensorium.encoders.cache.layout import NOTES
from sensorium.encoders.contents import Contents
from sensorium.encoders.protocol import FoundationEncoder, Prepared
from sensorium.media.errors import MediaError

if TYPE_CHECKING:
    import torch

CHUNK = 256
KEPT_BYTES = 384 * 1024**2  # prepared items of one chunk that are kept until their batch is known

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Manner:
    """How the model is asked: what enters the key beside preprocessing, and where it runs.

    Attributes:
        layers: Indices into hidden states that are stored.
        pooling: The encoder's own word, or "none" for one layer's tokens.
        compute_dtype: "float32", or "bfloat16" by autocast.
        device: Such as "cpu" or "cuda".
    """

    layers: tuple[int, ...]
    pooling: str
    compute_dtype: str = "float32"
    device: str = "cpu"

    @property
    def tokens(self) -> bool:
        """Whether states of tokens are stored."""
        return self.pooling == "none"


@dataclass
class Encoded:
    """One chunk, encoded. Arrays have one row per entry of the chunk; rows without content are zero."""

    chunk: int
    rows: npt.NDArray[np.int64]  # [n], item ids
    states: Floats  # [n, K, D], or [n, tokens, D]
    pooled: Floats  # [n, P]
    present: npt.NDArray[np.bool_]  # [n]
    notes: npt.NDArray[np.uint8]  # [n], bits of layout.NOTES
    mask: npt.NDArray[np.bool_] | None = None  # [n, tokens]
    rejected: list[dict[str, Any]] = field(default_factory=list)  # item, field, path, reason, detail


class Runner:
    """An encoder, its decoding processes, and the content it reads. Use as a context manager.

    Attributes:
        forwarded: Items that went through the model.
    """

    def __init__(
        self,
        encoder: FoundationEncoder,
        contents: Contents,
        manner: Manner,
        *,
        workers: int,
        seconds: float = SECONDS,
    ) -> None:
        self.encoder, self.contents, self.manner = encoder, contents, manner
        self.forwarded = 0
        self._sorts = contents.modality in ("text", "audio")
        # A group is what one call decodes: many texts, half a batch of pictures, one clip or sound.
        self._group = {"text": 32, "image": max(1, encoder.budget // 2)}.get(contents.modality, 1)
        ahead = CHUNK if self._sorts else 2 * max(1, workers) * max(encoder.budget, 1)
        self._decoder = Decoder(encoder.preparer, workers=workers, group=self._group, ahead=ahead, seconds=seconds)
        self._loaded = False

    def __enter__(self) -> Runner:
        self._decoder.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._decoder.__exit__(kind, error, trace)

    def encode(self, rows: npt.NDArray[np.int64], chunks: Sequence[int]) -> Iterator[Encoded]:
        """Encode some chunks of a work list, in the given order.

        Args:
            rows: The work list: item ids, ascending.
            chunks: Which chunks of it.

        Raises:
            DataError: A file changed meanwhile.
        """
        parts = [rows[chunk * CHUNK : (chunk + 1) * CHUNK] for chunk in chunks]
        outcomes = self._decoder.outcomes(self._request(int(item)) for part in parts for item in part)
        try:
            for chunk, part in zip(chunks, parts, strict=True):
                yield self._chunk(chunk, part, outcomes)
        finally:
            outcomes.close()  # type: ignore[attr-defined]

    def usable(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which of some items can be decoded now, bool [n]; the model is not asked."""
        outcomes = self._decoder.outcomes(self._request(int(item)) for item in rows)
        return np.array([isinstance(outcome, Prepared) for outcome in outcomes], dtype=bool)

    def _request(self, item: int) -> Raw | Refusal:
        if not self.contents.values[item]:
            return Refusal("absent", "")
        try:
            return self.contents.source(item)
        except MediaError as error:
            return Refusal(error.reason, error.detail)

    def _chunk(self, chunk: int, rows: npt.NDArray[np.int64], outcomes: Iterator[Outcome]) -> Encoded:
        batches = self._sorted(rows, outcomes) if self._sorts else self._in_order(rows, outcomes)
        notes = np.zeros(len(rows), dtype=np.uint8)
        rejected: list[dict[str, Any]] = []
        places: list[int] = []
        found: list[tuple[Floats, Floats, npt.NDArray[np.bool_] | None]] = []
        for batch in batches:
            for place, outcome in batch:
                notes[place] |= self._note(int(rows[place]), outcome, rejected)
            usable = [(place, outcome) for place, outcome in batch if isinstance(outcome, Prepared)]
            if usable:
                places += [place for place, _ in usable]
                found.append(self._forward([prepared for _, prepared in usable]))
        encoded = self._assemble(chunk, rows, np.array(places, dtype=np.int64), found)
        encoded.notes[:], encoded.rejected = notes, rejected
        self._refuse_infinite(encoded)
        return encoded

    # --- batches ---

    def _sorted(self, rows: npt.NDArray[np.int64], outcomes: Iterator[Outcome]) -> Iterator[list[tuple[int, Outcome]]]:
        """Take the whole chunk, sort it by length and cut it; what memory does not hold is decoded twice."""
        kept: list[Outcome | None] = []
        lengths: list[tuple[int, int]] = []
        refused: list[tuple[int, Outcome]] = []
        held = 0
        for place in range(len(rows)):
            outcome = next(outcomes)
            if isinstance(outcome, Refusal):
                refused.append((place, outcome))
                kept.append(None)
                continue
            lengths.append((outcome.length, place))
            held += size_of(outcome)
            kept.append(outcome if held <= KEPT_BYTES else None)
        if refused:
            yield refused
        batch: list[tuple[int, Outcome]] = []
        for length, place in sorted(lengths):
            if batch and (len(batch) + 1) * length > self.encoder.budget:
                yield batch
                batch = []
            prepared, kept[place] = kept[place], None
            batch.append((place, self._again(int(rows[place])) if prepared is None else prepared))
        if batch:
            yield batch

    def _again(self, item: int) -> Outcome:
        raw = self._request(item)
        return raw if isinstance(raw, Refusal) else self._decoder.again(raw)

    def _in_order(
        self, rows: npt.NDArray[np.int64], outcomes: Iterator[Outcome]
    ) -> Iterator[list[tuple[int, Outcome]]]:
        """Cut a chunk as it arrives: pictures and clips are too large to wait for all of them."""
        batch: list[tuple[int, Outcome]] = []
        longest, count = 0, 0
        for place in range(len(rows)):
            outcome = next(outcomes)
            if isinstance(outcome, Prepared):
                if count and (count + 1) * max(longest, outcome.length) > self.encoder.budget:
                    yield batch
                    batch, longest, count = [], 0, 0
                longest, count = max(longest, outcome.length), count + 1
            batch.append((place, outcome))
        if batch:
            yield batch

    def _note(self, item: int, outcome: Outcome, rejected: list[dict[str, Any]]) -> int:
        if isinstance(outcome, Prepared):
            self.contents.check_unchanged(item)
            return sum(NOTES[name] for name in outcome.notes)
        if outcome.reason == "absent":
            return 0
        if outcome.reason == "empty" or (outcome.reason == "no_sound_stream" and self.contents.lent(item)):
            return NOTES["empty"]
        rejected.append(self._rejection(item, outcome.reason, outcome.detail))
        return NOTES["rejected"]

    def _rejection(self, item: int, reason: str, detail: str) -> dict[str, Any]:
        path = "" if self.contents.modality == "text" else self.contents.values[item]
        return {"item": item, "field": self.contents.field_of(item), "path": path, "reason": reason, "detail": detail}

    # --- the model ---

    def _forward(self, items: list[Prepared]) -> tuple[Floats, Floats, npt.NDArray[np.bool_] | None]:
        """Return states, pooled vectors and mask of one micro batch."""
        import torch

        if not self._loaded:
            self.encoder.load()
            self.encoder.module.to(self.manner.device)
            self._loaded = True
        self.forwarded += len(items)
        with torch.inference_mode(), computing(self.manner):
            batch = {
                name: value.to(self.manner.device) if isinstance(value, torch.Tensor) else value
                for name, value in self.encoder.collate(items).items()
            }
            if self.manner.tokens:
                states, mask = self.encoder.tokens(batch, self.manner.layers[0])
                weight = mask.unsqueeze(-1).to(states.dtype)
                pooled = (states * weight).sum(1) / weight.sum(1).clamp(min=1)
                return _numpy(states * weight), _numpy(pooled), mask.cpu().numpy()
            states, pooled = self.encoder.forward(batch)
        chosen = [self.encoder.layers.index(layer) for layer in self.manner.layers]
        return _numpy(states)[:, chosen, : width_of(self.encoder, self.manner)], _numpy(pooled), None

    def _assemble(
        self,
        chunk: int,
        rows: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        found: list[tuple[Floats, Floats, npt.NDArray[np.bool_] | None]],
    ) -> Encoded:
        """Put the rows of all batches in the order of the chunk."""
        n, width, manner = len(rows), width_of(self.encoder, self.manner), self.manner
        tokens = max((states.shape[1] for states, _, _ in found), default=0)
        inner = (tokens, width) if manner.tokens else (len(manner.layers), width)
        pooled_dim = width if manner.tokens else self.encoder.pooled_dim
        encoded = Encoded(
            chunk=chunk,
            rows=rows,
            states=np.zeros((n, *inner), dtype=np.float32),
            pooled=np.zeros((n, pooled_dim), dtype=np.float32),
            present=np.zeros(n, dtype=bool),
            notes=np.zeros(n, dtype=np.uint8),
            mask=np.zeros((n, tokens), dtype=bool) if manner.tokens else None,
        )
        start = 0
        for states, pooled, mask in found:
            here = places[start : start + len(states)]
            start += len(states)
            if not manner.tokens and (states.shape[1:] != inner or pooled.shape[1:] != (pooled_dim,)):
                raise DataError(
                    f"encoder '{self.encoder.card.name}' returned states {list(states.shape)} and vectors "
                    f"{list(pooled.shape)}; its card promises [b, {inner[0]}, {inner[1]}] and [b, {pooled_dim}]"
                )
            encoded.states[here, : states.shape[1]] = states
            encoded.pooled[here] = pooled
            encoded.present[here] = True
            if encoded.mask is not None and mask is not None:
                encoded.mask[here, : mask.shape[1]] = mask
        return encoded

    def _refuse_infinite(self, encoded: Encoded) -> None:
        """Set aside items whose states are not finite: rows of zeros, present false."""
        finite = np.isfinite(encoded.pooled).all(1) & np.isfinite(encoded.states).reshape(len(encoded.rows), -1).all(1)
        for place in np.flatnonzero(~finite).tolist():
            bad = ~np.isfinite(encoded.states[place]).all(1)
            where = (
                "the vector"
                if not bad.any()
                else "tokens"
                if self.manner.tokens
                else (f"layer {self.manner.layers[int(bad.argmax())]}")
            )
            item = int(encoded.rows[place])
            encoded.rejected.append(self._rejection(item, "non_finite", f"{where} is not finite in float32"))
            encoded.states[place], encoded.pooled[place], encoded.present[place] = 0, 0, False
            if encoded.mask is not None:
                encoded.mask[place] = False
            encoded.notes[place] = NOTES["rejected"]


def width_of(encoder: FoundationEncoder, manner: Manner) -> int:
    """Return D, the width of the widest of the layers that are stored."""
    widths = dict(zip(encoder.layers, encoder.layer_dims, strict=True))
    return max(widths[layer] for layer in manner.layers)


@contextmanager
def computing(manner: Manner) -> Iterator[None]:
    """Compute as a manner says: true float32 (no TF32), or autocast."""
    import torch

    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with ExitStack() as stack:
        stack.callback(_set_tf32, *before)
        _set_tf32(False, False)
        lower = manner.compute_dtype != "float32"
        kind = manner.device.partition(":")[0]
        stack.enter_context(
            torch.autocast(kind, dtype=getattr(torch, manner.compute_dtype)) if lower else nullcontext()
        )
        yield


def _set_tf32(convolutions: bool, products: bool) -> None:
    import torch

    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = products


def _numpy(tensor: torch.Tensor) -> Floats:
    array: Floats = tensor.float().cpu().numpy()
    return array
