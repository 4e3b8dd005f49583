"""The leak audit of every tracer on real answers: fair coins, planted copies, flipped answers, padding, split.

    python benchmarks/tracing_audit.py [MODEL ...] [--dataset assist2009] [--epochs 4]
    python benchmarks/tracing_audit.py --table

A row of docs/results/rows/tracing-audit.jsonl is the audit of one model; a model that has a row with as many epochs is
not audited again, unless the row is of an audit that asked less. The status is 1 when a check fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from sensorium.core.files import json_line, write_text
from sensorium.core.rundir import machine_class
from sensorium.tracing.audit import audit

ROWS = Path(__file__).parents[1] / "docs" / "results" / "rows" / "tracing-audit.jsonl"
PAGE = ROWS.parents[1] / "tracing.md"
START, END = "<!-- tracing-audit -->\n", "<!-- end of tracing-audit -->"
AUDIT = 2  # raised when the audit asks more: 2 flips at the edges of windows, compares logits, varies padding
MODELS = ("irt", "pfa", "bestlr", "bkt", "dkt", "sakt", "simplekt", "akt", "ukt-point", "ukt")


def rows() -> list[dict[str, object]]:
    """Return the audits that asked what is asked today."""
    lines = ROWS.read_text(encoding="utf-8").splitlines() if ROWS.exists() else []
    return [row for row in map(json.loads, lines) if row.get("audit") == AUDIT]


def fill() -> None:
    """Write the table into the page."""
    lines = [
        "| model | data | epochs at most | coins, AUC | copies, AUC | causality, padding, split, identity |",
        "|---|---|---:|---:|---:|---|",
    ]
    for row in rows():
        failed = ", ".join(name for name, passed in row["checks"].items() if not passed)  # type: ignore[attr-defined]
        told = (
            f"{row['random_auc']:.4f} | {row['probe_auc']:.3f} | {'**' + failed + ' failed**' if failed else 'passed'}"
        )
        lines.append(f"| {row['model']} | {row['dataset']} | {row['epochs']} | {told} |")
    page = PAGE.read_text(encoding="utf-8")
    before, _, after = page.partition(START)
    write_text(PAGE, before + START + "\n".join(lines) + "\n" + after[after.index(END) :])


def main() -> None:
    """Audit what has no row."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help=", ".join(MODELS))
    arguments.add_argument("--dataset", default="assist2009")
    arguments.add_argument("--epochs", type=int, default=4)
    arguments.add_argument("--table", action="store_true", help="fill the page's table and end")
    chosen = arguments.parse_args()
    if chosen.table:
        fill()
        return
    done = {(row["model"], row["dataset"], row["epochs"]) for row in rows()}
    passed = True
    for model in chosen.models:
        if (model, chosen.dataset, chosen.epochs) in done:
            continue
        training = {
            "epochs": chosen.epochs,
            "patience": 3,
            "batch_size": 32,
            "device": "cpu",
            "optimizer": {"lr": 1e-3},
        }
        tree = {"kind": "trace", "data": {"dataset": chosen.dataset}, "model": model, "training": training}
        found = audit(tree)
        print(model, *found.lines(), sep="\n", flush=True)
        row = {
            "model": model,
            "dataset": chosen.dataset,
            "epochs": chosen.epochs,
            "audit": AUDIT,
            "random_auc": round(found.random_auc, 6),
            "probe_auc": round(found.probe_auc, 6),
            "checks": {check.name: check.passed for check in found.checks},
            "details": found.lines(),
            "machine": machine_class(),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
        }
        with ROWS.open("a", encoding="utf-8") as handle:
            handle.write(json_line(row) + "\n")
        passed &= found.passed
    fill()
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
