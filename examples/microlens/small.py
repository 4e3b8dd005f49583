"""Every row of MicroLens in about a minute, on generated files in its formats and with small untrained encoders.

    python examples/microlens/small.py sasrec-v-videomae          the row examples/microlens/sasrec-v-videomae.yaml
    python examples/microlens/small.py --list

Files are written once, below the folder `microlens-small`: pairs, titles, covers, sound and clips of a generated
catalogue, named and laid out as MicroLens-100K is, and the configurations of four small encoders. The numbers of such a
run say that everything works, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np

from sensorium.core.files import write_npy, write_text
from sensorium.core.seeds import numpy_generator
from sensorium.data.dataset import Dataset
from sensorium.data.demo import DemoConfig, generate_demo
from sensorium.experiments.run import Run, run

HERE = Path(__file__).resolve().parent
NAME = "MicroLens-100k"
MEDIA = {"image": "covers", "audio": "audio", "video": "videos"}
FAMILIES = {"text": "bert", "image": "vit", "video": "videomae", "audio": "whisper"}
KINDS = {"text": "hub-text", "image": "hub-image", "video": "hub-video", "audio": "hub-audio"}
SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
LAYOUTS = {
    "bert": {"model_type": "bert", **SMALL, "max_position_embeddings": 256},
    "vit": {"model_type": "vit", **SMALL, "image_size": 32, "patch_size": 8},
    "videomae": {
        "model_type": "videomae", **SMALL, "image_size": 32, "patch_size": 16, "num_frames": 4, "tubelet_size": 2,
        "use_mean_pooling": False,
    },
    "whisper": {
        "model_type": "whisper", "d_model": 32, "encoder_layers": 3, "encoder_attention_heads": 2,
        "encoder_ffn_dim": 64, "num_mel_bins": 80, "max_source_positions": 1500,
        "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 64,
    },
}  # fmt: skip


def write_files(root: Path, *, users: int = 150, items: int = 60, seed: int = 0) -> Path:
    """Write a catalogue in the formats of MicroLens-100K; return its folder."""
    made = root / "catalogue"
    world = DemoConfig(
        users=users, items=items, seed=seed, rows_per_user=9, min_rows=6, modalities=("text", "image", "audio", "video")
    )
    data: Dataset = generate_demo(made, world, overwrite=True)
    folder = root / "microlens-100k"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = data.interactions().sort("user", "timestamp").collect()
    lines = [f"{user + 1},{item + 1},{time}" for user, item, time in rows.select("user", "item", "timestamp").rows()]
    write_text(folder / f"{NAME}_pairs.csv", "user,item,timestamp\n" + "\n".join(lines) + "\n")
    table = data.items().collect()
    titles = [f"{item + 1},{title or ''}\n" for item, title in enumerate(table["title"])]
    write_text(folder / f"{NAME}_title_en.csv", "".join(titles))
    for column, name in MEDIA.items():
        (folder / f"{NAME}_{name}").mkdir()
        for item, relative in enumerate(table[column]):
            if relative:
                source = data.media_path(relative)
                shutil.copyfile(source, folder / f"{NAME}_{name}" / f"{item + 1}{source.suffix}")
    vectors = numpy_generator(seed, "features").normal(size=(items, 16)).astype(np.float32)
    (folder / "extracted_modality_features").mkdir()
    write_npy(folder / "extracted_modality_features" / f"{NAME}_video_features_VideoMAE.npy", vectors)
    words = sorted({word for title in table["title"] if title for word in title.lower().split()})
    write_encoders(root / "encoders", words)
    return folder


def write_encoders(root: Path, words: list[str]) -> None:
    """Write the small files of four encoders: shapes, a tokeniser of these words, the numbers of preprocessing."""
    numbers = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3, "size": {"height": 32, "width": 32}}
    for name, layout in LAYOUTS.items():
        folder = root / name
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
        known = {"vocab_size": len(vocabulary)} if name == "bert" else {}
        write_text(folder / "config.json", json.dumps({**layout, **known}))
        if name == "bert":
            model = {
                "type": "WordLevel", "vocab": {word: place for place, word in enumerate(vocabulary)},
                "unk_token": "[UNK]",
            }  # fmt: skip
            framed = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
            tokenizer = {
                "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
                "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"},
                "post_processor": framed, "decoder": None, "model": model,
            }  # fmt: skip
            write_text(folder / "tokenizer.json", json.dumps(tokenizer))
            write_text(folder / "tokenizer_config.json", json.dumps({"pad_token": "[PAD]"}))
        elif name != "whisper":
            write_text(folder / "preprocessor_config.json", json.dumps(numbers))


def settings(name: str, root: Path) -> list[str]:
    """Return what makes a row small: width, epochs, and the small encoder of its modality in place of its own."""
    text = (HERE / f"{name}.yaml").read_text(encoding="utf-8")
    found = [
        "model.dim=32",
        "training.epochs=2",
        "training.batch_size=64",
        'training.precision="32"',
        "training.device=cpu",
    ]
    for modality, family in FAMILIES.items():
        if f"encoders: {{{modality}:" in text:
            encoder = f"{{name: {KINDS[modality]}, id: {root / 'encoders' / family}, weights: random}}"
            key = f"model.encoders.{modality}"
            found += [f"{key}.encoder={encoder}", f"{key}.workers=0"]
    return found


def run_small(name: str, root: Path, out: Path | None = None) -> Run:
    """Run a row on the generated files, which are written if they are not there."""
    root = root.resolve()
    if not (root / "microlens-100k").is_dir():
        write_files(root)
    os.environ["SENSORIUM_DATA"], os.environ["SENSORIUM_HOME"] = str(root), str(root / "home")
    if "features: [titles]" in (HERE / f"{name}.yaml").read_text(encoding="utf-8"):
        _encode_titles(root)
    asked = settings(name, root)
    _say(f"SENSORIUM_DATA={root} SENSORIUM_HOME={root / 'home'} sensorium run examples/microlens/{name}.yaml \\")
    _say(" \\\n".join(f"  --set '{setting}'" for setting in asked))
    return run(HERE / f"{name}.yaml", overrides=asked, out=out)


def _say(line: object) -> None:
    sys.stdout.write(f"{line}\n")


def _encode_titles(root: Path) -> None:
    from sensorium.core.config import Component, build
    from sensorium.core.registry import get
    from sensorium.data.catalogue import open_dataset
    from sensorium.encoders.encode import encode

    target = get("sensorium.encoders", "hub-text")
    tree = {"id": str(root / "encoders" / "bert"), "weights": "random"}
    encode(
        open_dataset("microlens-100k"),
        Component("sensorium.encoders", "hub-text", build(target.Config, tree, source="small")),
        name="titles",
    )


def main() -> None:
    """Run one row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", help="a row, the name of a file beside this one without .yaml")
    parser.add_argument("--folder", type=Path, default=Path("microlens-small"), help="where files go")
    parser.add_argument("--list", action="store_true", help="list the rows")
    asked = parser.parse_args()
    known = sorted(file.stem for file in HERE.glob("*.yaml"))
    if asked.list or asked.name not in known:
        parser.exit(0 if asked.list else 2, "rows: " + ", ".join(known) + "\n")
    done = run_small(asked.name, asked.folder)
    _say({key: round(value, 4) for key, value in done.result["test"]["metrics"].items() if key.startswith("hit")})
    _say(done.report)


if __name__ == "__main__":
    main()
