"""`sensorium trace import | run | audit | compare`: knowledge tracing from a log of answers to a table."""

from __future__ import annotations

from pathlib import Path

import typer

from sensorium.cli.options import read_value
from sensorium.cli.output import say, show_table, warn

group = typer.Typer(help="Trace what learners know: import, run, audit, compare.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="trace")


@group.command("import")
def import_trace(
    reader: str = typer.Argument(..., metavar="READER", help="the format: a name, or {name: ..., option: ...}"),
    path: Path = typer.Argument(..., metavar="PATH", help="file or folder of the log"),
    name: str = typer.Argument(..., metavar="NAME", help="a name below the data home, or a folder"),
    min_responses: int = typer.Option(3, "--min-responses", help="students with fewer answers are set aside"),
    pseudonymise: bool = typer.Option(False, "--pseudonymise", help="replace students' ids by a keyed hash"),
    overwrite: bool = typer.Option(False, "--overwrite", help="replace a data set that is there"),
) -> None:
    """Make a tracing data set of a log of answers.

    In Python: sensorium.tracing.data.importing.import_tracing(path, out, TracingImportConfig(reader=...)).
    """
    from sensorium.core.config import build
    from sensorium.data.catalogue import datasets_home
    from sensorium.tracing.data.importing import TracingImportConfig, import_tracing

    tree = {"reader": read_value(reader), "min_responses": min_responses, "pseudonymise": pseudonymise}
    config = build(TracingImportConfig, tree, source="the command line")
    out = Path(name) if "/" in name else datasets_home() / name
    data = import_tracing(path, out, config, overwrite=overwrite)
    rows = [[what.replace("_", " "), f"{count:,}"] for what, count in data.info.counts.items()]
    show_table(["what", "count"], rows, numbers=("count",), title=f"{data.name}: {data.info.response_rule}")
    for notice in data.info.notices:
        warn(f"note: {notice}")
    say(f"data set: {data.root}")


@group.command("run")
def run_trace(
    config: Path = typer.Argument(..., metavar="CONFIG", help="YAML file with kind: trace"),
    settings: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="override one key; may be repeated"),
    protocol: str | None = typer.Option(
        None, "--protocol", help="question, or pykt-expanded: leaky, to compare with the literature alone"
    ),
    out: Path | None = typer.Option(None, "--out", metavar="FOLDER", help="the run's folder; default: below runs/"),
) -> None:
    """Train a tracer, and predict every answer of the test students once.

    In Python: sensorium.experiments.run.run("trace.yaml").
    """
    from sensorium.experiments.run import run as start

    given = [*settings, *([f"protocol={protocol}"] if protocol is not None else [])]
    done = start(config, overrides=given, out=out)
    result = done.result
    readings = result.get("readings") or {"test": result["test"]}
    rows = []
    for name, part in readings.items():
        metrics = part["metrics"]
        low, high = part["intervals"]["auc"]
        label = name.replace("_", " ") + (" (leaky)" if name == "kc_one_by_one" else "")
        numbers = [f"{metrics[key]:.4f}" for key in ("auc", "acc", "nll", "ece")]
        rows.append([label, f"{part['n']:,}", numbers[0], f"{low:.4f}–{high:.4f}", *numbers[1:]])
    columns = ["", "rows", "AUC", "95 % over students", "ACC", "NLL", "ECE"]
    show_table(columns, rows, numbers=columns[1:], title=f"{result['model']} on {result['data']['name']}")
    for notice in result["notices"]:
        warn(f"note: {notice}")
    selection = result["selection"]
    say(f"tested: epoch {selection['epoch']}, selected by {selection['name']} = {selection['value']:.4f} on validation")
    say(f"run: {done.path}")
    say(f"report: {done.report}")


@group.command("audit")
def audit_trace(
    config: Path = typer.Argument(..., metavar="CONFIG", help="YAML file with kind: trace"),
    settings: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="override one key; may be repeated"),
) -> None:
    """Ask whether a protocol leaks.

    Random labels, planted copies, flipped answers, padding, split; the status is 1 when a check fails.

    In Python: sensorium.tracing.audit.audit("trace.yaml").
    """
    from sensorium.tracing.audit import audit

    result = audit(config, overrides=settings)
    say(f"{result.model} on {result.dataset}, protocol {result.protocol}")
    for line in result.lines():
        say(line)
    if not result.passed:
        raise typer.Exit(1)


@group.command("compare")
def compare_trace(
    runs: list[Path] = typer.Argument(..., metavar="RUN...", help="folders of complete tracing runs"),
    baseline: str | None = typer.Option(None, "--baseline", help="row to compare the others with; default: the best"),
    out: Path | None = typer.Option(None, "--out", metavar="FILE", help="also keep the rows as JSON lines"),
) -> None:
    """Rank tracing runs, with intervals over students and paired differences.

    In Python: sensorium.tracing.compare.compare_traces(["runs/a", "runs/b"]).
    """
    from sensorium.core.files import json_line, write_text
    from sensorium.tracing.compare import compare_traces

    found = compare_traces(runs, baseline=baseline)
    for line in found.lines():
        say(line)
    if out is not None:
        write_text(out, "".join(json_line(record) + "\n" for record in found.records()))
