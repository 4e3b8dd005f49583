"""Ray Data: the chunks of a work list on a pool of actors, on one machine or many (extra `scale`).

Each actor opens the data set, builds the encoder and encodes whole chunks; their rows come back as they are, by chunk
number, and are scaled and written by the process that asked. Chunks are those of one process, so the bytes are the same
where threads are.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sensorium.core import registry
from sensorium.core.config import Component, build, dump
from sensorium.core.errors import DataError, SensoriumError, require
from sensorium.data.dataset import Dataset
from sensorium.encoders.cache.chunks import CHUNK, Encoded
from sensorium.encoders.cache.job import Job, prepare_job

Batch = dict[str, npt.NDArray[Any]]


def encode_on_ray(job: Job, rows: npt.NDArray[np.int64], chunks: Sequence[int]) -> Iterator[Encoded]:
    """Encode some chunks of a work list on `job.options.actors` actors; they come back in any order.

    Raises:
        MissingExtraError: Ray is not installed.
        DataError: What an actor could not do, in its words.
    """
    ray = require("ray", extra="scale", purpose="encoding on several actors", instead="use --shard and --merge")
    require("ray.data", extra="scale", purpose="encoding on several actors", instead="use --shard and --merge")
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    table = ray.data.from_items(
        [{"chunk": chunk, "rows": rows[chunk * CHUNK : (chunk + 1) * CHUNK].tobytes()} for chunk in chunks],
        override_num_blocks=len(chunks),
    )
    actors = job.options.actors or 1
    encoded = table.map_batches(
        ChunkActor,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=actors),
        fn_constructor_kwargs=_instructions(job),
        num_gpus=1 if job.manner.device.startswith("cuda") else 0,
    )
    for batch in encoded.iter_batches(batch_size=1, batch_format="numpy"):
        if error := str(batch["error"][0]):
            raise DataError(error)
        yield _unpacked(batch)


def _instructions(job: Job) -> dict[str, Any]:
    import torch

    return {
        "root": str(job.dataset.root.resolve()),
        "group": job.component.group,
        "name": job.component.name,
        "target": job.component.target,
        "config": dump(job.component.config),
        "options": replace(job.options, fields=job.contents.fields, actors=None, device=job.manner.device),
        "weights_hash": job.encoder.weights_hash,
        "digests": job.digests.tobytes(),
        "threads": torch.get_num_threads(),
    }


class ChunkActor:
    """One encoder in a process of Ray: chunks in, their rows out."""

    def __init__(
        self,
        root: str,
        group: str,
        name: str,
        target: Any,
        config: Mapping[str, Any],
        options: Any,
        weights_hash: str,
        digests: bytes,
        threads: int,
    ) -> None:
        import torch

        torch.set_num_threads(threads)
        self._registered = registry.registered(group, name, target)
        self._registered.__enter__()
        component = Component(group, name, build(target.Config, config, source="the encoder's options"))
        self._job = prepare_job(Dataset.open(root), component, options)
        if self._job.encoder.weights_hash != weights_hash:
            raise DataError(f"the weights of '{name}' on this machine are others than those of the one that asked")
        if self._job.digests.tobytes() != digests:
            raise DataError(f"{root} holds other content on this machine than on the one that asked")
        self._running = self._job.runner()
        self._runner = self._running.__enter__()

    def __call__(self, batch: Batch) -> Batch:
        """Encode the one chunk of a batch."""
        chunk = int(batch["chunk"][0])
        rows = np.frombuffer(batch["rows"][0], dtype=np.int64)
        padded = np.zeros(chunk * CHUNK + len(rows), dtype=np.int64)
        padded[chunk * CHUNK :] = rows
        try:
            (encoded,) = self._runner.encode(padded, [chunk])
        except SensoriumError as error:
            return _packed(None, str(error))
        return _packed(encoded)

    def __del__(self) -> None:
        with suppress(Exception):
            self._running.__exit__(None, None, None)


_ARRAYS = ("rows", "states", "pooled", "present", "notes", "mask")


def _packed(encoded: Encoded | None, error: str = "") -> Batch:
    """Return a chunk as a batch of one row: arrays of any shape travel as the bytes of `.npy` files."""
    batch: dict[str, Any] = {"error": error, "chunk": encoded.chunk if encoded else -1}
    batch["rejected"] = json.dumps(encoded.rejected if encoded else [])
    for name in _ARRAYS:
        array = getattr(encoded, name) if encoded else None
        stream = io.BytesIO()
        if array is not None:
            np.save(stream, array, allow_pickle=False)
        batch[name] = stream.getvalue()
    return {
        name: np.array([value], dtype=object if isinstance(value, bytes) else None) for name, value in batch.items()
    }


def _unpacked(batch: Batch) -> Encoded:
    arrays = {
        name: np.load(io.BytesIO(batch[name][0]), allow_pickle=False) if len(batch[name][0]) else None
        for name in _ARRAYS
    }
    return Encoded(chunk=int(batch["chunk"][0]), rejected=json.loads(str(batch["rejected"][0])), **arrays)  # type: ignore[arg-type]
