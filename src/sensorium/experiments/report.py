"""One run as an HTML page for people: what came out, how sure it is, where it comes from, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sensorium.core.config import build, to_yaml
from sensorium.core.errors import SensoriumError
from sensorium.core.pages import figure, write_page
from sensorium.core.resources import readable_bytes, readable_seconds
from sensorium.experiments import plots
from sensorium.experiments.config import RunConfig
from sensorium.experiments.examples import Example, draw_examples
from sensorium.experiments.finished import POPULARITY, TEMPERATURE, FinishedRun, describe_origin
from sensorium.experiments.origin import Origin
from sensorium.experiments.plots import NO_ENDS, Interval, Line
from sensorium.experiments.setup import split_of
from sensorium.experiments.tables import Card, Sheet, plain

if TYPE_CHECKING:
    from markupsafe import Markup


def write_report(path: str | Path) -> Path:
    """Write `report.html` of a complete run into its folder, and return its path.

    Raises:
        RunError: The folder holds no run, an incomplete one, or one of another kind.
    """
    run = FinishedRun.open(path)
    page = run.path / "report.html"
    examples, no_examples = _examples(run)
    data = run.data
    write_page(
        page,
        title=f"{run.model} on {data['name']}",
        template="experiments/templates/report.html",
        lead=_lead(run),
        warnings=_warnings(run),
        cards=_cards(run),
        metrics=_metrics(run.test),
        users=f"{run.test['n']:,}",
        user_plots=_user_plots(run),
        learning=_learning(run),
        best_epoch=run.best_epoch,
        buckets=_buckets(run),
        bucket_plots=_bucket_plots(run),
        among_cold=None if run.cold is None or not run.cold["n"] else _metrics(run.cold),
        examples=examples,
        no_examples=no_examples,
        data=_data(data),
        features=_features(data["features"]),
        left_out=_left_out(run),
        notices=data["notices"],
        rules=run.test["rules"],
        made=_made(run),
        config=to_yaml(run.config),
    )
    return page


# --- the top of the page --------------------------------------------------------------------------------------------


def _lead(run: FinishedRun) -> str:
    data, split = run.data, run.protocol["split"]
    return (
        f"{data['users']:,} users, {data['items']:,} items, {data['rows']['train']:,} train rows; split {split}; "
        f"run seed {run.seed}; selected on validation by {run.selection}."
    )


def _warnings(run: FinishedRun) -> list[str]:
    warnings = []
    if run.data["uses_future"]:
        warnings.append("This split uses other users' future: the numbers are no forecast of a live system's.")
    if (run.tie_share or 0) >= 0.05:
        warnings.append(
            f"{run.tie_share:.0%} of the lists have a tie at the largest cut: the order of equal scores decides there."
        )
    if run.cold is not None and (run.cold["tie_share"] or 0) >= 0.05:
        warnings.append(
            f"{run.cold['tie_share']:.0%} of the lists of cold items alone have a tie at the largest cut: the model "
            "does not tell these items apart, and the order of equal scores decides, which is chance."
        )
    return warnings


def _cards(run: FinishedRun) -> list[Card]:
    metrics, cut = run.test["metrics"], run.headline.partition("@")[2]
    shown = [run.headline, *(f"{name}@{cut}" for name in ("ndcg", "hit_rate", "coverage"))]
    cards = [
        Card(name, plain(metrics[name]), _bounds(run.test, name)) for name in dict.fromkeys(shown) if name in metrics
    ]
    training = run.result["training"]
    epochs = (
        f"of {training['epochs']}, stopped by {training['stopped']}" if training["epochs"] else "complete once built"
    )
    cards.append(Card("best epoch", str(run.best_epoch), epochs))
    cards.append(Card("wall time", readable_seconds(run.seconds), str(run.environment["machine"])))
    return cards


def _bounds(report: Mapping[str, Any], metric: str) -> str:
    bounds = report["intervals"].get(metric)
    return "" if bounds is None else f"[{plain(bounds[0])}, {plain(bounds[1])}]"


# --- the test -------------------------------------------------------------------------------------------------------


def _metrics(report: Mapping[str, Any]) -> Sheet:
    """Return one line per metric and one column per list length."""
    names = list(dict.fromkeys(metric.partition("@")[0] for metric in report["metrics"]))
    cuts = list(dict.fromkeys(metric.partition("@")[2] for metric in report["metrics"]))
    columns = ("metric", *(f"@{cut}" for cut in cuts))

    def cell(metric: str) -> str:
        return f"{plain(report['metrics'].get(metric))} {_bounds(report, metric)}".strip()

    rows = tuple((name, *(cell(f"{name}@{cut}") for cut in cuts)) for name in names)
    return Sheet("Test", columns, rows, frozenset(columns[1:]))


def _user_plots(run: FinishedRun) -> list[Markup]:
    """The spread over users, and the metrics that have intervals by list length."""
    drawn = []
    if run.headline in run.per_user.columns:
        values = run.per_user[run.headline].to_numpy()
        title = f"{run.headline} over users: {np.mean(values == 0):.0%} have none"
        plot = plots.histogram(values, x=run.headline, title=title)
        drawn.append(figure(plot, description=f"share of test users by their {run.headline}"))
    by_length = _lines_by_length(run.test)
    if by_length:
        plot = plots.curves(by_length, x="list length k", y="test", title="By list length")
        drawn.append(figure(plot, description="metrics of the test by list length"))
    return drawn


def _lines_by_length(report: Mapping[str, Any]) -> dict[str, list[Line]]:
    """Return one line per metric that has a value per user, over the list lengths; none where there is one length."""
    names = dict.fromkeys(metric.partition("@")[0] for metric in report["intervals"])
    cuts = list(dict.fromkeys(int(metric.partition("@")[2]) for metric in report["intervals"]))
    if len(cuts) < 2:
        return {}
    return {name: [Line(cuts, [report["metrics"][f"{name}@{cut}"] for cut in cuts])] for name in names}


def _learning(run: FinishedRun) -> list[Markup]:
    """The validation's selecting number, and the terms of the loss, by epoch."""
    curve = run.curve(run.selection)
    if len(curve.epochs) < 2:
        return []
    valid = {run.selection: [Line(curve.epochs, curve.values, curve.selected)]}
    losses = {name: [Line(term.epochs, term.values)] for name, term in run.losses.items()}
    plot = plots.curves(valid, x="epoch", y=run.selection, title=f"{run.selection} on validation")
    drawn = [figure(plot, description=f"{run.selection} on validation by epoch")]
    if losses:
        plot = plots.curves(losses, x="epoch", y="loss", title="Terms of the loss")
        drawn.append(figure(plot, description="mean of each loss term by epoch"))
    return drawn


# --- where the numbers come from ------------------------------------------------------------------------------------


def _buckets(run: FinishedRun) -> Sheet:
    """Return one line per bucket of items, with the headline number on the targets in it."""
    columns = ("train rows of the target", "items", "users", run.headline)
    rows = []
    for name in (*POPULARITY, *TEMPERATURE):
        bucket = run.bucket(name)
        if not bucket["items"]:
            continue
        value = f"{plain(bucket['metrics'].get(run.headline))} {_bounds(bucket, run.headline)}".strip()
        rows.append((_BUCKET_NAMES.get(name, name), f"{bucket['items']:,}", f"{bucket['n']:,}", value))
    return Sheet("Buckets", columns, tuple(rows), frozenset(columns[1:]))


_BUCKET_NAMES = {"warm": "warm: at least 1", "cold": "cold: none"}


def _bucket_plots(run: FinishedRun) -> list[Markup]:
    names = [name for name in POPULARITY if run.bucket(name)["n"]]
    if len(names) < 2:
        return []
    metric = run.headline
    values = [
        Interval(bucket["metrics"][metric], *bucket["intervals"].get(metric, NO_ENDS))
        for bucket in (run.bucket(name) for name in names)
    ]
    plot = plots.bars(names, {run.model: values}, y=metric, title="By train rows of the target")
    drawn = [figure(plot, description=f"{metric} by the number of train rows of the target")]
    return drawn + _frequency_plot(run)


def _frequency_plot(run: FinishedRun) -> list[Markup]:
    """Return the curve over how often training showed the target; runs of the first releases have none."""
    bins: Mapping[str, Any] = run.result.get("by_frequency", {})
    filled = {name: value for name, value in bins.items() if value["n"]}
    if len(filled) < 3:
        return []
    metric = run.selection
    values = [Interval(value[metric], *value["interval"]) for value in filled.values()]
    plot = plots.frequency_curve(list(filled), {run.model: values}, y=metric, title="By how often training showed it")
    return [figure(plot, description=f"{metric} by how often training showed the target, in bins of twice the width")]


def _examples(run: FinishedRun) -> tuple[list[Example], str]:
    """Return examples, or why there are none: a report never fails for data that have moved since the run."""
    config = build(RunConfig, run.config, source=str(run.path / "config.yaml"))
    try:
        dataset = Origin.read(run.path).open()
        return draw_examples(run, dataset, split_of(config, dataset)), ""
    except SensoriumError as error:
        return [], f"No examples: {error}"


# --- what the numbers rest on ---------------------------------------------------------------------------------------


def _facts(title: str, facts: Sequence[tuple[str, str]]) -> Sheet:
    return Sheet(title, ("", ""), tuple(facts), frozenset())


def _data(data: Mapping[str, Any]) -> Sheet:
    rows = data["rows"]
    split = ", ".join(f"{key}: {value}" for key, value in data["split"].items())
    return _facts(
        "Data",
        [
            ("data set", f"{data['name']} (fingerprint {data['fingerprint'][:12]})"),
            ("users, items", f"{data['users']:,}, {data['items']:,}"),
            ("rows", f"{rows['train']:,} train, {rows['valid']:,} valid, {rows['test']:,} test"),
            ("split", f"{split}, seed {data['split_seed']}"),
            ("uses other users' future", "yes" if data["uses_future"] else "no"),
        ],
    )


def _features(features: Mapping[str, Mapping[str, Any]]) -> Sheet:
    """Return where each feature that the model read comes from."""
    rows = tuple(
        (name, str(info["dim"]), f"{info['present']:,} of {info['items']:,}", describe_origin(info["provenance"]))
        for name, info in features.items()
    )
    return Sheet("Features", ("feature", "width", "items with content", "comes from"), rows, frozenset({"width"}))


def _left_out(run: FinishedRun) -> Sheet:
    """Return every count of what did not enter: rows by the split, users and targets by the test."""
    rows = [("split", _words(kind), f"{count:,}") for kind, count in run.data["left_out"].items()]
    rows += [("test", _words(kind), f"{count:,}") for kind, count in run.test["excluded"].items()]
    rows += [("test", _words(kind), f"{count:,}") for kind, count in run.test["counts"].items()]
    skipped = run.result["training"]["skipped_rows"]
    rows.append(("training", "rows of users who have every item", f"{skipped:,}"))
    return Sheet("Left out", ("where", "what", "count"), tuple(rows), frozenset({"count"}))


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _made(run: FinishedRun) -> Sheet:
    """Return the machine, the versions, and what the run took."""
    environment, timing, training = run.environment, run.timing, run.result["training"]
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items() if version)
    facts = [
        ("parameters", f"{training['parameters']:,}"),
        ("selected state", f"epoch {training['best_epoch']} of {training['epochs']} ({training['stopped']})"),
        ("training", readable_seconds(timing["train_seconds"])),
        ("validation", readable_seconds(timing["validation_seconds"])),
        ("test", f"{readable_seconds(timing['test_seconds'])}, {timing['test_users_per_second']:,.0f} users/s"),
        ("largest memory", readable_bytes(timing["peak_memory_bytes"])),
        ("machine", f"{environment['machine']}, threads: {environment['threads'] or 'all'}"),
        ("python", environment["python"]),
        ("packages", packages),
    ]
    return _facts("How it was made", facts)
