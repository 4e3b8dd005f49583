"""What made a feature set, so that two sets can be told apart: vectors of equal width need not mean the same.

by weights    preprocessing, pooling and options, and the SHA-256 of the weights; not which columns, layers or number
              format
fitted        the encoder and the digests of all that it has learned: fitted to two catalogues it is two encoders
given         what the source says of the matrix but for its file; "unknown" where it says nothing
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sensorium.core.errors import DataError
from sensorium.core.files import digest, read_json
from sensorium.data.dataset import Dataset
from sensorium.encoders.cache.keys import canonical

MANIFEST = "manifest.json"
WHENCE = ("id", "revision", "weights", "seed")
"""Options that say where weights are: their SHA-256 says which they are."""
ELSEWHERE = ("layers", "compute_dtype", "pooling")
"""Facts of stored states that the one vector of an item does not depend on, or that the options say."""


@dataclass(frozen=True)
class Maker:
    """Who made a feature set.

    Attributes:
        words: For people.
        identity: 32 hexadecimal digits, equal for equal makers; None where nobody knows.
    """

    words: str
    identity: str | None


def maker_of(dataset: Dataset, name: str) -> Maker:
    """Return who made a feature set.

    Args:
        dataset: Whose it is.
        name: Of the feature set.

    Raises:
        DataError: The data set has no such features, or their manifest is gone.
    """
    info = dataset.info.features.get(name)
    if info is None:
        raise DataError(f"'{dataset.name}' has no features '{name}' (it has: {', '.join(dataset.feature_names)})")
    said = info.provenance
    if isinstance(said, str):
        return Maker(said, None)
    if "config" not in said:
        return _given(said)
    manifest = _manifest(dataset, info.folder, said["key"])
    if manifest is None:
        raise DataError(
            f"the manifest of features '{name}' of '{dataset.name}' is gone, which says what made them: encode again"
        )
    return _fitted(said, manifest) if "fitted_on" in said else _by_weights(said, manifest)


def _manifest(dataset: Dataset, folder: str, key: str) -> Mapping[str, Any] | None:
    """Return what an encoder wrote of its work. Features that grew by an append lie in a folder of their own, beside
    that of the work, which has the same key.
    """
    for path in (dataset.root / folder / MANIFEST, *sorted((dataset.root / "features").glob(f"*/{MANIFEST}"))):
        manifest: Mapping[str, Any] = read_json(path) if path.is_file() else {}
        if manifest.get("key") == key:
            return manifest
    return None


def _given(said: Mapping[str, Any]) -> Maker:
    about = {key: value for key, value in said.items() if key != "file"}
    words = ", ".join(f"{key} {value}" for key, value in about.items()) or "unknown"
    known = {key: value for key, value in about.items() if value != "unknown"}
    return Maker(f"a given matrix ({words})", digest("given", canonical(known)) if known else None)


def _fitted(said: Mapping[str, Any], manifest: Mapping[str, Any]) -> Maker:
    learned = {path: file["sha256"] for path, file in manifest["files"].items() if path.startswith("fitted/")}
    identity = digest("fitted", said["encoder"], canonical(said["config"]), canonical(learned))
    return Maker(f"{said['encoder']} as it was fitted ({identity[:8]})", identity)


def _by_weights(said: Mapping[str, Any], manifest: Mapping[str, Any]) -> Maker:
    facts = {key: value for key, value in manifest["facts"].items() if key not in ELSEWHERE}
    facts["preprocessing"] = {key: value for key, value in facts["preprocessing"].items() if key != "fields"}
    options = {key: value for key, value in said["config"].items() if key not in WHENCE}
    identity = digest("weights", canonical(facts), canonical(options), said["weights_hash"])
    return Maker(f"{manifest['card']['name']} (weights {said['weights_hash'][:8]}, all {identity[:8]})", identity)
