"""One encoder on one catalogue, as they are now: what is asked, its key, and what each digest should be."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.core.config import Component, dump
from sensorium.core.errors import ConfigError
from sensorium.core.rundir import RunDirectory
from sensorium.data.dataset import Dataset
from sensorium.data.store import lock
from sensorium.encoders.cache.chunks import Manner, Runner
from sensorium.encoders.cache.decoding import SECONDS
from sensorium.encoders.cache.keys import Digests, digests_of, facts_of, key_of, keys_hash
from sensorium.encoders.contents import Contents, read_contents
from sensorium.encoders.memo import Memo
from sensorium.encoders.protocol import FoundationEncoder

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, either of them under WSL


@dataclass(frozen=True)
class Options:
    """How to encode. What does not change the stored numbers stands apart from what does.

    Attributes:
        fields: Columns of the items; None takes those of the modality.
        layers: "all", or indices into the model's hidden states, 0 = embedding output.
        tokens: Store the tokens of one layer instead of a vector per layer (`pooling: none`).
        compute_dtype: "auto" is float32 on a CPU and bfloat16 on a GPU.
        device: "auto" takes a GPU where there is one.
        headroom: Times the first chunk's largest value that fp16 shall hold; None: 8, or what the cache has.
        workers: Decoding processes; None: one less than there are cores, at least one; 0: decode in this process.
        seconds: Time limit of one item's decoding.
        rehash: Read every file again instead of trusting size and time of change.
        shard: (i, n), 0 <= i < n: encode the chunks of one shard only.
        actors: Encode on so many actors of Ray (extra `scale`); None: in this process.
    """

    fields: tuple[str, ...] | None = None
    layers: tuple[int, ...] | str = "all"
    tokens: bool = False
    compute_dtype: str = "auto"
    device: str = "auto"
    headroom: float | None = None
    workers: int | None = None
    seconds: float = SECONDS
    rehash: bool = False
    shard: tuple[int, int] | None = None
    actors: int | None = None


@dataclass
class Job:
    """One encoder on one catalogue, as they are now."""

    dataset: Dataset
    component: Component
    encoder: FoundationEncoder
    contents: Contents
    manner: Manner
    facts: dict[str, Any]
    options: Options
    folder: Path
    digests: Digests  # [I, 16]
    item_ids: list[str]
    forwarded: int = 0  # items that went through the model

    @property
    def workers(self) -> int:
        """Decoding processes."""
        if self.options.workers is not None:
            return self.options.workers
        return max(
            1, len(os.sched_getaffinity(0)) - 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 2) - 1
        )

    @contextmanager
    def runner(self) -> Iterator[Runner]:
        """Start the decoding processes."""
        with Runner(
            self.encoder, self.contents, self.manner, workers=self.workers, seconds=self.options.seconds
        ) as runner:
            yield runner
            self.forwarded += runner.forwarded


def prepare_job(dataset: Dataset, component: Component, options: Options) -> Job:
    """Read the catalogue and look at the encoder; nothing is loaded and nothing is written but the memo of hashes.

    Raises:
        DataError: A column or the weights are missing.
        ConfigError: A layer that the encoder does not have.
    """
    encoder: FoundationEncoder = component.target(component.config)
    memo = Memo(dataset.root / "features" / ".hashes.json", use=not options.rehash)
    contents = read_contents(dataset, encoder.card.modality, options.fields, memo=memo)
    memo.save()
    manner = choose_manner(encoder, options)
    facts = facts_of(
        encoder,
        contents.fields,
        layers=manner.layers,
        pooling=manner.pooling,
        compute_dtype=manner.compute_dtype,
    )
    name = re.sub(r"[^\w.+-]+", "_", encoder.card.name)
    folder = dataset.root / "features" / f"{encoder.card.modality}-{name}-{key_of(facts)[:8]}"
    item_ids = dataset.item_ids().to_list()
    digests = digests_of(contents, facts, encoder.weights_hash)
    return Job(dataset, component, encoder, contents, manner, facts, options, folder, digests, item_ids)


def choose_manner(encoder: FoundationEncoder, options: Options) -> Manner:
    """Return layers, pooling, number format and device.

    Raises:
        ConfigError: A layer that the encoder does not have, or several with tokens.
    """
    layers = encoder.layers if isinstance(options.layers, str) else tuple(sorted(set(options.layers)))
    if unknown := [layer for layer in layers if layer not in encoder.layers]:
        raise ConfigError(
            f"encoder '{encoder.card.name}' has no layer {unknown[0]} (it has {', '.join(map(str, encoder.layers))})"
        )
    if options.tokens and len(layers) != 1:
        raise ConfigError("pooling 'none' stores the tokens of one layer: name it, as in --layers 12")
    device = options.device
    if device == "auto":
        device = "cuda" if _has_gpu() else "cpu"
    compute = options.compute_dtype
    if compute == "auto":
        compute = "bfloat16" if device.startswith("cuda") else "float32"
    return Manner(tuple(layers), "none" if options.tokens else encoder.pooling, compute, device)


def _has_gpu() -> bool:
    """Return whether torch has a GPU. Where the system shows none, torch is not asked: importing it takes a second."""
    if not any(Path(device).exists() for device in _GPU_DEVICES):
        return False
    import torch

    return torch.cuda.is_available()


def head_of(job: Job, headroom: float) -> dict[str, Any]:
    """Return what the manifest says and what is known before the first row."""
    encoder, card = job.encoder, job.encoder.card
    widths = dict(zip(encoder.layers, encoder.layer_dims, strict=True))
    weights = dump(card)["weights"] or {}
    return {
        "encoder": job.component.name,
        "config": dump(job.component.config),
        "card": dump(card),
        "fields": list(job.contents.fields),
        "key": key_of(job.facts),
        "facts": job.facts,
        "layers": list(job.manner.layers),
        "layer_dims": [widths[layer] for layer in job.manner.layers],
        "pooling": job.manner.pooling,
        "final_norm": encoder.final_norm,
        "weights_hash": encoder.weights_hash,
        "untrained": weights.get("source") == "random",
        "headroom": headroom,
        "items": len(job.item_ids),
        "item_keys_sha256": keys_hash(job.item_ids),
        "computed": {
            "dtype": job.manner.compute_dtype,
            "device": job.manner.device,
            "threads": os.environ.get("OMP_NUM_THREADS"),
        },
    }


def open_folder(job: Job) -> None:
    """Make the folder a run directory, once, whoever comes first."""
    if (job.folder / "config.yaml").is_file():
        return
    job.folder.parent.mkdir(exist_ok=True)
    with lock(job.folder.with_name(f".{job.folder.name}.lock")):
        if not (job.folder / "config.yaml").is_file():
            config = {"kind": "encode", "encoder": job.component.tree(), "fields": list(job.contents.fields)}
            RunDirectory.create(
                job.folder, {**config, "layers": list(job.manner.layers), "pooling": job.manner.pooling}
            )
