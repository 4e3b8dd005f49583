"""How much the literature's protocol leaks: one DKT, true answers and fair coins, both protocols.

python benchmarks/tracing_leak.py [DATASET] [--epochs N]

Prints one line per reading and adds one to docs/results/rows/tracing-leak.jsonl. The network has no question
parameters, as the published one; expanded rows are read one by one (leaky), without the answer to their own question,
and as questions, from one set of weights.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from sensorium.core.config import build
from sensorium.core.files import json_line
from sensorium.core.rundir import machine_class
from sensorium.tracing.config import TraceConfig
from sensorium.tracing.data.catalogue import open_tracing
from sensorium.tracing.evaluation.metrics import measure
from sensorium.tracing.evaluation.predicting import predict
from sensorium.tracing.expanded import predict_expanded
from sensorium.tracing.job import fit
from sensorium.tracing.setup import random_labels, set_up

ROWS = Path(__file__).resolve().parents[1] / "docs" / "results" / "rows" / "tracing-leak.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", nargs="?", default="assist2009")
    parser.add_argument("--epochs", type=int, default=15)
    given = parser.parse_args()
    dataset = open_tracing(given.dataset)
    for labels in ("true", "coins"):
        answers = dataset.answers() if labels == "true" else random_labels(dataset.answers(), seed=0)
        for protocol in ("question", "pykt-expanded"):
            tree = {
                "kind": "trace",
                "data": {"dataset": given.dataset},
                "model": {"name": "dkt", "difficulty": "none", "ema": 0.0},
                "training": {"epochs": given.epochs, "device": "cpu", "checkpoint": "none"},
                "protocol": protocol,
            }
            config = build(TraceConfig, tree, source="benchmark")
            setup = set_up(config, dataset, answers=answers)
            trained = fit(setup)
            sizes = {"size": config.windows.length, "stride": config.windows.stride}
            if protocol == "question":
                readings = {"question": predict(setup.model, answers, setup.split.test, **sizes)}
            else:
                found = predict_expanded(setup.model, answers, setup.split.test, **sizes)
                readings = {
                    "kc_one_by_one": found.one_by_one,
                    "kc_all_in_one": found.all_in_one,
                    "question": found.question,
                }
            for reading, rows in readings.items():
                record = {
                    "dataset": given.dataset,
                    "labels": labels,
                    "protocol": protocol,
                    "reading": reading,
                    "leaky": reading == "kc_one_by_one",
                    "n": len(rows),
                    "auc": round(measure(rows)["auc"], 6),
                    "epoch": trained.best_epoch,
                    "machine": machine_class(),
                    "finished": datetime.now(UTC).date().isoformat(),
                }
                print(json_line(record), flush=True)
                with ROWS.open("a", encoding="utf-8") as handle:
                    handle.write(json_line(record) + "\n")


if __name__ == "__main__":
    main()
