"""`sensorium recommend RUN` and `sensorium evaluate LISTS`: answers by external ids, any system's lists measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sensorium.cli.options import one_of, read_value, split_list
from sensorium.cli.output import say, show_table, warn
from sensorium.core.errors import ConfigError

if TYPE_CHECKING:
    from sensorium.serving.recommend import Answer


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("recommend")(recommend)
    app.command("evaluate")(evaluate)
    app.command("fold-in")(fold_in)
    items = typer.Typer(help="Items that came after training.", rich_markup_mode=None)
    items.callback()(_items)
    items.command("add")(add_items)
    app.add_typer(items, name="items")


def _items() -> None:
    """Bring items to a run that came after its training."""


def add_items(
    run: Path = typer.Argument(..., metavar="RUN", help="folder of a run whose model reads what items are"),
    file: Path = typer.Argument(..., metavar="FILE.csv", help="item_id, title, description, image, ..."),
) -> None:
    """Encode new items and let them compete, without training.

    In Python: sensorium.serving.items.add_items("runs/x", "new.csv").
    """
    from sensorium.serving.items import add_items as add

    done = add(run, file)
    for notice in done.notices:
        warn(f"note: {notice}")
    content = ", ".join(f"{count:,} with {name}" for name, count in done.with_content.items())
    known = f"; {done.known:,} were known" if done.known else ""
    say(f"{done.folder}: {done.added:,} items added{known}; {done.total:,} in all, {content}")


def fold_in(
    run: Path = typer.Argument(..., metavar="RUN", help="folder of a run of a model that user ids ask"),
    users: int = typer.Option(100, "--users", help="how many users are left out of a second training"),
    k: int = typer.Option(20, "-k", help="length of the lists that are compared"),
    seed: int = typer.Option(0, "--seed", help="of the choice of users"),
) -> None:
    """Measure how well people are answered whom a model was not trained with.

    A second model is trained without some users, who are then folded in from their items.

    In Python: sensorium.serving.folding.compare_with_twin("runs/x", users=100).
    """
    from sensorium.serving.folding import compare_with_twin

    for line in compare_with_twin(run, users=users, k=k, seed=seed).lines():
        say(line)


def recommend(
    run: Path = typer.Argument(..., metavar="RUN", help="folder of a run"),
    user: list[str] = typer.Option(
        [], "--user", "-u", metavar="ID", help="whom to answer, by external id; may be repeated"
    ),
    history: str = typer.Option(
        "", "--history", metavar="A,B,C", help="answer whoever has met these items, oldest first"
    ),
    everybody: bool = typer.Option(False, "--all", help="answer every user of the data set, into --out"),
    k: int = typer.Option(10, "-k", help="how many items"),
    only: Path | None = typer.Option(None, "--only", metavar="FILE", help="recommend only these items: one id a line"),
    exclude: Path | None = typer.Option(None, "--exclude", metavar="FILE", help="never recommend these: one id a line"),
    as_evaluated: bool = typer.Option(
        False, "--as-evaluated", help="hide what the test hid, not everything that the user has interacted with"
    ),
    out: Path | None = typer.Option(
        None, "--out", metavar="FILE.parquet", help="where --all writes; a killed call goes on"
    ),
) -> None:
    """Recommend to users, to a history, to everybody.

    In Python: sensorium.serving.recommend.recommend(run, user="4711", k=10), and
    sensorium.serving.export.recommend_all(run, "lists.parquet", k=10).
    """
    if sum([bool(user), bool(history), everybody]) != 1:
        raise ConfigError(
            "recommend for whom? Give one of: --user ID (may be repeated), --history A,B,C, or --all --out FILE"
        )
    if everybody != (out is not None):
        raise ConfigError("--all writes a file and --out names it: give both or neither")
    if out is not None:
        from sensorium.serving.export import recommend_all

        written = recommend_all(run, out, k=k, only=only, exclude=exclude, as_evaluated=as_evaluated)
        for notice in written.notices:
            warn(f"note: {notice}")
        again = f", {written.reused:,} of them from an interrupted call" if written.reused else ""
        empty = f"; {written.empty:,} users have nothing left to recommend" if written.empty else ""
        made = f"{written.rows:,} rows for {written.users:,} users in {written.seconds:.1f} s"
        say(f"{written.path}: {made}{again}{empty}")
        return
    from sensorium.serving.recommend import recommend as ask

    met = split_list(history)
    found = ask(run, users=user or None, history=met, k=k, only=only, exclude=exclude, as_evaluated=as_evaluated)
    for notice in found.notices:
        warn(f"note: {notice}")
    for place, answer in enumerate(found.answers):
        if place:
            say()
        _show(answer)


def _show(answer: Answer) -> None:
    whom = f"user {answer.user_id}" if answer.user_id is not None else f"history {', '.join(answer.history or ())}"
    note = f" ({answer.note})" if answer.note and answer.items else ""
    if not answer.items:
        say(f"{whom}: {answer.note}")
        return
    rows = [[str(item.rank), item.item_id, item.title, f"{item.score:.6g}"] for item in answer.items]
    show_table(["rank", "item", "title", "score"], rows, numbers=("rank", "score"), title=f"{whom}{note}")


def evaluate(
    lists: Path = typer.Argument(
        ..., metavar="LISTS", help="Parquet, CSV, TSV or JSONL: user_id, item_id, rank or score"
    ),
    run: Path | None = typer.Option(
        None, "--run", metavar="RUN", help="the run whose lists they are: it says all that is not said here"
    ),
    data: str | None = typer.Option(None, "--data", metavar="DATASET", help="whose ids the lists use"),
    split: str | None = typer.Option(
        None, "--split", metavar="SPLIT", help="its name, or '{name: cold_items, ratio: 0.1}'"
    ),
    seed: int | None = typer.Option(None, "--seed", help="seed of the split; else 0"),
    part: str = typer.Option("test", "--part", help="test or valid"),
    k: list[int] = typer.Option([], "-k", help="list length; may be repeated; else 5, 10, 20, 50"),
    metric: list[str] = typer.Option([], "--metric", "-m", help="may be repeated; else recall, ndcg"),
    mask: str | None = typer.Option(
        None, "--mask", help="train or train+valid: what the lists may leave out; else train"
    ),
    history: str | None = typer.Option(
        None, "--history", help="of lists that histories asked for: full or window, what of them is masked"
    ),
    repeat_policy: str | None = typer.Option(
        None, "--repeat-policy", help="drop, mask or free: targets that the history holds already; else drop"
    ),
    repeats: str | None = typer.Option(
        None, "--repeats", help="first or all: which rows count of a pair that stands again; else all with --history"
    ),
    tie_seed: int | None = typer.Option(None, "--tie-seed", help="seed of the order of equal scores; else 0"),
    min_rating: float | None = typer.Option(None, "--min-rating", help="rows rated lower are no positives"),
) -> None:
    """Measure any system's lists on a split.

    Of a run's own lists.parquet it gives the run's own numbers; other lists need --data and --split, or --run.

    In Python: sensorium.experiments.evaluating.evaluate("lists.parquet", "lfm2k", "column", ks=[20]).
    """
    from sensorium.evaluation.bootstrap import mean_intervals
    from sensorium.experiments.evaluating import evaluate as measure

    result = measure(
        lists,
        data,
        None if split is None else read_value(split),
        run=run,
        ks=k or None,
        metrics=metric or None,
        part=one_of("--part", part, ("test", "valid")),  # type: ignore[arg-type]
        mask=_one_if_said("--mask", mask, ("train", "train+valid")),  # type: ignore[arg-type]
        history=_one_if_said("--history", history, ("full", "window")),  # type: ignore[arg-type]
        repeat_policy=_one_if_said("--repeat-policy", repeat_policy, ("drop", "mask", "free")),  # type: ignore[arg-type]
        repeats=_one_if_said("--repeats", repeats, ("first", "all")),  # type: ignore[arg-type]
        split_seed=seed,
        min_rating=min_rating,
        tie_seed=tie_seed,
    )
    bounds = mean_intervals(result.per_query, owner=result.owner)
    rows = [
        [name, f"{value:.6f}", f"[{bounds[name].low:.4f}, {bounds[name].high:.4f}]" if name in bounds else ""]
        for name, value in result.summary.items()
    ]
    whom = "users" if result.owner is None else "targets in turn"
    show_table(
        ["metric", "mean", "95 % interval"], rows, numbers=("mean",), title=f"{lists}: {result.n:,} {part} {whom}"
    )
    for kind, count in {**result.excluded, **result.counts}.items():
        if count:
            say(f"{kind.replace('_', ' ')}: {count:,}")


def _one_if_said(option: str, value: str | None, known: Sequence[str]) -> str | None:
    return None if value is None else one_of(option, value, known)
