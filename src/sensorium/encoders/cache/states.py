"""Reading a cache: hidden states of items by token, and the check that nothing stale is read.

with open_states(folder, dataset=dataset) as states:
    x, present = states.take(tokens)       # float32 [n, K, D], bool [n]
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from sensorium.core import registry
from sensorium.core.config import Component, build
from sensorium.core.errors import DataError, MissingExtraError, UnknownNameError
from sensorium.core.files import read_json, read_npy
from sensorium.core.resources import available_memory, readable_bytes
from sensorium.data.dataset import Dataset
from sensorium.encoders.cache import layout, locks
from sensorium.encoders.cache.chunks import Manner
from sensorium.encoders.cache.commit import FORMAT_VERSION, MANIFEST
from sensorium.encoders.cache.job import Options, choose_manner
from sensorium.encoders.cache.keys import array_hash, differences, digests_of, facts_of, keys_hash
from sensorium.encoders.cache.layout import DIGEST, MASK, POOLED, PRESENT, SCALE, STATES, Shape
from sensorium.encoders.contents import read_contents
from sensorium.encoders.memo import Memo
from sensorium.encoders.protocol import FoundationEncoder

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

Resident = Literal["auto", "never", "device"]
GROUP = "sensorium.encoders"


class StaleCache(DataError):  # noqa: N818 - it names a state of the data, as users of a cache say it
    """A cache that is not of the catalogue, the preprocessing or the weights as they are now.

    Attributes:
        count: Items whose row is not what it should be.
        keys: The first five of their external ids.
        part: What differs.
    """

    def __init__(self, folder: Path, count: int, keys: Sequence[str], part: str) -> None:
        shown = ", ".join(keys) + (", ..." if count > len(keys) else "")
        super().__init__(f"{folder} is stale: {count:,} items differ ({shown}) in {part}: encode again")
        self.count, self.keys, self.part = count, tuple(keys), part


class HiddenStates:
    """Hidden states of the items of a catalogue. Make one with `open_states`; closing it lets `encode` write again.

    Attributes:
        manifest: What the cache is of.
        layers: Indices into the model's hidden states, in the order of axis 1.
        layer_dims: True widths of the layers; narrower ones are zero-padded on the right.
        n_items: I.
        present: bool [I].
        mask: bool [I, n_tok] where tokens are stored, else None.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], held: Any, resident: Resident, device: str) -> None:
        import torch

        self.folder, self.manifest = folder, manifest
        self.layers: tuple[int, ...] = tuple(manifest["layers"])
        self.layer_dims: tuple[int, ...] = tuple(manifest["layer_dims"])
        self.n_items: int = manifest["items"]
        self._held = held
        shape = Shape(**manifest["shape"])
        arrays = {
            name: layout.open_array(folder / name, kind, size) for name, (kind, size) in shape.of(self.n_items).items()
        }
        if array_hash(np.asarray(arrays[DIGEST])) != manifest["digest_sha256"]:
            raise DataError(f"{folder / DIGEST} is not what the manifest says: encode again")
        self.present: npt.NDArray[np.bool_] = np.array(arrays[PRESENT])
        self.mask = np.array(arrays[MASK]) if shape.tokens is not None else None
        self._pooled_path, self._pooled_scale = folder / POOLED, float(manifest["pooled_scale"])
        factors = torch.from_numpy(read_npy(folder / SCALE).astype(np.float32)).reshape(1, -1, 1)
        self.resident = resident
        if resident == "auto":
            self.resident = "auto" if arrays[STATES].nbytes <= available_memory() / 4 else "never"
        where = torch.device(device if resident == "device" else "cpu")
        # Copy-on-write maps: torch wants memory that could be written, and nothing ever is.
        mapped = np.load(folder / STATES, mmap_mode="c", allow_pickle=False)
        states = torch.from_numpy(mapped if self.resident == "never" else np.array(mapped))
        self._states = states.to(where)
        self._scale = factors.to(where)
        self._there = torch.from_numpy(self.present).to(where)
        self._tokens = None if self.mask is None else torch.from_numpy(self.mask).to(where)

    def take(
        self, tokens: torch.Tensor | npt.ArrayLike, layers: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return states and presence of items.

        Args:
            tokens: Item id + 1, of any order and with repetitions, int [n]; 0 is padding.
            layers: Indices into the model's hidden states; None takes all that are stored. Others are not read.

        Returns:
            float32 [n, K, D] ([n, n_tok, D] where tokens are stored) and bool [n]. A row without content is zero,
            whatever stands on the disk. `token_mask` has the mask of tokens.

        Raises:
            DataError: A token or a layer that is not there.
        """
        import torch

        asked = torch.as_tensor(tokens, dtype=torch.int64, device=self._states.device)
        if asked.numel() and (int(asked.min()) < 0 or int(asked.max()) > self.n_items):
            raise DataError(f"tokens are 0 to {self.n_items:,}, not {int(asked.min()):,} to {int(asked.max()):,}")
        distinct, place = torch.unique(asked, sorted=True, return_inverse=True)
        rows = (distinct - 1).clamp(min=0)
        present = self._there[rows] & (distinct > 0)
        chosen = None if layers is None else [self._layer(layer) for layer in layers]
        states = self._gather(rows, chosen)
        states.masked_fill_(~present[:, None, None], 0)  # not by multiplication: noise there may be infinite
        return states[place], present[place]

    def token_mask(self, tokens: torch.Tensor | npt.ArrayLike) -> torch.Tensor:
        """Return which tokens of items are content, bool [n, n_tok].

        Raises:
            DataError: The cache holds no tokens.
        """
        import torch

        if self._tokens is None:
            raise DataError(f"{self.folder} holds states that are pooled over tokens: encode with --pooling none")
        asked = torch.as_tensor(tokens, dtype=torch.int64, device=self._states.device)
        rows = (asked - 1).clamp(min=0)
        return self._tokens[rows] & (self._there[rows] & (asked > 0))[:, None]

    def pooled(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return the encoder's own vectors, float32 [I, P], and which items have one, bool [I]."""
        x = read_npy(self._pooled_path).astype(np.float32) * np.float32(self._pooled_scale)
        x[~self.present] = 0
        return x, self.present

    def _layer(self, layer: int) -> int:
        if layer not in self.layers:
            raise DataError(f"{self.folder} holds no layer {layer} (it has {', '.join(map(str, self.layers))})")
        return self.layers.index(layer)

    def _gather(self, rows: torch.Tensor, chosen: list[int] | None) -> torch.Tensor:
        """Return float32 [n, K, D] of ascending rows, times scale."""
        import torch

        if chosen is None:
            return self._states.index_select(0, rows).float() * self._scale
        k = self._states.shape[1]
        picked = torch.tensor(chosen, device=rows.device)
        flat = (rows[:, None] * k + picked).reshape(-1)  # only these layers are read
        width = self._states.shape[2]
        states = self._states.view(-1, width).index_select(0, flat)
        return states.view(len(rows), len(chosen), width).float() * self._scale[:, picked]

    def close(self) -> None:
        """Let go of the cache; `encode` may write to it again."""
        del self._states
        self._held.close()

    def __enter__(self) -> HiddenStates:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_states(
    where: str | Path,
    *,
    dataset: Dataset | None = None,
    encoder: Component | None = None,
    fields: Sequence[str] | None = None,
    resident: Resident = "auto",
    device: str = "cpu",
) -> HiddenStates:
    """Open a cache for reading, and hold it so that nothing changes meanwhile.

    Args:
        where: Its folder, or with a data set the short name of a feature set ("text").
        dataset: For training: all digests are compared with this catalogue as it is now.
        encoder: The encoder as it is configured now; None takes the one that made the cache.
        fields: The columns that are read now; None takes those that the cache was made of.
        resident: "auto" keeps the states in memory where they fit a quarter of what is free, "never" leaves them on
            the disk, "device" puts them on `device`.
        device: For `resident="device"`.

    Raises:
        DataError: There is no cache, it is incomplete, damaged, or of a newer version.
        StaleCache: It is not of this catalogue, encoder or weights.
        RunError: A process is changing it.
    """
    folder = _folder(where, dataset)
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist: make it with sensorium encode")
    held = locks.reading(folder)
    try:
        manifest = _manifest(folder)
        if dataset is not None:
            check_fresh(folder, manifest, dataset, encoder, fields)
        return HiddenStates(folder, manifest, held, resident, device)
    except BaseException:
        held.close()
        raise


def _folder(where: str | Path, dataset: Dataset | None) -> Path:
    if dataset is not None and isinstance(where, str) and where in dataset.info.features:
        return dataset.root / dataset.info.features[where].folder
    return Path(where)


def _manifest(folder: Path) -> dict[str, Any]:
    if not (folder / MANIFEST).is_file():
        begun = (folder / "config.yaml").is_file()
        raise DataError(
            f"{folder} is incomplete: its first encode has not ended, run it again and it goes on"
            if begun
            else f"{folder} holds no hidden states: there is no {MANIFEST}"
        )
    manifest: dict[str, Any] = read_json(folder / MANIFEST)
    if manifest.get("format_version", 0) > FORMAT_VERSION:
        raise DataError(f"{folder} was written by a newer version: update sensorium")
    if "layers" not in manifest:
        raise DataError(f"{folder} holds one vector per item and no hidden states: read it with dataset.features")
    if not manifest["complete"]:
        raise DataError(f"{folder} is half-way through a change: run encode again, it finishes it")
    return manifest


def check_fresh(
    folder: Path,
    manifest: dict[str, Any],
    dataset: Dataset,
    encoder: Component | None = None,
    fields: Sequence[str] | None = None,
) -> None:
    """Compare all digests of a cache with the catalogue and the encoder as they are now.

    Raises:
        StaleCache: Something differs; it says in how many items, the first five, and what.
    """
    ids = dataset.item_ids().to_list()
    facts, weights = manifest["facts"], manifest["weights_hash"]
    now = _encoder_now(manifest, encoder)
    parts: list[str] = []
    read = list(fields) if fields is not None else manifest["fields"]
    if now is not None:
        manner = _manner_now(now, manifest)
        facts = facts_of(now, read, layers=manner.layers, pooling=manner.pooling, compute_dtype=manner.compute_dtype)
        weights = now.weights_hash
        if weights != manifest["weights_hash"]:
            parts.append(f"weights ({manifest['weights_hash'][:8]}, now {weights[:8]})")
    elif fields is not None:
        facts = {**facts, "preprocessing": {**facts["preprocessing"], "fields": read}}
    parts += differences(manifest["facts"], facts)
    memo = Memo(dataset.root / "features" / ".hashes.json")
    contents = read_contents(dataset, facts["modality"], read, memo=memo)
    digests = digests_of(contents, facts, weights)
    stored = read_npy(folder / DIGEST)
    n = min(len(stored), len(digests))
    differ = np.ones(max(len(stored), len(digests)), dtype=bool)
    differ[:n] = (stored[:n] != digests[:n]).any(1)
    if not parts and len(ids) == manifest["items"] and keys_hash(ids) != manifest["item_keys_sha256"]:
        parts.append("item ids")
        differ[:] = True
    if not differ.any():
        return
    rows = np.flatnonzero(differ)
    first = [ids[row] if row < len(ids) else f"row {row}" for row in rows[:5].tolist()]
    if not parts:
        parts.append("content" if len(stored) == len(digests) else "content and the number of items")
    raise StaleCache(folder, len(rows), first, ", ".join(parts))


def _encoder_now(manifest: dict[str, Any], encoder: Component | None) -> FoundationEncoder | None:
    """Return the encoder as it is now; None where the one that made the cache is not on this machine."""
    if encoder is not None:
        asked: FoundationEncoder = encoder.target(encoder.config)
        return asked
    with suppress(DataError, MissingExtraError, UnknownNameError):
        target = registry.get(GROUP, manifest["encoder"])
        config = build(target.Config, manifest["config"], source="manifest.json")
        if target.describe(config).runs_now:  # else building it might fetch weights, which a check must not
            made: FoundationEncoder = target(config)
            return made
    logger.info("%s is not here: its cache is checked by content alone", manifest["encoder"])
    return None


def _manner_now(encoder: FoundationEncoder, manifest: dict[str, Any]) -> Manner:
    """Return the manner that the cache was made in, as far as the encoder still has it."""
    tokens = manifest["pooling"] == "none"
    computed = manifest["computed"]
    options = Options(
        layers=tuple(manifest["layers"]), tokens=tokens, compute_dtype=computed["dtype"], device=computed["device"]
    )
    return choose_manner(encoder, options)


def describe_residence(states: HiddenStates) -> str:
    """Return where the states are, in words, for logs and reports."""
    size = readable_bytes(states._states.numel() * 2)
    return f"{size} {'on the disk' if states.resident == 'never' else 'in memory'}"
