"""What a cache is of: the facts that name its folder, and one digest per item of content, preprocessing and weights.

key      first 8 hex digits of SHA-256 over the facts as canonical JSON
digest   BLAKE2b-128 of (digest of the raw content, facts, hash of the weights); without content of the latter two
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sensorium.encoders import text
from sensorium.encoders.contents import Contents
from sensorium.encoders.protocol import FoundationEncoder

Digests = npt.NDArray[np.uint8]  # [I, 16]


def facts_of(
    encoder: FoundationEncoder,
    fields: Sequence[str],
    *,
    layers: Sequence[int],
    pooling: str,
    compute_dtype: str,
) -> dict[str, Any]:
    """Return everything but weights and content that the stored numbers depend on, as plain values of JSON."""
    card = encoder.card
    preprocessing: dict[str, Any] = {"fields": list(fields), **encoder.preparer.facts}
    if card.modality == "text":
        preprocessing["text_version"] = text.VERSION
    facts = {
        "family": card.family,
        "modality": card.modality,
        "prep_version": card.prep_version,
        "preprocessing": preprocessing,
        "layers": list(layers),
        "pooling": pooling,
        "final_norm": encoder.final_norm,
        "compute_dtype": compute_dtype,
    }
    plain: dict[str, Any] = json.loads(canonical(facts))
    return plain


def canonical(value: Any) -> str:
    """Return JSON that is the same for equal values: sorted keys, no spaces, NaN refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def key_of(facts: Mapping[str, Any]) -> str:
    """Return the 64 hex digits whose first 8 name the folder."""
    return hashlib.sha256(canonical(facts).encode()).hexdigest()


def digests_of(contents: Contents, facts: Mapping[str, Any], weights_hash: str) -> Digests:
    """Return the digest of every item, uint8 [I, 16]."""
    base = hashlib.blake2b(digest_size=16)
    for part in (canonical(facts), weights_hash):
        base.update(f"{len(part)}:{part}".encode())
    present = contents.present
    digests = np.empty((len(present), 16), dtype=np.uint8)
    digests[:] = np.frombuffer(base.digest(), dtype=np.uint8)
    for item in np.flatnonzero(present).tolist():
        hasher = base.copy()
        hasher.update(contents.digests[item].tobytes())
        digests[item] = np.frombuffer(hasher.digest(), dtype=np.uint8)
    return digests


def keys_hash(item_ids: Sequence[str]) -> str:
    """Return SHA-256 over the external ids in order."""
    hasher = hashlib.sha256()
    for name in item_ids:
        hasher.update(f"{len(name)}:{name}".encode())
    return hasher.hexdigest()


def array_hash(array: npt.NDArray[Any]) -> str:
    """Return SHA-256 of an array's values."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return what differs between two trees of facts, as "preprocessing.max_tokens (128, now 64)"."""
    found = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name} ({_short(before)}, now {_short(after)})")
    return found


def _short(value: Any) -> str:
    said = canonical(value)
    return said if len(said) <= 60 else said[:57] + "..."
