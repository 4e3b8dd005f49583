"""`sensorium judge run | resume | report | agree | calibrate`: generated video, judged as people would."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sensorium.cli.output import say, show_table, warn

if TYPE_CHECKING:
    from sensorium.experiments.run import Run

group = typer.Typer(help="Judge generated video: run, resume, report, agree, calibrate.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="judge")


@group.command("run")
def run_judge(
    config: Path = typer.Argument(..., metavar="CONFIG", help="YAML file with kind: judge"),
    settings: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="override one key; may be repeated"),
    out: Path | None = typer.Option(None, "--out", metavar="FOLDER", help="the run's folder; default: below runs/"),
    dry_run: bool = typer.Option(False, "--dry-run", help="state calls, tokens and cost; ask nothing, write nothing"),
    max_cost: float | None = typer.Option(None, "--max-cost", help="stop before the run costs more"),
    strict: bool = typer.Option(False, "--strict", help="stop when a file matches no prompt, or a cell has no video"),
    allow_missing: bool = typer.Option(False, "--allow-missing", help="rank although missing scores leave orders open"),
) -> None:
    """Judge the videos that a configuration names.

    In Python: sensorium.experiments.run.run("judge.yaml").
    """
    from sensorium.experiments.run import run as start

    given = [*settings]
    given += [f"max_cost={max_cost}"] if max_cost is not None else []
    given += ["videos.strict=true"] if strict else []
    given += ["board.allow_missing=true"] if allow_missing else []
    if dry_run:
        _show_plan(config, given)
        return
    _show_run(start(config, overrides=given, out=out))


def _show_plan(config: Path, settings: list[str]) -> None:
    from sensorium.judging.job import planned
    from sensorium.judging.plan import total

    rows = planned(config, settings)
    cells = [
        [
            row.dimension,
            f"{row.cells:,}",
            f"{row.calls:,}",
            f"{row.pictures:,}",
            f"{row.prompt_tokens:,}",
            f"{row.completion_tokens:,}",
            f"{row.cost:.2f}",
            f"{row.unreadable:,}",
        ]
        for row in [*rows, total(rows)]
    ]
    numbers = ["cells", "calls", "pictures", "tokens read", "written", "cost", "unreadable videos"]
    show_table(["dimension", *numbers], cells, numbers=numbers, title="What the run would take (estimates)")
    say("tokens of texts that do not exist yet, and of pictures, are estimated; re-asked answers come on top")


@group.command("resume")
def resume_judge(
    path: Path = typer.Argument(..., metavar="RUN", help="folder of a run"),
    max_cost: float | None = typer.Option(None, "--max-cost", help="a new limit, for a run that stopped at one"),
    retry_errors: bool = typer.Option(False, "--retry-errors", help="judge again what failed in a complete run"),
) -> None:
    """Continue a run that was interrupted, or that stopped at a limit.

    In Python: sensorium.experiments.run.resume("runs/x").
    """
    from sensorium.experiments.run import resume as go_on
    from sensorium.judging.job import forget_errors, raise_budget

    if max_cost is not None:
        raise_budget(path, max_cost)
    if retry_errors:
        say(f"failed judgements that are made again: {forget_errors(path)}")
    _show_run(go_on(path))


def _show_run(done: Run) -> None:
    result = done.result
    usage = result["usage"]
    rows = []
    for name, entry in result["dimensions"].items():
        for model, row in entry["models"].items():
            interval = "" if row["interval"] is None else "{:.3f}–{:.3f}".format(*row["interval"])
            nulls = f"{row['nulls']} of {row['cells']}"
            rank = "undetermined" if row["rank"] is None else f"{row['rank']:g}"
            rows.append([name, model, "–" if row["mean"] is None else f"{row['mean']:.3f}", interval, nulls, rank])
    columns = ["dimension", "model", "mean", "95 %", "no score", "rank"]
    show_table(columns, rows, numbers=("mean",), title=result["label"])
    for name in result["incomplete"]:
        warn(f"note: {name} is incomplete: more than 2 % of its cells have no score")
    for name in result["unsupported"]:
        warn(f"note: {name} is not supported by this judge, and stands in no mean")
    for gap in result["gaps"]:
        warn(f"note: {gap}")
    if usage["calls"]:
        read, written = usage["prompt_tokens"], usage["completion_tokens"]
        say(f"answers: {usage['calls']:,}; tokens: {read:,} read, {written:,} written; cost: {usage['cost']:.4f}")
    say(f"run: {done.path}")
    say(f"report: {done.report}")


@group.command("report")
def report_judge(
    path: Path = typer.Argument(..., metavar="RUN", help="folder of a complete run"),
    released_layout: Path | None = typer.Option(
        None, "--released-layout", metavar="FOLDER", help="also write results_<dimension>_score_results.json there"
    ),
) -> None:
    """Write report.html of one run again.

    In Python: sensorium.judging.report.write_report("runs/x").
    """
    from sensorium.core.rundir import RunDirectory
    from sensorium.judging.leaderboard import write_released_layout
    from sensorium.judging.records import RECORDS, read_records
    from sensorium.judging.report import write_report

    if released_layout is not None:
        run = RunDirectory.open(path)
        for written in write_released_layout(released_layout, read_records(run.path / RECORDS), run.result or {}):
            say(str(written))
    say(str(write_report(path)))


@group.command("agree")
def agree_judge(
    path: Path = typer.Argument(..., metavar="RUN", help="folder of a complete run"),
    ratings: Path = typer.Option(
        ..., "--ratings", metavar="PATH", help="table of ratings, an annotation file, or a folder of those"
    ),
    dimension: list[str] = typer.Option([], "--dimension", help="which; default: all that have ratings"),
    column: str | None = typer.Option(None, "--column", help="of a table: the question that was rated"),
) -> None:
    """Compare a run's scores with people's ratings of the same videos.

    In Python: sensorium.judging.agreement.agree("runs/x", "ratings.tsv").
    """
    from sensorium.judging.agreement import agree

    found: dict[str, Any] = agree(path, ratings, dimensions=dimension or None, column=column)

    def shown(triple: list[Any]) -> str:
        return "–" if triple[0] is None else "{:.3f} ({:.3f}–{:.3f})".format(*triple)

    rows = [
        [
            name,
            f"{tree['items']:,}",
            shown(tree["rho"]["pooled"]),
            shown(tree["rho"]["within_model"]),
            shown(tree["tau"]["pooled"]),
            shown(tree["preference"]),
            f"{tree['ceiling']['rho']:.3f}",
        ]
        for name, tree in found.items()
    ]
    columns = ["dimension", "videos", "rho", "rho within models", "tau-b", "preference", "people's rho"]
    show_table(columns, rows, numbers=("videos",), title="Agreement with people, 95 % by prompt")


@group.command("calibrate")
def calibrate_judge(
    ratings: Path = typer.Option(..., "--ratings", metavar="FILE", help="table of ratings"),
    videos: Path = typer.Option(..., "--videos", metavar="FILE", help="table of the rated videos"),
    out: Path = typer.Option(..., "--out", metavar="FILE", help="JSON file of weights to write"),
) -> None:
    """Fit the metric judge to people's ratings.

    In Python: sensorium.judging.metric.calibration.calibrate(ratings, videos, out).
    """
    from sensorium.judging.metric.calibration import calibrate

    for line in calibrate(ratings, videos, out).summary():
        say(line)
