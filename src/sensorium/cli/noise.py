"""`sensorium noise RUN`: the interactions that look unlike their users, in words, as a table and as a page."""

from __future__ import annotations

from pathlib import Path

import typer

from sensorium.cli.options import split_list
from sensorium.cli.output import say, show_table


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("noise")(noise)


def noise(
    source: str = typer.Argument(..., metavar="RUN|DATASET", help="folder of a run, or a data set by folder or name"),
    top: int = typer.Option(20, "--top", min=1, help="how many rows are shown, most suspicious first"),
    out: Path | None = typer.Option(
        None, "--out", metavar="FILE.parquet", help="every row with its weight, for data import --weights"
    ),
    page: Path | None = typer.Option(None, "--page", metavar="FILE.html", help="default: noise.html in a run's folder"),
    features: str | None = typer.Option(None, "--features", metavar="A,B", help="modalities that are read"),
) -> None:
    """Weigh interactions by how far they are meant.

    In Python: sensorium.experiments.noise.find_noise("runs/mine").
    """
    from sensorium.experiments.noise import PLANTED, find_noise, write_weights
    from sensorium.experiments.noise_page import write_noise_page

    report = find_noise(source, split_list(features))
    show_table(["", ""], [list(fact) for fact in report.facts()])
    rows = report.rows.head(top).to_dicts()
    columns = ["user", "item", "weight", "evidence", *(["planted"] if report.planted is not None else [])]
    cells = [
        [
            row["user_id"],
            row["title"],
            f"{row['weight']:.3f}",
            report.sentence(row),
            *(["yes" if row[PLANTED] else "no"] if report.planted is not None else []),
        ]
        for row in rows
    ]
    show_table(columns, cells, numbers=("weight",), title="most suspicious first")
    if out is not None:
        write_weights(report, out)
        say(f"{out}: {report.rows.height:,} rows with their weights")
    if page is None and (Path(source) / "config.yaml").exists():
        page = Path(source) / "noise.html"
    if page is not None:
        say(f"page: {write_noise_page(report, page, top=top)}")
