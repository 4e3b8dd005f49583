"""What the doubt of trained tracers is worth: the study of docs/results/tracing.md, from complete runs on one test.

    python benchmarks/tracing_study.py ukt=RUN ukt-robust=RUN simplekt=RUN akt=RUN ... --ensemble simplekt,akt
    python benchmarks/tracing_study.py --table

The first run is compared with each other one, and so is every run named by `--also`; all differences are paired over
test students. The page shows those of the first, and what the last one loses by flips. Rows go to
docs/results/rows/tracing-uncertainty.jsonl: one for each model, one for each that others are compared with. The figure
of deferring goes beside the page. `sensorium trace uncertainty` makes the same numbers into a page of its own.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl

from sensorium.core.files import json_line, write_text
from sensorium.core.rundir import machine_class
from sensorium.tracing.uncertainty.contrasts import compare
from sensorium.tracing.uncertainty.page import numbers_of
from sensorium.tracing.uncertainty.plots import risk_coverage
from sensorium.tracing.uncertainty.study import Studied, StudyConfig, study

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "docs" / "results" / "rows" / "tracing-uncertainty.jsonl"
PAGE = ROOT / "docs" / "results" / "tracing.md"
FIGURE = ROOT / "docs" / "images" / "tracing-deferring.svg"
RATES = ("0.1 symmetric", "0.2 symmetric", "0.3 symmetric", "0.2 slip", "0.2 guess")
HISTORIES = ("1-4", "5-9", "10-19", "20-49", "50-99", "100+")
DRAWN = ("confidence", "variance")  # curves of these alone, or nobody can tell them apart
PAIRED = (
    "confidence - confidence",
    "confidence - dropout confidence",
    "variance - variance",
    "variance - dropout variance",
)
SILENT = 1e-6  # a mean variance below it is rounding: that model has no doubt to show


def rows_of(found: list[Studied], also: Iterable[str]) -> list[dict[str, Any]]:
    """Return a row for each model, and one for each that the others are compared with."""
    facts = {"machine": machine_class(), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    rows: list[dict[str, Any]] = [{"model": one.name, "numbers": one.numbers, **facts} for one in found]
    for first in (found[0].name, *also):
        ordered = sorted(found, key=lambda one: one.name != first)
        compared = compare(ordered)
        kinds = ("gaps", "falls", "fall_gaps", "deferring", "joint")
        rows.append({"first": first, **{kind: numbers_of(getattr(compared, kind)) for kind in kinds}, **facts})
    return [_rounded(row) for row in rows]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_rounded(child) for child in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def draw(found: list[Studied]) -> None:
    """Draw all models' orders by confidence and by variance into one figure."""
    orders = {f"{one.name}: {score}": one.orders[score] for one in found for score in DRAWN if score in one.orders}
    dropout = {
        f"{one.name}: dropout {score}": one.orders[f"dropout {score}"]
        for one in found
        for score in DRAWN
        if f"dropout {score}" in one.orders and one.name.startswith("simplekt")
    }
    figure = risk_coverage(orders | dropout)
    figure.set_size_inches(8.6, 6.0)
    FIGURE.parent.mkdir(exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "sensorium", "svg.fonttype": "none"}):
        figure.savefig(FIGURE, metadata={"Date": None, "Creator": None})


# --- tables ---------------------------------------------------------------------------------------------------------


def fill() -> None:
    """Write the tables into the page."""
    rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    models = {row["model"]: row["numbers"] for row in rows if "model" in row}
    compared = {row["first"]: row for row in rows if "first" in row}
    tables = {
        "calibration": _calibration(models),
        "deferring": _deferring(models),
        "deferring, paired": _paired(models, *next(iter(compared.items())), "deferring"),
        "frozen": _frozen(models),
        "joint, paired": _paired(models, *next(iter(compared.items())), "joint"),
        "evidence": _evidence(models),
        "flips": _flips(models, compared),
    }
    page = PAGE.read_text(encoding="utf-8")
    for name, lines in tables.items():
        start, end = f"<!-- tracing-study: {name} -->\n", "<!-- end of tracing-study -->"
        before, found, after = page.partition(start)
        if not found:
            raise SystemExit(f"{PAGE.name} has no place for '{name}'")
        page = before + start + "\n".join(lines) + "\n" + after[after.index(end) :]
    write_text(PAGE, page)


def _table(columns: list[str], rows: Iterable[list[str]]) -> list[str]:
    head = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    return head + [f"| {' | '.join(row)} |" for row in rows]


def _calibration(models: dict[str, Any]) -> list[str]:
    columns = ["model", "AUC", "ACC", "NLL", "ECE", "temperature", "NLL then", "ECE then"]
    return _table(
        columns,
        (
            [name, *(_n(n["raw"][key]) for key in ("auc", "acc", "nll", "ece")), f"{n['temperature']:.2f}",
             _n(n["scaled"]["nll"]), _n(n["scaled"]["ece"])]
            for name, n in models.items()
        ),
    )  # fmt: skip


def _deferring(models: dict[str, Any]) -> list[str]:
    columns = ["model: score", "ACC at 80 %", "AUC at 80 %", "AURC", "error ratio"]
    return _table(
        columns,
        (
            [f"{name}: {score}", f"{_n(one['acc@0.8'])} {_range(one['acc@0.8_interval'])}", _n(one["auc@0.8"]),
             _n(one["aurc"]), f"{one['error_ratio']:.2f}"]
            for name, n in models.items()
            for score, one in n["selective"].items()
            if score == "confidence" or "dropout" in score or _doubts(n)
        ),
    )  # fmt: skip


def _doubts(numbers: dict[str, Any]) -> bool:
    evidence = numbers["evidence"]
    return bool(evidence) and max(value or 0 for value in evidence["mean_variance"].values()) > SILENT


def _paired(models: dict[str, Any], first: str, row: dict[str, Any], kind: str) -> list[str]:
    """Return the differences of the first model to the others; of scores, those that are alike."""
    columns = {"deferring": ["ACC at 80 %", "scores", "difference"], "joint": ["joint NLL", "answers", "difference"]}
    return _table(
        columns[kind],
        (
            [f"{first} - {other}", key, _gap(gap)]
            for other, gaps in row[kind].items()
            for key, gap in gaps.items()
            if kind == "joint"
            or (key in PAIRED and (not key.endswith("variance") or "dropout" in key or _doubts(models[other])))
        ),
    )


def _frozen(models: dict[str, Any]) -> list[str]:
    columns = ["model, next answers", "blocks", "joint gain", "joint NLL", "80 % band covers", "alone", "CRPS", "alone"]
    return _table(
        columns,
        (
            [f"{name}, {key}", f"{one['blocks']:,}", f"{one['joint_gain']:.4f} {_range(one['joint_gain_interval'])}",
             _n(one["joint_nll"]), f"{one['cover']:.3f}", f"{one['cover_independent']:.3f}", f"{one['crps']:.3f}",
             f"{one['crps_independent']:.3f}"]
            for name, n in models.items()
            for key, one in n["frozen"].items()
        ),
    )  # fmt: skip


def _evidence(models: dict[str, Any]) -> list[str]:
    rows = []
    for name, n in models.items():
        if _doubts(n):
            means = n["evidence"]["mean_variance"]
            fall = n["evidence"]["fall"]
            shown = ["–" if means.get(key) is None else f"{means[key]:.4f}" for key in HISTORIES]
            rows.append([name, *shown, "–" if fall is None else f"{100 * fall:.0f} %"])
    return _table(["mean epistemic variance, answers before", *HISTORIES, "falls by"], rows)


def _flips(models: dict[str, Any], compared: dict[str, Any]) -> list[str]:
    rows = []
    for name, n in models.items():
        if n["noise"]:
            rows.append([name, _n(n["raw"]["auc"]), *(_n(n["noise"][key]["auc"]) for key in RATES)])
    for first, row in list(compared.items())[:1]:
        for other, gaps in row["gaps"].items():
            if "0.1 symmetric" in gaps:
                rows.append([f"{first} - {other}", _gap(gaps["0"]), *(_gap(gaps[key]) for key in RATES)])
    for first, row in list(compared.items())[-1:]:  # the last that was asked for: the model that is to fall less
        for other, gaps in row["fall_gaps"].items():
            rows.append([f"fall of {first} - fall of {other}", "", *(_gap(gaps[key]) for key in RATES if key in gaps)])
    return _table(["AUC", "no flips", "10 %", "20 %", "30 %", "20 % of right ones", "20 % of wrong ones"], rows)


def _n(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _range(ends: list[float]) -> str:
    return f"[{ends[0]:.4f}, {ends[1]:.4f}]"


def _gap(gap: list[float]) -> str:
    return f"{gap[0]:+.4f} [{gap[1]:+.4f}, {gap[2]:+.4f}]"


def main() -> None:
    """Study runs, or fill the page."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runs", nargs="*", metavar="NAME=RUN")
    arguments.add_argument("--ensemble", default="", metavar="A,B", help="runs that answer as one too")
    arguments.add_argument("--also", nargs="*", default=[], metavar="NAME", help="others are compared with it too")
    arguments.add_argument("--dropout", default="", metavar="A,B", help="runs of which passes with dropout are made")
    arguments.add_argument("--blocks", type=int, default=0, help="frozen blocks of each size at most; 0 = all")
    arguments.add_argument("--table", action="store_true", help="fill the page's tables and end")
    chosen = arguments.parse_args()
    if chosen.table:
        fill()
        return
    runs = dict(word.split("=", 1) for word in chosen.runs)
    if not runs:
        arguments.error("name runs, or --table")
    ensemble, dropped = ([name for name in names.split(",") if name] for names in (chosen.ensemble, chosen.dropout))
    config = StudyConfig(blocks=chosen.blocks or None, dropped=dropped)
    found = study(runs, ensemble=ensemble, config=config)
    write_text(ROWS, "".join(json_line(row) + "\n" for row in rows_of(found, chosen.also)))
    draw(found)
    fill()


if __name__ == "__main__":
    main()
