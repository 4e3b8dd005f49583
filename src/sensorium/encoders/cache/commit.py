"""From written rows to a cache that opens: the first manifest, and a patch that is applied to an older state.

The manifest is renamed into place last and says `complete: true`. A patch becomes part of the cache in three steps: a
manifest that says `applying: patch`, the rows, the final manifest. Every step can be repeated, so a process that is
killed anywhere is finished by the next one; before the first step the old cache still opens.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core.files import read_json, read_npy, read_parquet, write_json, write_npy, write_parquet
from sensorium.encoders.cache import layout
from sensorium.encoders.cache.keys import array_hash
from sensorium.encoders.cache.layout import DIGEST, NOTES, NOTES_FILE, POOLED, PRESENT, SCALE, STATES, Shape
from sensorium.encoders.cache.target import Target, discard

FORMAT_VERSION = 1
MANIFEST, PATCH = "manifest.json", "patch"
BLOCK_BYTES = 64 * 1024**2

REJECTED = {
    "item": pl.Int32,
    "item_id": pl.String,
    "field": pl.String,
    "path": pl.String,
    "reason": pl.String,
    "detail": pl.String,
}


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """Return the manifest, complete or being applied to; None before the first encode has ended."""
    path = folder / MANIFEST
    return dict(read_json(path)) if path.is_file() else None


def finish_first(
    target: Target, digests: npt.NDArray[np.uint8], absent: npt.NDArray[np.bool_], item_ids: list[str]
) -> None:
    """Make a first encode, all chunks of which are done, a complete cache.

    Args:
        target: The cache itself.
        digests: Of the catalogue as it is now, uint8 [I, 16].
        absent: Items that have no content now, bool [I].
        item_ids: External ids.
    """
    n = target.n_items or 0
    kind, size = target.shape.of(n)[DIGEST]
    stored = layout.open_array(target.folder / DIGEST, kind, size, write=True)
    outside = np.ones(n, dtype=bool)
    outside[target.rows] = False
    outside &= absent[:n]  # content that came meanwhile is encoded by a patch: its digest stays zero
    stored[outside] = digests[:n][outside]
    layout.flush(stored)
    _write_rejected(target.folder, target, pl.DataFrame(schema=REJECTED), item_ids)
    target.close()
    _write_manifest(target.folder, target.head, target.shape, n, target.pooled_scale)
    target.sweep()


def apply_patch(folder: Path, item_ids: list[str]) -> None:
    """Copy the rows of a whole patch into the cache, and remove it."""
    patch = Target.resume(folder / PATCH)
    if patch is None:
        raise AssertionError(f"{folder / PATCH} is being applied and holds no plan")
    n = int(patch.head["items"])
    before = manifest_of(folder) or {}
    if before.get("complete"):
        write_json(folder / MANIFEST, {**before, "complete": False, "applying": PATCH})
    for name, (kind, size) in patch.shape.of(n).items():
        if name in (POOLED, PRESENT):  # small, and read by models without a lock: replaced as a whole
            _replace_rows(folder / name, patch, name, kind, size)
        else:
            _copy_rows(folder / name, patch, name, kind, size)
    write_npy(folder / SCALE, patch.scale)
    old = read_parquet(folder / "rejected.parquet")
    kept = old.filter(~pl.col("item").is_in(patch.rows.astype(np.int32).tolist()))
    _write_rejected(folder, patch, kept, item_ids)
    patch.close()
    _write_manifest(folder, patch.head, patch.shape, n, patch.pooled_scale)
    discard(folder / PATCH)


def _copy_rows(path: Path, patch: Target, name: str, kind: str, size: tuple[int, ...]) -> None:
    layout.grow(path, kind, size)
    array = layout.open_array(path, kind, size, write=True)
    for chunk in range(patch.n_chunks):
        array[patch.items(chunk)] = patch.take(chunk, name)
    layout.flush(array)


def _replace_rows(path: Path, patch: Target, name: str, kind: str, size: tuple[int, ...]) -> None:
    old = read_npy(path)
    array = np.zeros(size, dtype=kind)
    array[: len(old)] = old
    for chunk in range(patch.n_chunks):
        array[patch.items(chunk)] = patch.take(chunk, name)
    write_npy(path, array)


def _write_rejected(folder: Path, target: Target, kept: pl.DataFrame, item_ids: list[str]) -> None:
    """Write the table of what was set aside, as the notes of its rows have it."""
    noted = set()
    for chunk in range(target.n_chunks):
        notes = target.take(chunk, NOTES_FILE)
        noted |= set(target.items(chunk)[(notes & NOTES["rejected"]) > 0].tolist())
    rows = [{"item_id": item_ids[row["item"]], **row} for row in target.rejected() if row["item"] in noted]
    table = pl.concat([kept, pl.DataFrame(rows, schema=REJECTED)]).sort("item")
    write_parquet(folder / "rejected.parquet", table)


def _write_manifest(folder: Path, head: dict[str, Any], shape: Shape, n: int, pooled_scale: float) -> None:
    arrays = {name: layout.open_array(folder / name, kind, size) for name, (kind, size) in shape.of(n).items()}
    present, notes, digests = arrays[PRESENT], arrays[NOTES_FILE], np.asarray(arrays[DIGEST])
    counts = {
        "present": int(present.sum()),
        "absent": int((~present & ((notes & NOTES["rejected"]) == 0)).sum()),
        **{name: int(((notes & bit) > 0).sum()) for name, bit in NOTES.items() if name != "empty"},
    }
    reasons = read_parquet(folder / "rejected.parquet")["reason"].value_counts().sort("reason")
    counts |= {f"rejected_{reason}": count for reason, count in reasons.rows()}
    manifest = {
        "format_version": FORMAT_VERSION,
        "complete": True,
        **head,
        "items": n,
        "shape": vars(shape),
        "dim": shape.pooled,
        "dtype": "float16",
        "pooled_scale": pooled_scale,
        "digest_sha256": array_hash(digests),
        "counts": counts,
        **_statistics(arrays[STATES], present, read_npy(folder / SCALE)),
        "overflows": 0,
        "versions": {
            name: _version(name)
            for name in ("sensorium", "numpy", "torch", "transformers", "tokenizers", "pillow", "av")
        },
    }
    write_json(folder / MANIFEST, manifest)


def _statistics(
    states: npt.NDArray[Any], present: npt.NDArray[np.bool_], factors: npt.NDArray[np.float32]
) -> dict[str, list[float]]:
    """Return mean norm and max abs of each layer over items with content, read in blocks."""
    layers = len(factors)
    norms, largest = np.zeros(layers), np.zeros(layers)
    rows = np.flatnonzero(present)
    step = max(1, BLOCK_BYTES // max(1, 4 * int(np.prod(states.shape[1:]))))
    for start in range(0, len(rows), step):
        block = states[rows[start : start + step]].astype(np.float32)
        if layers == 1 and states.ndim == 3 and states.shape[1] != 1:  # tokens of one layer
            block = block.reshape(len(block), 1, -1)
        norms += np.linalg.norm(block.astype(np.float64), axis=2).sum(0)
        largest = np.maximum(largest, np.abs(block).max(axis=(0, 2)))
    return {
        "mean_norm": (norms / max(1, len(rows)) * factors).tolist(),
        "max_abs": (largest * factors).tolist(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
