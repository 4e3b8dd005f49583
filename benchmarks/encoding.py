"""What the cache costs: encoding beside the bare model, and training from the disk beside training from memory.

    OMP_NUM_THREADS=1 python benchmarks/encoding.py throughput DATASET ENCODER [--items 1024] [--workers 1] [--field F]
    OMP_NUM_THREADS=1 python benchmarks/encoding.py epoch DATASET ENCODER [--epochs 5]
    OMP_NUM_THREADS=1 python benchmarks/encoding.py epoch noise 20825x13x768     # a cache of I x K x D
    OMP_NUM_THREADS=1 python benchmarks/encoding.py check DATASET ENCODER      # a second call, in a process of its own

throughput   items per second of `encode` with decoding processes, end to end but for loading the model, over items per
             second of the model alone on the same micro batches, prepared beforehand; rounds take turns, medians.
epoch        seconds of an epoch of a linear head (all layers and dimensions to 64, squared error to fixed targets,
             batches of 256 items in random order) reading the memory map, over the same on states in memory.
Each prints one JSON line; --row appends it to docs/results/rows/encoding.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import torch

from sensorium.core.files import json_line, write_npy, write_parquet
from sensorium.core.rundir import machine_class
from sensorium.data.catalogue import open_dataset
from sensorium.data.dataset import Dataset
from sensorium.encoders.cache import commit, engine, layout
from sensorium.encoders.cache.chunks import CHUNK, Runner
from sensorium.encoders.cache.job import Job, Options, prepare_job
from sensorium.encoders.cache.layout import Shape
from sensorium.encoders.cache.states import HiddenStates, open_states
from sensorium.encoders.cache.target import Target
from sensorium.encoders.encode import _component, encode
from sensorium.encoders.protocol import FoundationEncoder, Prepared

ROWS = Path(__file__).parents[1] / "docs" / "results" / "rows" / "encoding.jsonl"
ROUNDS = 3


# --- throughput -------------------------------------------------------------------------------------------------------


def micro_batches(job: Job, items: np.ndarray) -> list[list[Prepared]]:
    """The batches that encode makes of some items, prepared beforehand."""
    seen: list[list[Prepared]] = []
    encoder = job.encoder
    forward = Runner._forward

    def watch(self: Runner, batch: list[Prepared]) -> Any:
        seen.append(batch)
        return forward(self, batch)

    Runner._forward = watch  # type: ignore[method-assign]
    try:
        with Runner(encoder, job.contents, job.manner, workers=0) as runner:
            for _ in runner.encode(items, range(-(-len(items) // CHUNK))):
                pass
    finally:
        Runner._forward = forward  # type: ignore[method-assign]
    return seen


def bare_seconds(encoder: FoundationEncoder, batches: list[list[Prepared]]) -> float:
    begun = time.perf_counter()
    with torch.inference_mode():
        for batch in batches:
            encoder.forward(encoder.collate(batch))
    return time.perf_counter() - begun


def encode_seconds(job: Job, items: np.ndarray, workers: int, folder: Path) -> float:
    """Decode, compute, scale, write and flush, with the processes' start."""
    head = engine.head_of(job, 8.0)
    target = Target(folder, items, None, head)
    job.options = Options(workers=workers)
    begun = time.perf_counter()
    engine.fill(job, target, target.pending(), 8.0)
    seconds = time.perf_counter() - begun
    target.close()
    shutil.rmtree(folder)
    return seconds


def throughput(arguments: argparse.Namespace) -> dict[str, Any]:
    dataset = open_dataset(arguments.dataset)
    fields = tuple(arguments.field.split(",")) if arguments.field else None
    job = prepare_job(dataset, _component(arguments.encoder), Options(fields=fields))
    items = np.flatnonzero(job.contents.present)[: arguments.items]
    batches = micro_batches(job, items)
    bare, whole = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(ROUNDS):
            bare.append(bare_seconds(job.encoder, batches))
            whole.append(encode_seconds(job, items, arguments.workers, Path(scratch) / str(number)))
    n = sum(map(len, batches))
    rates = n / statistics.median(bare), n / statistics.median(whole)
    return {
        "kind": "throughput",
        "items": n,
        "workers": arguments.workers,
        "bare_per_s": round(rates[0], 2),
        "encode_per_s": round(rates[1], 2),
        "share": round(rates[1] / rates[0], 3),
        "rounds": [[round(value, 2) for value in pair] for pair in zip(bare, whole, strict=True)],
    }


# --- epoch ------------------------------------------------------------------------------------------------------------


def epoch_seconds(states: HiddenStates, seed: int) -> float:
    k, width = len(states.layers), max(states.layer_dims)
    generator = torch.Generator().manual_seed(seed)
    head = torch.nn.Linear(k * width, 64)
    optimizer = torch.optim.SGD(head.parameters(), lr=1e-6)
    goal = torch.randn(states.n_items + 1, 64, generator=generator)
    order = 1 + torch.randperm(states.n_items, generator=generator)
    begun = time.perf_counter()
    for tokens in order.split(256):
        x, present = states.take(tokens)
        loss = (head(x.flatten(1)) - goal[tokens]).square().mean(1)[present].mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return time.perf_counter() - begun


def synthetic(folder: Path, items: int, layers: int, dim: int) -> Path:
    """A cache of that size, filled with noise, as an encoder would have left it."""
    folder.mkdir()
    shape = Shape(layers, dim, dim)
    for name, (kind, size) in shape.of(items).items():
        layout.create(folder / name, kind, size)
        if name in (layout.STATES, layout.PRESENT):
            array = layout.open_array(folder / name, kind, size, write=True)
            draw = np.random.default_rng(0)
            for start in range(0, items, 1024):
                part = array[start : start + 1024]
                part[:] = draw.standard_normal(part.shape, dtype=np.float32) if name == layout.STATES else True
            layout.flush(array)
    write_npy(folder / layout.SCALE, np.ones(layers, dtype=np.float32))
    write_parquet(folder / "rejected.parquet", pl.DataFrame(schema=commit.REJECTED))
    head = {"layers": list(range(layers)), "layer_dims": [dim] * layers, "encoder": "noise"}
    commit._write_manifest(folder, head, shape, items, 1.0)
    return folder


def epoch(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.dataset == "noise":
            folder = synthetic(Path(scratch) / "noise", *map(int, arguments.encoder.split("x")))
        else:
            dataset = encode(open_dataset(arguments.dataset), arguments.encoder, options=Options(workers=1))
            folder = _folder(dataset, arguments.encoder)
        return _epoch(folder, arguments.epochs)


def _epoch(folder: Path, epochs: int) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {"disk": [], "memory": []}
    with open_states(folder, resident="never") as disk, open_states(folder, resident="auto") as memory:
        size = memory._states.numel() * 2
        for number in range(epochs + 1):
            for name, states in (("disk", disk), ("memory", memory)):
                took = epoch_seconds(states, number)
                if number:  # the first one warms both
                    seconds[name].append(took)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "kind": "epoch",
        "mega_bytes": round(size / 1e6, 1),
        "disk_s": round(medians["disk"], 4),
        "memory_s": round(medians["memory"], 4),
        "ratio": round(medians["disk"] / medians["memory"], 3),
    }


def _folder(dataset: Dataset, encoder: str) -> Path:
    found = [info.folder for info in dataset.info.features.values()
             if isinstance(info.provenance, dict) and info.provenance.get("encoder") == encoder]  # fmt: skip
    return dataset.root / found[-1]


# --- a second call ----------------------------------------------------------------------------------------------------


def check(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds of `sensorium encode` where everything is up to date, and of `sensorium list encoders`."""
    encode(open_dataset(arguments.dataset), arguments.encoder, options=Options(workers=1))
    took = {}
    for name, words in {
        "up_to_date_s": ["encode", arguments.dataset, "--encoder", arguments.encoder],
        "list_s": ["list", "encoders"],
    }.items():
        program = [sys.executable, "-m", "sensorium.cli", *words]
        if not (Path(engine.__file__).parents[2] / "cli" / "__main__.py").is_file():
            program = [sys.executable, "-c", "import sys; from sensorium.cli import main; sys.exit(main(sys.argv[1:]))"]
            program += words
        times = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            subprocess.run(program, check=True, capture_output=True)
            times.append(time.perf_counter() - begun)
        took[name] = round(min(times), 2)
    return {"kind": "check", **took}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["throughput", "epoch", "check"])
    parser.add_argument("dataset")
    parser.add_argument("encoder")
    parser.add_argument("--items", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--field", default="")
    parser.add_argument("--row", action="store_true")
    arguments = parser.parse_args()
    found = {"throughput": throughput, "epoch": epoch, "check": check}[arguments.what](arguments)
    row = {
        "dataset": Path(arguments.dataset).name,
        "encoder": arguments.encoder,
        **found,
        "machine": machine_class(),
        "load": round(os.getloadavg()[0], 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(row))
    if arguments.row:
        with ROWS.open("a", encoding="utf-8") as handle:
            handle.write(json_line(row) + "\n")


if __name__ == "__main__":
    main()
