"""The page of one tracing run: what it reached, how well it is calibrated, where it is good, on which data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sensorium.core.errors import RunError
from sensorium.core.pages import figure, write_page
from sensorium.core.rundir import RunDirectory
from sensorium.tracing.evaluation.metrics import reliability
from sensorium.tracing.evaluation.predicting import Predictions
from sensorium.tracing.job import read_predictions

METRICS = {
    "auc": "AUC",
    "acc": "accuracy at .5",
    "nll": "log loss, nats",
    "brier": "Brier score",
    "rmse": "RMSE",
    "ece": "ECE, 15 bins of equal width",
    "ece_mass": "ECE, 15 bins of equal mass",
    "auc_student": "AUC per student, mean",
}


def write_report(path: str | Path) -> Path:
    """Write `report.html` of a complete tracing run; return its path.

    Raises:
        RunError: The run is not complete.
    """
    run = RunDirectory.open(path)
    result = run.result
    if result is None:
        raise RunError(f"{path} is not complete: continue it with 'sensorium resume {path}'")
    test, data = result["test"], result["data"]
    found = read_predictions(run.path)
    low, high = test["intervals"]["auc"]
    selection, training = result["selection"], result["training"]
    cards = [
        {"name": "AUC", "value": _number(test["metrics"]["auc"]), "detail": f"95 % over students {low:.4f}–{high:.4f}"},
        {"name": "accuracy", "value": _number(test["metrics"]["acc"]), "detail": "at .5"},
        {"name": "calibration error", "value": _number(test["metrics"]["ece"]), "detail": "ECE, equal width"},
        {"name": "rows", "value": f"{test['n']:,}", "detail": f"{test['students']:,} students, each row once"},
    ]
    tables: list[dict[str, Any]] = [
        {
            "title": "Test",
            "columns": ["number", "test", "validation"],
            "rows": [
                [label, _number(test["metrics"][name]), _number(result["valid"]["metrics"].get(name))]
                for name, label in METRICS.items()
            ],
            "note": f"State of epoch {selection['epoch']} of {training['epochs']}, selected by {selection['name']} on "
            "validation students.",
            "plot": _reliability_figure(found, leaky=result["leaky"]),
        },
        _parts("By length of history", "answers before", result["by_length"]),
    ]
    if "by_practice" in result:  # not in runs of earlier releases
        note = (
            "An answer is the first on a concept where its learner never met one, at least, of the question's concepts."
        )
        tables.append(_parts("By practice", "answers", result["by_practice"], note))
    if "readings" in result:
        rows = []
        for name, part in result["readings"].items():
            label = name.replace("_", " ") + (" (leaky)" if name == "kc_one_by_one" else "")
            rows.append([label, f"{part['n']:,}", _number(part["metrics"]["auc"]), _number(part["metrics"]["acc"])])
        columns = ["reading of the same weights", "rows", "AUC", "accuracy"]
        tables.insert(0, {"title": "Readings", "columns": columns, "rows": rows, "note": "", "plot": None})
    unseen = result["unseen"]
    tables.append(
        {
            "title": "Data",
            "columns": ["part", "students", "rows"],
            "rows": [[name, f"{n:,}", f"{data['rows'][name]:,}"] for name, n in data["students"].items()],
            "note": f"{data['name']}, attempts: {data['attempts']}, test {data['split']['origin']}, fold "
            f"{data['split']['fold']}. Of the tested rows {unseen['rows_of_unseen_questions']:,} ask a question and "
            f"{unseen['rows_of_unseen_concepts']:,} a concept that training never met.",
            "plot": None,
        }
    )
    counts = [[name.replace("_", " "), f"{n:,}"] for name, n in data["counts"].items()]
    tables.append({"title": "Import", "columns": ["what", "count"], "rows": counts, "note": "", "plot": None})
    leaky = result["leaky"]
    write_page(
        run.path / "report.html",
        f"{result['model']} on {data['name']}" + (" (leaky protocol)" if leaky else ""),
        "tracing/templates/run.html",
        lead=f"Knowledge tracing, protocol {result['protocol']}, seed {result['seed']}.",
        warnings=[result["notices"][0]] if leaky else [],
        cards=cards,
        tables=tables,
        notices=result["notices"][1:] if leaky else result["notices"],
    )
    return run.path / "report.html"


def _parts(title: str, what: str, parts: Mapping[str, Mapping[str, Any]], note: str = "") -> dict[str, Any]:
    """Return a table of parts of the tested rows, each with its number of rows and AUC."""
    rows = [[name, f"{part['n']:,}", _number(part["auc"])] for name, part in parts.items()]
    return {"title": title, "columns": [what, "rows", "AUC"], "rows": rows, "note": note, "plot": None}


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _reliability_figure(found: Predictions, *, leaky: bool) -> Any:
    """Draw mean prediction against the share of right answers, with the bins' sizes below."""
    import matplotlib.pyplot as plt

    bins = reliability(found.p, found.response)
    plot, (upper, lower) = plt.subplots(2, 1, figsize=(6, 5.5), sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    errors = [bins.right - bins.low, bins.high - bins.right]
    upper.errorbar(bins.p, bins.right, yerr=errors, fmt="o-", markersize=4, capsize=2)
    upper.set_ylabel("share of right answers")
    upper.set_title("Reliability" + (" (leaky protocol)" if leaky else ""))
    lower.bar(bins.p, bins.count, width=0.05)
    lower.set_ylabel("rows")
    lower.set_xlabel("predicted probability")
    plot.tight_layout()
    return figure(plot, description="Predicted probability against the share of right answers, with bin sizes below")
