"""`encode` for encoders with weights: what is new or changed goes through the model, once, and nothing else does.

first encode     the work list is every item with content, written to the cache itself
later ones       the work list is every item whose digest differs, written to patch/ and then applied
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from sensorium.core.errors import DataError
from sensorium.core.files import read_npy, read_parquet
from sensorium.core.resources import readable_bytes, readable_seconds
from sensorium.core.rundir import RunDirectory
from sensorium.encoders.cache import commit, locks, scale
from sensorium.encoders.cache.chunks import Encoded, Runner, width_of
from sensorium.encoders.cache.commit import PATCH, manifest_of
from sensorium.encoders.cache.job import Job, head_of, open_folder
from sensorium.encoders.cache.layout import DIGEST, SCALE, Shape
from sensorium.encoders.cache.reporting import Reporter
from sensorium.encoders.cache.target import Rows, Target, discard, require_device

logger = logging.getLogger(__name__)

Inherited = tuple[Shape, scale.Floats, float]  # what later runs take from the first: shape of the rows, and the scales


def run(job: Job) -> None:
    """Bring a cache up to date."""
    open_folder(job)
    started, did = time.monotonic(), False
    with locks.writing(job.folder):
        recover(job)
        if manifest_of(job.folder) is None:
            _first(job)
            did = True
        retry = not did  # once: what could be decoded and still failed would fail for ever
        while len(rows := work_list(job, retry=retry)):
            _patch(job, rows)
            did, retry = True, False
        discard(job.folder / PATCH)  # one that was applied when its process was killed
        if did:
            record(job, time.monotonic() - started)
    if not did:
        logger.info("%s: up to date (%s)", job.encoder.card.modality, job.folder.name)


def recover(job: Job) -> None:
    """Finish what a killed process was applying, and sweep what it had finished."""
    manifest = manifest_of(job.folder)
    if manifest is None:
        return
    if not manifest["complete"]:
        commit.apply_patch(job.folder, job.item_ids)
    else:  # a process may have been killed between the manifest and the sweeping
        Target(job.folder, np.empty(0, dtype=np.int64), None, {}).sweep()


def work_list(job: Job, *, retry: bool = True) -> Rows:
    """Return the items whose row is not what it should be: changed, new, or (retry) set aside and usable by now."""
    manifest = manifest_of(job.folder)
    if manifest is None:
        raise AssertionError("the first encode comes before any patch")
    n = manifest["items"]
    wanted = np.ones(len(job.digests), dtype=bool)
    if rescales(job, manifest):
        return np.flatnonzero(wanted)
    wanted[:n] = (read_npy(job.folder / DIGEST) != job.digests[:n]).any(1)
    if retry:
        # A decoder may fail by chance, a model does not: its refusals stand as long as content and weights do.
        table = read_parquet(job.folder / "rejected.parquet").filter(pl.col("reason") != "non_finite")
        retried = table["item"].to_numpy().astype(np.int64)
        retried = retried[~wanted[retried]]
        if len(retried):
            with job.runner() as runner:
                wanted[retried[runner.usable(retried)]] = True
    return np.flatnonzero(wanted)


def rescales(job: Job, manifest: dict[str, Any]) -> bool:
    """Return whether every row is written anew by a scale of its own: other weights, or a headroom asked for."""
    asked = job.options.headroom
    return manifest["weights_hash"] != job.encoder.weights_hash or (
        asked is not None and float(asked) != manifest["headroom"]
    )


def _first(job: Job) -> None:
    """Encode every item with content into the cache itself, or go on with what a killed process began."""
    headroom = float(job.options.headroom or scale.HEADROOM)
    head = head_of(job, headroom)
    target = Target.resume(job.folder)
    if target is not None and not same(target, head):
        target = None
    if target is None:
        rows = np.flatnonzero(job.contents.present)
        require_content(job, rows)
        target = Target(job.folder, rows, len(job.item_ids), head)
    fill(job, target, target.pending(), headroom)
    commit.finish_first(target, job.digests, ~job.contents.present, job.item_ids)


def _patch(job: Job, rows: Rows) -> None:
    """Encode a work list beside the cache and apply it, or first what a killed process left of an older list."""
    manifest = manifest_of(job.folder) or {}
    fresh = rescales(job, manifest)
    headroom = float(job.options.headroom or manifest["headroom"])
    head = head_of(job, headroom)
    folder = job.folder / PATCH
    target = Target.resume(folder)
    if target is not None and (not same(target, head) or target.head["items"] < manifest["items"]):
        target = None
    if target is not None and fresh and len(target.rows) < target.head["items"]:
        target = None
    if target is None:
        discard(folder)
        target = Target(folder, rows, None, head)
    fill(job, target, target.pending(), headroom, None if fresh else inherited_from(job, manifest))
    target.close()
    commit.apply_patch(job.folder, job.item_ids)


def same(target: Target, head: dict[str, Any]) -> bool:
    """Return whether rows that were written by one head fit those of another."""
    require_device(target, head["computed"]["device"])
    return all(target.head[part] == head[part] for part in ("key", "weights_hash", "headroom"))


def inherited_from(job: Job, manifest: dict[str, Any]) -> Inherited:
    """Return what a later run takes from the first."""
    factors = read_npy(job.folder / SCALE).astype(np.float32)
    return Shape(**manifest["shape"]), factors, float(manifest["pooled_scale"])


def require_content(job: Job, rows: Rows) -> None:
    """Check that there is work.

    Raises:
        DataError: No item has content.
    """
    if not len(rows):
        raise DataError(
            f"{job.dataset.root}: no item has {job.contents.modality} in {', '.join(job.contents.fields)}: there is "
            "nothing to encode"
        )


def fill(
    job: Job,
    target: Target,
    chunks: Sequence[int],
    headroom: float,
    inherited: Inherited | None = None,
) -> None:
    """Encode chunks of a target; the first one with content settles shape and scale where nothing has yet."""
    if target.begun and not chunks:
        return
    if not target.begun and inherited is not None:
        target.begin(*inherited)
    total = sum(len(target.items(chunk)) for chunk in chunks)
    with job.runner() as runner, Reporter(total, f"encode {job.contents.modality}") as reporter:
        if not target.begun:
            chunks = _begin(job, target, runner, list(chunks), headroom, reporter)
        source = runner.encode(target.rows, chunks) if job.options.actors is None else _on_actors(job, target, chunks)
        for encoded in source:
            target.write(encoded, job.digests, job.item_ids)
            reporter.advance(encoded)


def _on_actors(job: Job, target: Target, chunks: Sequence[int]) -> Iterator[Encoded]:
    from sensorium.encoders.cache.fleet import encode_on_ray

    for encoded in encode_on_ray(job, target.rows, chunks) if chunks else ():
        job.forwarded += int(encoded.present.sum())
        yield encoded


def _begin(
    job: Job, target: Target, runner: Runner, chunks: list[int], headroom: float, reporter: Reporter
) -> list[int]:
    """Lay out a target by its first chunk with content, write what was encoded to find it, and return what is left."""
    held: list[Encoded] = []
    for encoded in runner.encode(target.rows, range(target.n_chunks)):
        held.append(encoded)
        if encoded.present.any():
            break
    target.begin(*_measure(job, held[-1] if held else None, headroom))
    mine = set(chunks)
    for encoded in held:
        if encoded.chunk in mine:
            target.write(encoded, job.digests, job.item_ids)
            reporter.advance(encoded)
    return [chunk for chunk in chunks if chunk >= len(held)]


def _measure(job: Job, encoded: Encoded | None, headroom: float) -> Inherited:
    """Return the shape of the rows and the scales, from the first chunk with content."""
    tokens: int | None = None
    if job.manner.tokens:
        seen = encoded.states.shape[1] if encoded is not None else 1
        declared = job.facts["preprocessing"].get("max_tokens") or job.encoder.card.max_tokens
        tokens = max(seen, int(declared)) if job.contents.modality == "text" and declared else seen
    width = width_of(job.encoder, job.manner)
    shape = Shape(len(job.manner.layers), width, width if job.manner.tokens else job.encoder.pooled_dim, tokens)
    if encoded is None:
        return shape, np.ones(shape.layers, dtype=np.float32), 1.0
    axes = (0, 1, 2) if job.manner.tokens else (0, 2)
    largest = np.atleast_1d(np.abs(encoded.states).max(axis=axes, initial=0.0)).astype(np.float64)
    pooled = np.array([np.abs(encoded.pooled).max(initial=0.0)], dtype=np.float64)
    return shape, scale.scale_for(largest, headroom), float(scale.scale_for(pooled, headroom)[0])


# --- what is said ---------------------------------------------------------------------------------------------------


def record(job: Job, seconds: float) -> None:
    """Write timing.jsonl and result.json, and say in one line what was done."""
    manifest = manifest_of(job.folder) or {}
    run = RunDirectory.open(job.folder)
    run.append("timing.jsonl", {"items": job.forwarded, "seconds": round(seconds, 3)})
    total = sum(line["seconds"] for line in run.records("timing.jsonl"))
    weights = manifest["card"]["weights"] or {}
    run.write_result(
        {
            "kind": "encode",
            "encoder": manifest["encoder"],
            "weights": weights,
            "untrained": manifest["untrained"],
            "counts": manifest["counts"],
            "seconds": round(total, 3),
        }
    )
    counts = manifest["counts"]
    size = sum(path.stat().st_size for path in job.folder.iterdir() if path.is_file())
    rate = f"{job.forwarded / seconds:.3g} items/s" if job.forwarded else "nothing to compute"
    logger.info(
        "%s: %s items, %s present, %s rejected, %s in %s (%s), %s by %s, %s",
        job.contents.modality,
        f"{manifest['items']:,}",
        f"{counts['present']:,}",
        f"{counts['rejected']:,}",
        f"{job.forwarded:,} encoded",
        readable_seconds(seconds),
        rate,
        readable_bytes(size),
        manifest["encoder"],
        describe_weights(weights),
    )


def describe_weights(weights: dict[str, Any]) -> str:
    """Return whose weights were used, in words."""
    if not weights:
        return "no weights"
    if weights["source"] == "random":
        return "RANDOM weights: untrained, for tests only"
    where = {"hub": "from the Hub", "packaged": "from the package", "path": "from"}[weights["source"]]
    version = f" {weights['version']}" if weights.get("version") else ""
    return f"weights {where} {weights.get('package') or ''}{version}".rstrip()
