"""Do nearest neighbours in an encoder's vectors share genres? And what does encoding cost?

    SENSORIUM_DATA=... python benchmarks/encoder_neighbours.py minilm-l6 efflite0 --sets ml1m,mlls,ml100k

Films are encoded once per encoder, in one process and one thread, by the encoder itself; its states are kept below
--scratch, so that a killed run goes on. J@10 is the mean Jaccard overlap of the genre sets of a film and of its 10
nearest by cosine of centred vectors; chance is the mean over all pairs; `shuffled` has the rows permuted. Genres are
labels and never input. One row per (encoder, set) is appended to docs/results/rows/encoders.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROWS = Path(__file__).parents[1] / "docs" / "results" / "rows" / "encoders.jsonl"
TEXTS = ("plot_omdb", "overview_tmdb", "abstract_dbpedia")
CHUNK = 256


def encoder_class(name: str) -> Any:
    from sensorium.encoders.packaged import pictures, texts

    return {
        "minilm-l6": texts.MiniLM,
        "mpnet-base": texts.MPNet,
        "e5-small": texts.E5Small,
        "smollm2-135m": texts.SmolLM2,
        "efflite0": pictures.EffLite0,
        "dinov2s-focus": pictures.DinoFocus,
    }[name]


def films(data: Path) -> pl.DataFrame:
    """Films with genres, their text and poster ("" = none)."""
    from sensorium.encoders.text import assemble

    folder = data / "movielens"
    table = pl.read_csv(folder / "items.tsv", separator="\t", infer_schema=False, quote_char=None).fill_null("")
    texts, posters = [], []
    for row in table.iter_rows(named=True):
        plot = next((row[column] for column in TEXTS if row[column]), "")
        texts.append(assemble([row["title"], plot]) if plot else "")
        poster = folder / "posters" / f"{row['movie_id']}.jpg"
        posters.append(str(poster) if poster.is_file() else "")
    table = table.with_columns(text=pl.Series(texts), file=pl.Series(posters))
    return table.filter((pl.col("genres") != "") & ~pl.col("genres").str.contains("no genres"))


def encode(name: str, raws: list[str | Path], scratch: Path) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Encode in chunks of 256, sorted by length inside a chunk; finished chunks are kept."""
    import torch

    torch.set_num_threads(1)
    encoder = encoder_class(name)()
    encoder.load()
    folder = scratch / name
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(raws), CHUNK):
        target = folder / f"{start:06d}.npz"
        if target.is_file():
            continue
        began = time.process_time()
        items = [encoder.preparer(raw) for raw in raws[start : start + CHUNK]]
        prepared = time.process_time()
        states = np.zeros((len(items), len(encoder.layers), max(encoder.layer_dims)), np.float16)
        pooled = np.zeros((len(items), encoder.pooled_dim), np.float16)
        order = sorted(range(len(items)), key=lambda place: (items[place].length, place))
        batch: list[int] = []
        with torch.inference_mode():
            for place in [*order, None]:
                full = place is None or (len(batch) + 1) * items[place].length > encoder.budget
                if full and batch:
                    found, vector = encoder.forward(encoder.collate([items[entry] for entry in batch]))
                    states[batch], pooled[batch] = found.numpy(), vector.numpy()
                    batch = []
                if place is not None:
                    batch.append(place)
        seconds = np.array([prepared - began, time.process_time() - prepared, len(items)])
        with target.with_suffix(".tmp").open("wb") as handle:
            np.savez(handle, states=states, pooled=pooled, seconds=seconds)
        target.with_suffix(".tmp").rename(target)
        print(name, start + len(items), len(raws), seconds.round(1).tolist(), file=sys.stderr, flush=True)
    parts = [np.load(path) for path in sorted(folder.glob("*.npz"))]
    seconds = np.sum([part["seconds"] for part in parts], axis=0)
    arrays = {key: np.concatenate([part[key] for part in parts]).astype(np.float32) for key in ("states", "pooled")}
    costs = {"prepare_ms": 1e3 * seconds[0] / seconds[2], "forward_ms": 1e3 * seconds[1] / seconds[2]}
    return arrays, costs


def nearest(vectors: np.ndarray, k: int = 10) -> np.ndarray:
    """The k nearest rows of each row by cosine of centred vectors, [n, k], itself left out."""
    centred = vectors - vectors.mean(0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    found = []
    for start in range(0, len(centred), 1024):
        scores = centred[start : start + 1024] @ centred.T
        scores[np.arange(len(scores)), start + np.arange(len(scores))] = -np.inf
        found.append(np.argpartition(-scores, k, axis=1)[:, :k])
    return np.concatenate(found)


def overlap(genres: np.ndarray, neighbours: np.ndarray) -> tuple[float, float]:
    """Mean Jaccard overlap with the neighbours, and the share of neighbours with a genre in common."""
    own = genres[:, None, :]
    both = np.minimum(own, genres[neighbours]).sum(2)
    either = np.maximum(own, genres[neighbours]).sum(2)
    return float((both / either).mean()), float((both > 0).mean())


def chance(genres: np.ndarray) -> tuple[float, float]:
    """The same over all pairs."""
    both = genres @ genres.T
    size = genres.sum(1)
    jaccard = both / (size[:, None] + size[None, :] - both)
    pairs = ~np.eye(len(genres), dtype=bool)
    return float(jaccard[pairs].mean()), float((both > 0)[pairs].mean())


def measure(vectors: np.ndarray, genres: np.ndarray) -> dict[str, float]:
    found, sharing = overlap(genres, nearest(vectors))
    return {"j10": round(found, 4), "sharing": round(sharing, 4)}


def genre_matrix(column: pl.Series) -> np.ndarray:
    sets = [set(text.split("|")) for text in column.to_list()]
    names = sorted(set().union(*sets))
    return np.array([[name in entry for name in names] for entry in sets], np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoders", nargs="+")
    parser.add_argument("--sets", default="ml1m,mlls,ml100k")
    parser.add_argument("--scratch", type=Path, default=Path.home() / ".cache" / "sensorium" / "benchmarks")
    parser.add_argument("--rows", type=Path, default=ROWS)
    arguments = parser.parse_args()
    table = films(Path(os.environ["SENSORIUM_DATA"]))
    table = table.filter(pl.any_horizontal(pl.col(f"in_{name}") == "1" for name in arguments.sets.split(",")))
    for name in arguments.encoders:
        column = "text" if encoder_class(name).describe().modality == "text" else "file"
        have = table.filter(pl.col(column) != "")
        raws = have.get_column(column).to_list()
        scratch = arguments.scratch / arguments.sets.replace(",", "-")
        arrays, costs = encode(name, [Path(raw) if column == "file" else raw for raw in raws], scratch)
        for group in arguments.sets.split(","):
            rows = np.flatnonzero((have.get_column(f"in_{group}") == "1").to_numpy())
            genres = genre_matrix(have.get_column("genres")[rows.tolist()])
            vector = arrays["pooled"][rows]
            rng = np.random.default_rng(0)
            by_chance, shares = chance(genres)
            result = {
                "topic": "encoders",
                "encoder": name,
                "set": group,
                "items": len(rows),
                **measure(vector, genres),
                "chance": round(by_chance, 4),
                "chance_sharing": round(shares, 4),
                "shuffled": measure(vector[rng.permutation(len(vector))], genres)["j10"],
                "layers": {
                    str(layer): measure(arrays["states"][rows, layer], genres)["j10"]
                    for layer in range(arrays["states"].shape[1])
                },
                **{key: round(value, 2) for key, value in costs.items()},
                "items_per_second": round(1e3 / (costs["prepare_ms"] + costs["forward_ms"]), 1),
                "cache_mb": round(2e-6 * len(rows) * (arrays["states"][0].size + arrays["pooled"].shape[1]), 1),
                "threads": 1,
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "command": f"python benchmarks/encoder_neighbours.py {name} --sets {group}",
            }
            arguments.rows.parent.mkdir(parents=True, exist_ok=True)
            with arguments.rows.open("a") as handle:
                handle.write(json.dumps(result) + "\n")
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
