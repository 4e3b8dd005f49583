"""`uncertainty.json` and `uncertainty.html`: what runs say of their own doubt, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.core.files import write_json
from sensorium.core.pages import figure, write_page
from sensorium.tracing.uncertainty.calibration import scaled
from sensorium.tracing.uncertainty.contrasts import By, Contrasts, compare
from sensorium.tracing.uncertainty.plots import reliability_pair, risk_coverage
from sensorium.tracing.uncertainty.study import Studied


def write_study(folder: str | Path, found: Sequence[Studied]) -> list[Path]:
    """Write the numbers and the page.

    Returns:
        The files.
    """
    folder = Path(folder)
    compared = compare(found)
    files = [folder / "uncertainty.json", folder / "uncertainty.html"]
    numbers = {
        "models": {one.name: one.numbers for one in found},
        "differences": numbers_of(compared.gaps),
        "falls": numbers_of(compared.falls),
        "fall_differences": numbers_of(compared.fall_gaps),
        "deferring": numbers_of(compared.deferring),
        "joint_nll_differences": numbers_of(compared.joint),
    }
    write_json(files[0], _finite(numbers))
    orders = {f"{one.name}: {score}": order for one in found for score, order in one.orders.items()}
    write_page(
        files[1],
        "Uncertainty of " + ", ".join(one.name for one in found),
        "tracing/uncertainty/templates/uncertainty.html",
        tables=_tables(found, compared),
        curve=figure(risk_coverage(orders), description="Error rate of the kept answers by the share that is kept"),
        diagrams=[
            (
                one.name,
                figure(
                    reliability_pair(
                        one.rows.p.astype(np.float64),
                        scaled(one.rows.p, one.temperature),
                        one.rows.response,
                        one.temperature,
                    ),
                    description=f"Reliability of {one.name}, raw and at a temperature",
                ),
            )
            for one in found
        ],
    )
    return files


def numbers_of(by: By) -> dict[str, dict[str, list[float]]]:
    """Return differences as lists of their value and its interval."""
    return {name: {key: [gap.difference, gap.low, gap.high] for key, gap in one.items()} for name, one in by.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_finite(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tables(found: Sequence[Studied], compared: Contrasts) -> list[dict[str, Any]]:
    def each(columns: list[str], rows: list[list[str]], title: str, note: str = "") -> dict[str, Any]:
        return {"title": title, "columns": columns, "rows": rows, "note": note}

    tables = [
        each(
            ["model", "NLL", "Brier", "ECE", "ECE, equal mass", "temperature", "NLL then", "ECE then"],
            [
                [
                    one.name,
                    *(_show(one.numbers["raw"][key]) for key in ("nll", "brier", "ece", "ece_mass")),
                    f"{one.temperature:.3f}",
                    _show(one.numbers["scaled"]["nll"]),
                    _show(one.numbers["scaled"]["ece"]),
                ]
                for one in found
            ],
            "Calibration",
        ),
        each(
            ["model: score", "ACC at 80 %", "95 % over students", "AUC at 80 %", "AURC", "excess", "error ratio"],
            [
                [
                    f"{one.name}: {score}",
                    _show(n["acc@0.8"]),
                    _range(n["acc@0.8_interval"]),
                    _show(n["auc@0.8"]),
                    _show(n["aurc"]),
                    _show(n["excess_aurc"]),
                    f"{n['error_ratio']:.2f}",
                ]
                for one in found
                for score, n in one.numbers["selective"].items()
            ],
            "Selective prediction",
            "With calibrated probabilities confidence is the best order for accuracy: no variance can beat it.",
        ),
        each(
            ["ACC at 80 %: first's score - score of", "score", "difference", "p"],
            _paired(found[0].name, compared.deferring),
            "Deferring, paired",
        ),
        each(
            [
                "model, next answers",
                "joint gain, nats",
                "95 %",
                "joint NLL",
                "80 % band covers",
                "independent",
                "mean width, answers",
                "independent",
                "CRPS",
                "independent",
            ],
            [
                [
                    f"{one.name} {key}",
                    f"{n['joint_gain']:.5f}",
                    _range(n["joint_gain_interval"], 5),
                    _show(n["joint_nll"]),
                    _show(n["cover"], 3),
                    _show(n["cover_independent"], 3),
                    _show(n["width"], 2),
                    _show(n["width_independent"], 2),
                    _show(n["crps"]),
                    _show(n["crps_independent"]),
                ]
                for one in found
                for key, n in one.numbers["frozen"].items()
            ],
            "Next answers from a frozen history",
            "None of the answers between is seen. A doubt that is real makes them vary together.",
        ),
        each(
            ["joint NLL per answer", "next answers", "difference", "p"],
            _paired(found[0].name, compared.joint),
            "Joint prediction, paired",
        ),
    ]
    noisy = [one for one in found if one.noisy]
    if noisy:
        keys = list(noisy[0].noisy)
        rows = [[one.name, *(_show(one.numbers["noise"][key]["auc"]) for key in keys)] for one in noisy]
        lines = {f"{found[0].name} minus {name}": gaps for name, gaps in compared.gaps.items()}
        lines |= {f"fall of {one.name}": compared.falls[one.name] for one in noisy}
        lines |= {f"fall of {found[0].name} minus that of {name}": gaps for name, gaps in compared.fall_gaps.items()}
        rows += [[name, *(_gap(gaps[key]) if key in gaps else "" for key in keys)] for name, gaps in lines.items()]
        note = (
            "Targets stay true. The fall alone does not rank models: read it beside the AUC. A model that was trained "
            "on flips owes them its smaller fall."
        )
        tables.append(each(["AUC", *keys], rows, "Flipped histories", note))
    doubting = [one for one in found if one.numbers["evidence"]]
    if doubting:
        names = list(doubting[0].numbers["evidence"]["mean_variance"])
        rows = [
            [one.name, *(_show(one.numbers["evidence"]["mean_variance"][name]) for name in names)] for one in doubting
        ]
        tables.append(each(["mean epistemic variance", *names], rows, "Evidence: answers before"))
    short = [one for one in found if one.numbers["short"]]
    if short:
        rows = [
            [one.name, f"{kind} {key}", f"{n['n']:,}", _show(n["auc"]), _show(n["ece"]), _show(n["variance"])]
            for one in short
            for kind in ("first", "last")
            for key, n in one.numbers["short"][kind].items()
        ]
        note = "first: the answer's place in its learner's history; last: how many answers a prediction sees."
        tables.append(each(["model", "history", "rows", "AUC", "ECE", "variance"], rows, "Short histories", note))
    return [table for table in tables if table["rows"]]


def _paired(first: str, by: By) -> list[list[str]]:
    return [
        [f"{first} - {name}", key, _gap(gap), f"{gap.p:.3f}"] for name, one in by.items() for key, gap in one.items()
    ]


def _show(value: float | None, digits: int = 4) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _range(ends: Sequence[float], digits: int = 4) -> str:
    return f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"


def _gap(gap: Any) -> str:
    return f"{gap.difference:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
