"""Several processes on one work list: each takes whole chunks round-robin, and one of them merges what all have made.

    sensorium encode DATASET --encoder NAME --shard 0/2      on one machine or process
    sensorium encode DATASET --encoder NAME --shard 1/2      on another
    sensorium encode DATASET --encoder NAME --merge          when both have ended

Chunks are the same as for one process, so the bytes are the same too. The scale of a first encode comes from its first
chunk with content, which every shard computes for itself.
"""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

import numpy as np

from sensorium.core.errors import ConfigError, DataError
from sensorium.encoders.cache import commit, locks, scale
from sensorium.encoders.cache.commit import PATCH, manifest_of
from sensorium.encoders.cache.engine import (
    Inherited,
    fill,
    inherited_from,
    record,
    recover,
    require_content,
    rescales,
    same,
    work_list,
)
from sensorium.encoders.cache.job import Job, head_of, open_folder
from sensorium.encoders.cache.target import Rows, Target, discard

logger = logging.getLogger(__name__)


def shard_folder(job: Job, index: int, count: int) -> Path:
    """Return the folder of one shard."""
    return job.folder / "shards" / f"{index}-of-{count}"


def run_shard(job: Job, index: int, count: int) -> None:
    """Encode every n-th chunk of the work list into a folder of its own; the cache itself is only read."""
    if not 0 <= index < count:
        raise ConfigError(f"--shard {index}/{count}: shards are numbered 0/{count} to {count - 1}/{count}")
    open_folder(job)
    folder = shard_folder(job, index, count)
    folder.mkdir(parents=True, exist_ok=True)
    handle = locks.reading(job.folder)
    try:
        with locks.writing(folder):
            rows, headroom, inherited = shard_plan(job)
            if not len(rows):
                logger.info("%s: up to date (%s)", job.contents.modality, job.folder.name)
                return
            head = head_of(job, headroom)
            target = Target.resume(folder)
            if target is None or not same(target, head) or not np.array_equal(target.rows, rows):
                target = Target(folder, rows, None, head)
            mine = [chunk for chunk in target.pending() if chunk % count == index]
            fill(job, target, mine, headroom, inherited)
            target.close()
    finally:
        handle.close()
    logger.info("%s: shard %d/%d of %s is whole", job.contents.modality, index, count, job.folder.name)


def shard_plan(job: Job) -> tuple[Rows, float, Inherited | None]:
    """Return what all shards share: the work list, the headroom, and the scale where an older state has one.

    Raises:
        DataError: One process has begun the first encode alone, or a patch is being applied.
    """
    manifest = manifest_of(job.folder)
    if manifest is None:
        if (job.folder / "plan.json").is_file():
            raise DataError(f"{job.folder} was begun by one process: finish it without --shard, or remove the folder")
        rows = np.flatnonzero(job.contents.present)
        require_content(job, rows)
        return rows, float(job.options.headroom or scale.HEADROOM), None
    if not manifest["complete"]:
        raise DataError(f"{job.folder} is half-way through a change: run encode without --shard once")
    headroom = float(job.options.headroom or manifest["headroom"])
    # What was set aside is not tried again here: two shards might not agree on what can be decoded by now.
    return work_list(job, retry=False), headroom, None if rescales(job, manifest) else inherited_from(job, manifest)


def merge(job: Job) -> None:
    """Check that all shards of the work list are whole, and make them part of the cache.

    Raises:
        DataError: A shard is missing, not whole, or of another work list; the message says which.
    """
    open_folder(job)
    started = time.monotonic()
    with locks.writing(job.folder):
        recover(job)
        rows, headroom, _ = shard_plan(job)
        shards = _shards_of(job, rows)
        first = manifest_of(job.folder) is None
        folder, length = (job.folder, len(job.item_ids)) if first else (job.folder / PATCH, None)
        target = Target(folder, rows, length, head_of(job, headroom))
        target.begin(shards[0].shape, shards[0].scale, shards[0].pooled_scale)
        rejected = {row["item"]: row for shard in shards for row in shard.rejected()}
        for chunk in range(target.n_chunks):
            shard = shards[chunk % len(shards)]
            parts = {name: shard.take(chunk, name) for name in target.shape.of(1)}
            items = target.items(chunk).tolist()
            target.put(chunk, parts, [rejected[item] for item in items if item in rejected])
        for shard in shards:
            shard.close()
        if first:
            commit.finish_first(target, job.digests, ~job.contents.present, job.item_ids)
        else:
            target.close()
            commit.apply_patch(job.folder, job.item_ids)
        for shard in shards:
            discard(shard.folder)
        shutil.rmtree(job.folder / "shards")
        record(job, time.monotonic() - started)


def _shards_of(job: Job, rows: Rows) -> list[Target]:
    """Return the whole set of shards, in order."""
    names = sorted(path.name for path in (job.folder / "shards").glob("*-of-*"))
    counts = {int(name.rpartition("-")[2]) for name in names}
    if len(counts) != 1:
        there = ", ".join(names) or "none"
        raise DataError(f"{job.folder} holds shards {there}: encode --shard 0/n to n-1/n with one n first")
    count = counts.pop()
    shards = []
    for index in range(count):
        folder = shard_folder(job, index, count)
        shard = Target.resume(folder)
        if shard is None:
            raise DataError(f"{folder} holds no shard yet: encode --shard {index}/{count} first")
        if not same(shard, head_of(job, shard.head["headroom"])) or not np.array_equal(shard.rows, rows):
            raise DataError(f"{folder} is of another state of the catalogue or the weights: encode its shards again")
        missing = [chunk for chunk in shard.pending() if chunk % count == index]
        if missing:
            raise DataError(f"{folder} lacks {len(missing)} chunks: encode --shard {index}/{count} again, it goes on")
        shards.append(shard)
    if any(not np.array_equal(shard.scale, shards[0].scale) for shard in shards):
        raise DataError(f"{job.folder}: the shards were scaled differently: encode them again on equal machines")
    return shards
