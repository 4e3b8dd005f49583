"""The tables of docs/results/video-bench.md, made of the committed rows: `python -m sensorium.judging.trials page`.

A table stands between `<!-- trial: NAME -->` and `<!-- end of trial -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]

PAGE = Path("docs") / "results" / "video-bench.md"
BLOCK = re.compile(r"(<!-- trial: ([a-z-]+) -->\n).*?(<!-- end of trial -->)", flags=re.DOTALL)


def filled(page: str, rows: Path) -> str:
    """Return a page with every table made anew from the rows in a folder."""
    return BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]](rows)}\n{block[3]}", page)


def _rows(folder: Path, name: str) -> list[Row]:
    lines = (folder / f"video-bench-{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float | None, digits: int = 3) -> str:
    """Return a number without its leading zero, as the other pages have it."""
    if value is None:
        return "–"
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.{digits}f}").replace("-", "−")


def _triple(values: Sequence[float | None], digits: int = 3) -> str:
    value, low, high = (_number(one, digits) for one in values)
    return f"{value} [{low}, {high}]"


def _simulated(rows: Path) -> str:
    names = {
        "shift": "level shifts from call to call",
        "missed": "facts are missed",
        "both": "both",
    }
    table = []
    for row in _rows(rows, "simulated"):
        scores = row["scores"]
        cells = [_triple(scores["tau"][0]), _triple(scores["tau"][1]), _triple(scores["tau_difference"])]
        cells += [_number(scores["preference"][place][0]) for place in (0, 1)]
        cells += [_number(scores["mean_error"][place]) for place in (0, 1)]
        table.append([f"{names[row['trial']]}: `{row['protocols'][1]}`", *cells])
    head = ["judge's error: protocol", "τ-b, direct", "τ-b, protocol", "difference"]
    return _table([*head, "preference, direct", "protocol", "mean error, direct", "protocol"], table)


def _metric(rows: Path) -> str:
    table = []
    for row in _rows(rows, "metric"):
        if not row.get("default"):
            continue
        best = row["best_signal"]
        table.append(
            [
                f"`{row['dimension']}`",
                _triple(row["pooled"]),
                _triple(row["within_model"]),
                _triple(row["without_model"]),
                f"{_number(row['mae'])} / {_number(row['mae_constant'])}",
                _triple(row["generator_mean"]),
                f"{best['name'].replace('_', ' ')} {_triple(best['rho'])}",
                f"{_number(row['permuted_ratings']['mean'])}",
            ]
        )
    head = ["dimension", "ρ, all clips", "ρ within models", "ρ, model left out", "MAE / constant", "generator's mean"]
    return _table([*head, "best single signal", "ratings dealt out"], table)


def _distortions(rows: Path) -> str:
    table = []
    for row in _rows(rows, "metric"):
        if row.get("default"):
            kinds = [f"{kind} {_share(values)}" for kind, values in row["below"].items() if kind != "all"]
            table.append([f"`{row['dimension']}`", _share(row["below"]["all"], interval=True), "; ".join(kinds)])
    return _table(["dimension", "all copies", "by kind"], table)


def _share(values: Sequence[float], *, interval: bool = False) -> str:
    value, low, high = (100 * one for one in values)
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]" if interval else f"{value:.1f} %"


def _balance(rows: Path) -> str:
    table = []
    for row in sorted(_rows(rows, "metric"), key=lambda one: (one.get("dimension", ""), one.get("balance", 0))):
        if row["trial"] == "left-prompt-out":
            mark = ", default" if row["default"] else ""
            numbers = [_number(row[name][0]) for name in ("pooled", "within_model", "without_model")]
            table.append([f"`{row['dimension']}`", f"{row['balance']:g}{mark}", *numbers, _share(row["below"]["all"])])
    head = ["dimension", "λ", "ρ, all clips", "within models", "model left out", "copies below"]
    return _table(head, table)


TABLES: Mapping[str, Callable[[Path], str]] = {
    "simulated": _simulated,
    "metric": _metric,
    "distortions": _distortions,
    "balance": _balance,
}
