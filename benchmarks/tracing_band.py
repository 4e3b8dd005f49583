"""How much of what a learner knows is inside the band of mastery, by how the spread was learned.

    python benchmarks/tracing_band.py [--runs FOLDER] [--dry]

Trains UKT on 600 simulated learners with three settings of the joint loss (runs that are in the folder already are
opened), asks for the mastery of every concept of 60 test learners, and compares it with the truth. One row per setting
goes to docs/results/rows/tracing-band.jsonl.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit

from sensorium.core.files import json_line
from sensorium.core.rundir import RunDirectory, machine_class
from sensorium.experiments.run import run
from sensorium.tracing.data.dataset import TracingDataset
from sensorium.tracing.data.simulated import SimulationConfig, ideal_observer, simulate, simulation_of
from sensorium.tracing.data.splits import split_students
from sensorium.tracing.evaluation.metrics import auc
from sensorium.tracing.job import read_predictions
from sensorium.tracing.pages.asking import ask
from sensorium.tracing.pages.bundle import from_run
from sensorium.tracing.pages.mastery import BAND, concept_weights, learner
from sensorium.tracing.pages.tested import log_of_tested
from sensorium.tracing.setup import load_trained
from sensorium.tracing.ukt.model import UKT

ROWS = Path(__file__).resolve().parents[1] / "docs" / "results" / "rows" / "tracing-band.jsonl"
CLASS = SimulationConfig(students=600, seed=3)
SETTINGS: dict[str, dict[str, int]] = {"base": {}, "b10": {"block": 10, "draws": 32}, "b20": {"block": 20, "draws": 32}}
LEARNERS, DRAWS = 60, 400


def trained(data: TracingDataset, folder: Path, options: dict[str, int]) -> Path:
    """Return a complete run with some options."""
    if not (folder / "result.json").exists():
        tree = {
            "kind": "trace",
            "data": {"dataset": str(data.root)},
            "model": {"name": "ukt", "dim": 32, "heads": 2, "hidden": 64, **options},
            "training": {"epochs": 15, "device": "cpu", "optimizer": {"lr": 2e-3}},
            "draws": 100,
        }
        run(tree, out=folder)
    return folder


def loadings_alike(path: Path, question: np.ndarray, first_concept: np.ndarray) -> tuple[float, float]:
    """Return the mean cosine of the loadings of two questions, of one concept and of two."""
    setup, bundle, log = load_trained(path), from_run(path), log_of_tested(path)
    assert isinstance(bundle.model, UKT)
    same = (first_concept[:, None] == first_concept[None]) & ~np.eye(len(question), dtype=bool)
    other = first_concept[:, None] != first_concept[None]
    found = []
    for student in setup.split.test[:LEARNERS]:
        who = learner(log, f"student-{student}")
        batch = who.log.batch(who.question[None], who.response[None])
        with torch.no_grad():
            asked = torch.from_numpy(question)[None]
            after = torch.full_like(asked, len(who.question))
            _, loading = bundle.model.ask(bundle.model.history(batch), batch, asked, after)
        assert loading is not None
        unit = loading[0] / loading[0].norm(dim=1, keepdim=True)
        cosine = (unit @ unit.T).numpy()
        found.append((cosine[same].mean(), cosine[other].mean()))
    one, two = np.mean(found, axis=0)
    return float(one), float(two)


def measure(data: TracingDataset, path: Path) -> dict[str, Any]:
    """Compare mastery and its band with the truth."""
    bundle, log, truth, setup = from_run(path), log_of_tested(path), simulation_of(data), load_trained(path)
    split = split_students(setup.dataset, setup.answers, setup.config.data.split, seed=0)
    concepts = np.arange(CLASS.concepts)
    question, weights = concept_weights(bundle, concepts)
    table = bundle.concepts[:-1].numpy()
    member = np.stack([(table[question] == number).any(axis=1) for number in concepts], axis=1)
    share = member / member.sum(axis=1, keepdims=True)
    gaps, spreads, covered = [], [], []
    for student in split.test[:LEARNERS]:
        who = learner(log, f"student-{student}")
        batch = who.log.batch(who.question[None], who.response[None])
        found = ask([bundle.model], batch, question, np.array([len(who.question)]), draws=DRAWS)
        assert found.draws is not None
        drawn = found.draws[:, 0] @ weights.T  # [K, C]
        theta = share @ truth.theta[student]
        true = weights @ expit(truth.discrimination[question] * (theta - truth.difficulty[question]))
        low, high = np.quantile(drawn, BAND, axis=0)
        covered.append((low <= true) & (true <= high))
        gaps.append(true - found.p[0] @ weights.T)
        spreads.append(drawn.std(axis=0))
    tested = read_predictions(path)
    row = setup.answers.offsets[tested.student] + tested.position
    one, two = loadings_alike(path, question, table[question][:, 0])
    numbers = {
        "auc": auc(tested.p, tested.response),
        "auc_observer": auc(ideal_observer(truth, CLASS)[row], tested.response),
        "auc_truth": auc(truth.p[row], tested.response),
        "mastery_error": float(np.abs(gaps).mean()),
        "band_sd": float(np.mean(spreads)),
        "error_in_sds": float(np.sqrt(np.mean((np.array(gaps) / np.array(spreads)) ** 2))),
        "cover": float(np.mean(covered)),
        "loadings_one_concept": one,
        "loadings_two_concepts": two,
    }
    return {name: round(value, 4) for name, value in numbers.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/tracing-band"))
    parser.add_argument("--dry", action="store_true", help="write no rows")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    folder = asked.runs / "learners"
    data = TracingDataset.open(folder) if folder.exists() else simulate(folder, CLASS)
    for name, options in SETTINGS.items():
        path = trained(data, asked.runs / name, options)
        config = RunDirectory.open(path).config["model"]
        row = {
            "setting": {key: config[key] for key in ("block", "draws")},
            **measure(data, path),
            "machine": machine_class(),
            "finished": datetime.now(UTC).date().isoformat(),
        }
        print(json_line(row), flush=True)
        if not asked.dry:
            with ROWS.open("a", encoding="utf-8") as rows:
                rows.write(json_line(row) + "\n")


if __name__ == "__main__":
    main()
