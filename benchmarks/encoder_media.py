"""Clips and bridges: do clips of one prompt find each other, and do pictures find their texts?

    SENSORIUM_DATA=... python benchmarks/encoder_media.py clips bridge sound

    clips    fetv, 72 clips of 18 prompts by 4 generators: has the nearest clip (cosine of centred vectors) the same
             prompt? chance 3/71
    bridge   ConSE: film posters to their own plots (recall at 10 of all films with both), from the vectors that
             `encoder_neighbours.py minilm-l6 efflite0` left below --scratch
    sound    yamnet on a sine of 1 kHz, white noise and silence: the three highest names
    planted  the demo catalogue: has the nearest item the planted topic, by its text, and style, by its cover?
    given    the trailer-audio vectors of ml1m: J@10 as in encoder_neighbours.py

One row each is appended to docs/results/rows/encoders.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from encoder_neighbours import CHUNK, ROWS, chance, films, genre_matrix, measure

os.environ.setdefault("OMP_NUM_THREADS", "1")
SETS = ("ml1m", "mlls", "ml100k")


def clips(data: Path, _: Path) -> dict[str, Any]:
    import torch

    from sensorium.encoders.packaged.pictures import FramesEffLite0

    table = pl.read_csv(data / "fetv" / "videos.tsv", separator="\t", infer_schema=False)
    result: dict[str, Any] = {"encoder": "frames-efflite0", "set": "fetv", "items": len(table), "chance": 0.0423}
    encoder = FramesEffLite0(FramesEffLite0.Config(video_pool="mean_diff"))
    encoder.load()
    vectors, spent = [], np.zeros(2)
    for row in table.iter_rows(named=True):
        began = time.process_time()
        item = encoder.preparer(data / "fetv" / row["file"])
        prepared = time.process_time()
        with torch.inference_mode():
            vectors.append(encoder.forward(encoder.collate([item]))[1][0].numpy())
        spent += [prepared - began, time.process_time() - prepared]
    prompt = table.get_column("prompt_id").to_numpy()
    maker = table.get_column("model").to_numpy()
    both = np.array(vectors)
    mean = both[:, :1280]
    bare = mean.copy()
    for name in np.unique(maker):
        bare[maker == name] -= mean[maker == name].mean(0)
    for name, matrix in (("mean", mean), ("mean_diff", both), ("generator_removed", bare)):
        result[name] = round(same_prompt(matrix, prompt), 4)
    result["prepare_ms"], result["forward_ms"] = (1e3 * spent / len(table)).round(1).tolist()
    return result


def same_prompt(vectors: np.ndarray, prompt: np.ndarray) -> float:
    centred = vectors - vectors.mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    scores = centred @ centred.T
    np.fill_diagonal(scores, -np.inf)
    return float((prompt[scores.argmax(1)] == prompt).mean())


def stored(scratch: Path, name: str, count: int) -> np.ndarray:
    parts = [scratch / "-".join(SETS) / name / f"{start:06d}.npz" for start in range(0, count, CHUNK)]
    return np.concatenate([np.load(path)["pooled"] for path in parts]).astype(np.float32)


def bridge(data: Path, scratch: Path) -> dict[str, Any]:
    import torch

    from sensorium.encoders.conse import aligned, class_names, combine, text_vectors
    from sensorium.encoders.packaged.pictures import EffLite0
    from sensorium.encoders.packaged.texts import MiniLM

    table = films(data).filter(pl.any_horizontal(pl.col(f"in_{name}") == "1" for name in SETS))
    has_text, has_file = (table.get_column(name).to_numpy() != "" for name in ("text", "file"))
    pictures, text = EffLite0(), MiniLM()
    pictures.load()
    text.load()
    names = text_vectors(text, [f"a photo of a {name}" for name in class_names()])
    with torch.inference_mode():
        seen = pictures.network.logits(torch.from_numpy(stored(scratch, "efflite0", int(has_file.sum())))).softmax(1)
    bridged = np.zeros((len(table), 384), np.float32)
    bridged[has_file] = combine(seen, names).numpy()
    plots = np.zeros((len(table), 384), np.float32)
    plots[has_text] = stored(scratch, "minilm-l6", int(has_text.sum()))
    rows = np.flatnonzero(has_text & has_file & (table.get_column("in_ml1m") == "1").to_numpy())
    scores = aligned(bridged[rows]) @ aligned(plots[rows]).T
    rank = (scores > np.diag(scores)[:, None]).sum(1)
    return {
        "encoder": "conse-efflite0",
        "set": "ml1m",
        "items": len(rows),
        "recall10": round(float((rank < 10).mean()), 4),
        "chance": round(10 / len(rows), 4),
        "recall10_shuffled": round(float((np.random.default_rng(0).permutation(len(rows)) < 10).mean()), 4),
    }


def sound(_: Path, __: Path) -> dict[str, Any]:
    import torch

    from sensorium.encoders.packaged.sounds import YamNetEncoder
    from sensorium.encoders.packaged.yamnet import top_classes
    from sensorium.media.sound import write_sound

    encoder = YamNetEncoder()
    encoder.load()
    moments = np.arange(48_000) / 16_000
    made = {
        "sine": 0.5 * np.sin(2 * np.pi * 1000 * moments),
        "noise": 0.3 * np.random.default_rng(0).standard_normal(48_000),
        "silence": np.zeros(48_000),
    }
    result: dict[str, Any] = {"encoder": "yamnet", "set": "generated"}
    with tempfile.TemporaryDirectory() as folder:
        for name, samples in made.items():
            path = Path(folder) / f"{name}.wav"
            write_sound(path, np.clip(samples, -1, 1).astype(np.float32), 16_000)
            with torch.inference_mode():
                scores = encoder.logits(encoder.collate([encoder.preparer(path)]))
            result[name] = top_classes(scores, encoder.class_names())[0]
        path = Path(folder) / "minute.wav"
        write_sound(path, np.tile(made["noise"], 20).clip(-1, 1).astype(np.float32), 16_000)
        began = time.process_time()
        item = encoder.preparer(path)
        prepared = time.process_time()
        with torch.inference_mode():
            encoder.forward(encoder.collate([item]))
        result["prepare_ms_per_second"] = round(1e3 * (prepared - began) / 60, 2)
        result["forward_ms_per_second"] = round(1e3 * (time.process_time() - prepared) / 60, 2)
    return result


def planted(_: Path, __: Path) -> dict[str, Any]:
    from sensorium.data.catalogue import open_dataset
    from sensorium.encoders.encode import encode_all

    dataset = encode_all(open_dataset("demo"), prefer="weights")
    truth = pl.read_parquet(dataset.root / "planted" / "items.parquet")
    result: dict[str, Any] = {"encoder": "minilm-l6, efflite0", "set": "demo", "items": dataset.n_items}
    for feature, factor in (("text", "topic"), ("image", "style")):
        x, present = dataset.features(feature)
        label = truth[factor].to_numpy()[present]
        share = np.unique(label, return_counts=True)[1] / len(label)
        result[f"same_{factor}"] = {"found": same_prompt(x[present], label), "chance": float((share**2).sum())}
    return result


def given(data: Path, _: Path) -> dict[str, Any]:
    table = films(data).filter((pl.col("in_ml1m") == "1") & (pl.col("audio_row") != "-1"))
    vectors = np.load(data / "movielens" / "ml1m" / "audio_vggish.f16.npy")[table.get_column("audio_row").cast(int)]
    genres = genre_matrix(table.get_column("genres"))
    found = measure(vectors.astype(np.float32), genres)
    return {
        "encoder": "given VGGish",
        "set": "ml1m",
        "items": len(table),
        **found,
        "chance": round(chance(genres)[0], 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=("clips", "bridge", "sound", "planted", "given"))
    parser.add_argument("--scratch", type=Path, default=Path.home() / ".cache" / "sensorium" / "benchmarks")
    parser.add_argument("--rows", type=Path, default=ROWS)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    for part in arguments.parts:
        result = {"topic": "encoders", **globals()[part](Path(os.environ.get("SENSORIUM_DATA", "")), arguments.scratch)}
        result["command"] = f"python benchmarks/encoder_media.py {part}"
        with arguments.rows.open("a") as handle:
            handle.write(json.dumps(result) + "\n")
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
