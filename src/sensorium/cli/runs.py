"""`sensorium run, resume, compare, report, experiment, audit`: from a configuration to a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sensorium.cli.options import one_of
from sensorium.cli.output import say, show_table, warn
from sensorium.core.processes import speaks

if TYPE_CHECKING:
    from sensorium.experiments.run import Run

FORMATS = ("terminal", "markdown", "csv")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for name, command in (
        ("run", run),
        ("resume", resume),
        ("compare", compare),
        ("report", report),
        ("experiment", experiment),
        ("audit", audit),
        ("transfer", transfer),
    ):
        app.command(name)(command)


def run(
    config: Path = typer.Argument(..., metavar="CONFIG", help="YAML file"),
    settings: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="override one key; may be repeated"),
    out: Path | None = typer.Option(None, "--out", metavar="FOLDER", help="the run's folder; default: below runs/"),
) -> None:
    """Train and test what a configuration asks for.

    In Python: sensorium.experiments.run.run("config.yaml", overrides=["model.dim=128"]).
    """
    from sensorium.experiments.run import run as start

    _show_run(start(config, overrides=settings, out=out))


def resume(path: Path = typer.Argument(..., metavar="RUN", help="folder of a run")) -> None:
    """Continue a run that was interrupted.

    It comes to the numbers that it would have had.

    In Python: sensorium.experiments.run.resume("runs/x").
    """
    from sensorium.experiments.run import resume as go_on

    _show_run(go_on(path))


def _show_run(done: Run) -> None:
    if not speaks():  # one of several processes, and not the first
        return
    test = done.result["test"]
    rows = [[name, f"{value:.4f}" if value is not None else "–"] for name, value in test["metrics"].items()]
    selection = done.result["selection"]
    show_table(["test", ""], rows, numbers=("",), title=f"{done.result['model']} on {done.result['data']['name']}")
    say(f"tested: epoch {selection['epoch']}, selected by {selection['name']} = {selection['value']:.4f} on validation")
    if done.result["data"]["uses_future"]:
        say("this split uses other users' future: its numbers are no forecast of a live system's")
    say(f"run: {done.path}")
    say(f"report: {done.report}")


def compare(
    runs: list[Path] = typer.Argument(..., metavar="RUN...", help="folders of runs"),
    style: str = typer.Option("terminal", "--format", help="terminal, markdown or csv"),
    html: Path | None = typer.Option(None, "--html", metavar="FILE", help="also write a page with plots"),
    baseline: str | None = typer.Option(
        None, "--baseline", help="row that the others are compared with; default: the best"
    ),
    metric: list[str] = typer.Option([], "--metric", "-m", help="columns of the table, as in ndcg@10; may be repeated"),
) -> None:
    """Rank runs, with intervals and paired tests.

    In Python: sensorium.experiments.compare.compare(["runs/a", "runs/b"]).
    """
    from sensorium.experiments import tables
    from sensorium.experiments.compare import compare as beside_each_other

    one_of("--format", style, FORMATS)
    if any(_is_trace(path) for path in runs):
        from sensorium.tracing.compare import compare_traces

        for line in compare_traces(runs, baseline=baseline).lines():
            say(line)
        return
    comparison = beside_each_other(runs, baseline=baseline)
    tables.require_metrics(comparison, metric)
    if html is not None:
        from sensorium.experiments.compare_page import write_comparison

        warn(f"page: {write_comparison(comparison, html)}")
    if style == "markdown":
        say(tables.markdown(comparison, metric or None).rstrip())
    elif style == "csv":
        say(tables.to_csv(comparison).rstrip())
    else:
        for notice in comparison.notices:
            say(f"note: {notice}")
        for table in comparison.tables:
            for sheet in (tables.ranking_sheet(table, metric or None), tables.difference_sheet(table)):
                if sheet is not None:
                    show_table(sheet.columns, sheet.rows, numbers=sheet.numbers, title=sheet.title)
                    say()
            for note in table.notes:
                say(f"note: {note}")


def _is_trace(path: Path) -> bool:
    from sensorium.core.rundir import RunDirectory

    return RunDirectory.open(path).kind == "trace"


def report(path: Path = typer.Argument(..., metavar="RUN", help="folder of a complete run")) -> None:
    """Write report.html of one run.

    In Python: sensorium.experiments.report.write_report("runs/x").
    """
    if _is_trace(path):
        from sensorium.tracing.report import write_report as write_trace

        say(str(write_trace(path)))
        return
    from sensorium.experiments.report import write_report

    say(str(write_report(path)))


def experiment(
    file: Path = typer.Argument(..., metavar="FILE", help="YAML file: a topic, a base, cells"),
    processes: int = typer.Option(2, "--processes", help="cells that are run side by side"),
    threads: int = typer.Option(1, "--threads", help="threads of each"),
    table: bool = typer.Option(False, "--table", help="only print the table of the rows that are there, as Markdown"),
) -> None:
    """Run the missing cells of an experiment.

    One row per finished cell is kept below docs/results/rows.

    In Python: sensorium.experiments.cells.run_experiment("experiment.yaml"), and
    sensorium.experiments.rows_table.rows_table(topic).
    """
    from sensorium.experiments.cells import run_experiment

    if table:
        from sensorium.experiments.plan import read_plan
        from sensorium.experiments.rows_table import rows_table

        say(rows_table(read_plan(file).topic))
        return
    result = run_experiment(file, processes=processes, threads=threads)
    for line in result.summary():
        say(line)
    if not result.passed:
        raise typer.Exit(1)


def transfer(
    source: Path = typer.Argument(..., metavar="RUN", help="folder of a run whose model knows content alone"),
    config: Path = typer.Argument(..., metavar="TARGET", help="YAML file of a run on the data it is carried to"),
    out: Path = typer.Option(..., "--out", metavar="FOLDER", help="where the outcome goes"),
    beside: list[Path] = typer.Option(
        [], "--beside", metavar="FOLDER", help="transfers that stand on the same page; may be repeated"
    ),
    same_features: bool = typer.Option(
        False, "--same-features", help="take my word that both sides' features are by one encoder"
    ),
) -> None:
    """Carry a model of content to other data.

    From scratch, zero-shot, and fine-tuned on 1 %, 10 % and all of the target's users.

    In Python: sensorium.experiments.transfer.transfer("runs/x", "target.yaml", out="runs/x-to-y").
    """
    from sensorium.experiments.transfer import transfer as carry
    from sensorium.experiments.transfer import write_transfer_page

    result = carry(source, config, out=out, same_features=same_features)
    metric = result["metric"]
    rows = [
        [variant["name"], str(variant["users"]), str(variant["epochs"]), f"{variant['test'][metric]:.4f}"]
        for variant in result["variants"]
    ]
    title = f"{result['model']}: {result['source']} to {result['target']}"
    show_table(["variant", "users", "epochs", metric], rows, numbers=("users", "epochs", metric), title=title)
    if beside:
        write_transfer_page([out, *beside], out / "report.html")
    say(f"report: {out / 'report.html'}")


def audit(
    config: Path = typer.Argument(..., metavar="CONFIG", help="YAML file of a run"),
    settings: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="override one key; may be repeated"),
) -> None:
    """Ask whether a protocol leaks.

    Permuted items, uniform items, other test rows; the status is 1 when a check fails.

    In Python: sensorium.experiments.audit.audit("config.yaml").
    """
    from sensorium.experiments.audit import audit as ask

    result = ask(config, overrides=settings)
    say(f"{result.model} on {result.dataset}")
    for line in result.lines():
        say(line)
    if not result.passed:
        raise typer.Exit(1)
