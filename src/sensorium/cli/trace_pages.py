"""`sensorium trace predict | report | export | uncertainty`: what a trained tracer says, and how far to trust it."""

from __future__ import annotations

from pathlib import Path

import typer

from sensorium.cli.output import say, show_table, warn
from sensorium.cli.trace import group

MODEL = typer.Argument(..., metavar="RUN-or-BUNDLE", help="a complete tracing run, or a bundle made by 'trace export'")
ANSWERS_HELP = "answers: columns student, question, response (1, 0 or empty), [concepts]; csv, tsv, jsonl or parquet"


def register(app: typer.Typer) -> None:
    """Add the commands to the group `trace`, which is in the application already."""
    group.command("predict")(predict)
    group.command("report")(report)
    group.command("export")(export)
    group.command("uncertainty")(uncertainty)


def predict(
    model: Path = MODEL,
    answers: Path = typer.Option(..., "--answers", metavar="FILE", help=ANSWERS_HELP),
    out: Path | None = typer.Option(None, "--out", metavar="FILE", help="a .csv or .parquet; default: print"),
) -> None:
    """Predict the open questions of a file from the answers above them.

    In Python: sensorium.tracing.pages.predicting.predict_open(bundle, log).
    """
    from sensorium.core.errors import ConfigError
    from sensorium.core.files import write_parquet, write_text
    from sensorium.tracing.pages.bundle import open_bundle
    from sensorium.tracing.pages.log import read_log
    from sensorium.tracing.pages.predicting import escaped, predict_open

    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"--out {out}: write to a .csv or a .parquet")
    bundle = open_bundle(model)
    log = read_log(answers, bundle)
    if log.unseen:
        warn(f"{log.unseen} questions are new to the model: they are known by their concepts alone")
    found = predict_open(bundle, log)
    if out is None:
        columns = ["student", "question", "answers before", "p", "epistemic variance", "entropy", "aleatory part"]
        rows = [
            [student, question, str(before), *("" if number is None else f"{number:.4f}" for number in numbers)]
            for student, question, _, before, *numbers, _ in found.iter_rows()
        ]
        show_table(columns, rows, numbers=columns[2:])
        return
    if out.suffix == ".parquet":
        write_parquet(out, found)
    else:
        write_text(out, escaped(found).write_csv())
    say(f"{found.height} predictions in {out}")


def report(
    model: Path = MODEL,
    student: str | None = typer.Option(None, "--student", metavar="ID", help="the learner of the page"),
    whole_class: bool = typer.Option(False, "--class", help="one page of the whole class instead of one learner"),
    concepts: list[str] = typer.Option(
        [],
        "--concept",
        metavar="ID",
        help="id or name of a concept that the learner's page shows; may be repeated; default: those practised most, "
        "and the weakest",
    ),
    answers: Path | None = typer.Option(
        None, "--answers", metavar="FILE", help=f"{ANSWERS_HELP}; default: the run's test students"
    ),
    beside: list[Path] = typer.Option(
        [],
        "--with",
        metavar="RUN",
        help="further runs on the same data, an ensemble that gives a band; may be repeated",
    ),
    out: Path | None = typer.Option(None, "--out", metavar="PAGE.html", help="default: learner-ID.html or class.html"),
    png: bool = typer.Option(True, "--png/--no-png", help="write the plot beside the page as a PNG too"),
    seed: int = typer.Option(0, "--seed", help="of the draws behind the bands"),
) -> None:
    """Write the page of a learner: mastery over time, surprising answers, what could come next; or of a class.

    In Python: sensorium.tracing.pages.learner.report_on and classroom.class_report.
    """
    from sensorium.core.errors import ConfigError
    from sensorium.tracing.pages.bundle import open_bundle
    from sensorium.tracing.pages.classroom import class_report, write_class_page
    from sensorium.tracing.pages.learner import report_on, write_learner_page
    from sensorium.tracing.pages.log import read_log
    from sensorium.tracing.pages.tested import log_of_tested

    if whole_class == (student is not None):
        raise ConfigError("say whose page: --student ID, or --class")
    if whole_class and beside:
        raise ConfigError("--with makes the band of one learner's page: a class page has none of an ensemble")
    if whole_class and concepts:
        raise ConfigError("--concept chooses what one learner's page shows: a class page shows what it practised most")
    bundle = open_bundle(model)
    log = log_of_tested(model) if answers is None else read_log(answers, bundle)
    if whole_class:
        files = write_class_page(out or Path("class.html"), class_report(bundle, log, seed=seed), bundle, png=png)
    else:
        assert student is not None
        members = [open_bundle(path).model for path in beside]
        found = report_on(bundle, log, student, concepts=concepts, members=members, seed=seed)
        safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in student)
        files = write_learner_page(out or Path(f"learner-{safe}.html"), found, bundle, png=png)
    say(
        f"{files[0]}: open it in any browser"
        + (f"; the plot alone: {', '.join(str(file) for file in files[1:])}" if png else "")
    )


def export(
    run: Path = typer.Argument(..., metavar="RUN", help="a complete tracing run"),
    out: Path = typer.Option(..., "--out", metavar="FOLDER", help="a folder that is not there yet"),
) -> None:
    """Make a bundle of a run: model, questions and concepts, and nobody's answers.

    In Python: sensorium.tracing.pages.bundle.write_bundle(from_run("runs/x"), "bundle").
    """
    from sensorium.tracing.pages.bundle import from_run, write_bundle

    say(f"{write_bundle(from_run(run), out)}: predict and report work with it")


def uncertainty(
    runs: list[str] = typer.Argument(..., metavar="RUN...", help="complete runs on the same test; NAME=RUN names one"),
    out: Path = typer.Option(..., "--out", metavar="FOLDER", help="for uncertainty.json and uncertainty.html"),
    ensemble: str | None = typer.Option(None, "--ensemble", metavar="A,B", help="names of runs that answer as one too"),
    passes: int = typer.Option(20, "--passes", help="passes with dropout; 0 leaves them out"),
    dropout: str | None = typer.Option(None, "--dropout", metavar="A,B", help="names of runs that make them; all can"),
    blocks: int = typer.Option(2000, "--blocks", help="frozen blocks of each size at most; 0 = all"),
    noise: bool = typer.Option(True, "--noise/--no-noise", help="predict from flipped histories too"),
    short: bool = typer.Option(True, "--short/--no-short", help="predict from short histories too"),
    seed: int = typer.Option(0, "--seed", help="of blocks, draws and masks"),
) -> None:
    """Measure what the doubt of runs is worth: calibration, deferring, joint prediction, noisy and short histories.

    In Python: sensorium.tracing.uncertainty.study.study({"ukt": "runs/x"}) and page.write_study.
    """
    from sensorium.cli.options import split_list
    from sensorium.tracing.uncertainty.page import write_study
    from sensorium.tracing.uncertainty.study import StudyConfig, study

    named = {}
    for run in runs:
        name, separator, path = run.partition("=")
        named[name if separator else Path(run).name] = path if separator else run
    dropped = split_list(dropout) or None
    config = StudyConfig(passes, dropped=dropped, blocks=blocks or None, noise=noise, short=short, seed=seed)
    found = study(named, ensemble=split_list(ensemble) or (), config=config)
    for file in write_study(out, found):
        say(str(file))
