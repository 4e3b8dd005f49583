"""How well added noise is found, as rows of docs/results/rows/guider-detection.jsonl:

    python benchmarks/detection.py [DATASET ...]        content alone, rates .1 to .5, seeds 0 to 2; chance is .5
    python benchmarks/detection.py --run RUN ...        finished runs on added noise: GUIDER's full evidence, or for
                                                        any other backbone its score evidence and its loss
    python benchmarks/detection.py --ratings            ml100k-all: rows rated 1 or 2 against the others, content alone
    python benchmarks/detection.py --table              the rows as a table

A value is the chance that an added row looks worse than another one (AUC), over all train rows.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sensorium.core.files import json_line
from sensorium.core.seeds import numpy_generator
from sensorium.data.catalogue import open_dataset
from sensorium.data.noise import NoiseConfig, add_noise
from sensorium.data.sampling import NegativeSampler
from sensorium.data.splits import TRAIN, Split, make_split
from sensorium.data.view import TrainView, train_view
from sensorium.encoders.encode import encode_all
from sensorium.experiments.loading import LoadedRun, load_run
from sensorium.experiments.noise import area_under_curve
from sensorium.experiments.rows import Rows
from sensorium.recommenders.base import Backbone
from sensorium.recommenders.wrappers.calibration import CalibrationConfig, calibrate
from sensorium.recommenders.wrappers.evidence import vector_evidence
from sensorium.recommenders.wrappers.guider import Guider

TOPIC = "guider-detection"
SPLITS = {"lfm2k": "column", "tiktok": "column", "ml100k+": "random_per_user", "demo": "random_per_user"}
FEATURES = {"demo": ["text", "image"]}
NOISE = [("popularity", 0.3), ("uniform", 0.3), ("popularity", 0.1), ("popularity", 0.2), ("popularity", 0.5)]
SEEDS = (0, 1, 2)
LOW_RATING = 2
METHODS = ("popularity", "mean evidence", "content", "loss", "score", "full")


def mask_of(split: Split, view: TrainView) -> npt.NDArray[np.bool_]:
    """Return which rows of the view were added: bool [E]."""
    assert split.injected is not None
    train = split.label == TRAIN
    keys = (split.user * split.n_items + split.item)[train]
    return np.asarray(split.injected[train][np.argsort(keys)], dtype=bool)


def content_row(name: str, kind: str, rate: float, seed: int) -> dict[str, Any]:
    """Return what content alone finds."""
    dataset = open_dataset(name)
    clean = make_split(dataset, SPLITS[name], seed=0)
    split = add_noise(clean, NoiseConfig(kind=kind, rate=rate), seed=seed)  # type: ignore[arg-type]
    view = train_view(dataset, split, features=FEATURES.get(name), seed=seed)
    mask = mask_of(split, view)
    found = calibrate(view, CalibrationConfig()).content
    scores = {
        "popularity": view.item_count[view.item].astype(np.float64),
        "mean evidence": np.mean(list(found.evidence.values()), axis=0),
        "content": found.logit,
    }
    return {
        "dataset": name,
        "kind": kind,
        "rate": rate,
        "seed": seed,
        "share": float(mask.mean()),
        "estimated_share": list(found.estimate),
        "auc": {method: area_under_curve(-score, mask) for method, score in scores.items()},
    }


def rating_row() -> dict[str, Any]:
    """Return what content says of rows that people rated 1 or 2 in a data set that keeps every rating."""
    dataset = open_dataset("ml100k-all")
    split = make_split(dataset, "random_per_user", seed=0)
    if not dataset.feature_names:
        dataset = encode_all(dataset, split=split)
    view = train_view(dataset, split, seed=0)
    rows = dataset.interactions().select("user", "item", "rating").collect()
    rated = dict(zip(zip(rows["user"], rows["item"], strict=True), rows["rating"], strict=True))
    low = np.array([rated[pair] <= LOW_RATING for pair in zip(view.user.tolist(), view.item.tolist(), strict=True)])
    found = calibrate(view, CalibrationConfig()).content
    scores = {"popularity": view.item_count[view.item].astype(np.float64), "content": found.logit}
    auc = {method: area_under_curve(-score, low) for method, score in scores.items()}
    facts = {"dataset": "ml100k-all", "kind": f"rating <= {LOW_RATING}", "rate": 0.0, "seed": 0}
    return {**facts, "share": float(low.mean()), "estimated_share": list(found.estimate), "auc": auc}


def run_row(run: Path) -> dict[str, Any]:
    """Return what a trained model finds."""
    loaded = load_run(run)
    noise, mask = loaded.config.data.noise, mask_of(loaded.split, loaded.view)
    assert noise is not None
    return {
        "dataset": loaded.config.data.dataset,
        "kind": noise.kind,
        "rate": noise.rate,
        "seed": loaded.config.seed,
        "share": float(mask.mean()),
        "model": loaded.config.model.name,
        "auc": {method: area_under_curve(-score, mask) for method, score in trained_scores(loaded).items()},
    }


def trained_scores(loaded: LoadedRun) -> dict[str, npt.NDArray[np.float64]]:
    """Return by method a score of each train row, high for one that is meant."""
    model, view = loaded.model, loaded.view
    if isinstance(model, Guider):
        made = model.calibration
        assert made is not None
        return {"full": made.logit}
    assert isinstance(model, Backbone)
    with torch.no_grad():
        vectors = model.represent()
    sampler = NegativeSampler(view)
    negative = sampler.draw(view.user, 1, numpy_generator(loaded.config.seed, "detection"))[:, 0]
    user, item = vectors.user.numpy(), vectors.item.numpy()
    margin = ((item[view.item] - item[negative]) * user[view.user]).sum(1).astype(np.float64)
    return {"score": vector_evidence(vectors.user, vectors.item, view), "loss": margin}


def table(rows: list[dict[str, Any]]) -> str:
    """Return mean values over seeds as a table."""
    groups: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["kind"], row["rate"]), []).append(row)
    lines = [f"| data | noise | rate | seeds | {' | '.join(METHODS)} |", "|---|---|---:|---:|" + "---:|" * len(METHODS)]
    for (name, kind, rate), members in sorted(groups.items()):
        cells = []
        for method in METHODS:
            values = [row["auc"][method] for row in members if method in row["auc"]]
            cells.append(f"{np.mean(values):.3f}" if values else "not run here")
        seeds = len({row["seed"] for row in members})
        lines.append(f"| {name} | {kind} | {rate:g} | {seeds} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Make the missing rows, or print them."""
    kept = Rows(TOPIC)
    there = kept.read()
    if arguments == ["--table"]:
        print(table(there))
        return
    made: list[dict[str, Any]] = []
    if arguments[:1] == ["--run"]:
        made = [run_row(Path(run)) for run in arguments[1:]]
    elif arguments == ["--ratings"]:
        made = [rating_row()]
    else:
        names = arguments or list(SPLITS)
        known = {(row["dataset"], row["kind"], row["rate"], row["seed"]) for row in there if "model" not in row}
        for kind, rate in NOISE:
            for seed in SEEDS:
                made += [content_row(name, kind, rate, seed) for name in names if (name, kind, rate, seed) not in known]
    kept.path.parent.mkdir(parents=True, exist_ok=True)
    with kept.path.open("a", encoding="utf-8") as file:
        for row in made:
            row["auc"] = {method: round(value, 4) for method, value in row["auc"].items()}
            file.write(json_line(row) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
