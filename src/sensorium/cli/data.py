"""`sensorium data get | import | inspect | split | generate`: data sets in, and what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sensorium.cli.options import one_of, read_value, split_list
from sensorium.cli.output import say, show_table
from sensorium.core.errors import ConfigError

if TYPE_CHECKING:
    from sensorium.data.importing import ImportPlan

group = typer.Typer(help="Get, import, inspect, split and generate data sets.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="data")


@group.command("import")
def import_data(
    path: Path = typer.Argument(..., metavar="PATH", help="file or folder"),
    out: Path | None = typer.Option(None, "--out", metavar="FOLDER", help="default: the data home, under --name"),
    name: str | None = typer.Option(None, "--name", help="name of the data set; default: that of the file"),
    reader: str | None = typer.Option(None, "--reader", help="format (sensorium list readers); default: by the ending"),
    column: list[str] = typer.Option(
        [], "--column", metavar="ROLE=COLUMN", help="where the guess is wrong: user_id=customer; may be repeated"
    ),
    sep: str | None = typer.Option(None, "--sep", help="one character, or tab, comma, semicolon, space, pipe"),
    encoding: str | None = typer.Option(None, "--encoding", help="of the text, for example latin-1"),
    items: str | None = typer.Option(None, "--items", metavar="FILE", help="table of items with their content"),
    users: str | None = typer.Option(None, "--users", metavar="FILE", help="table of users with their attributes"),
    media: str | None = typer.Option(None, "--media", metavar="FOLDER", help="what media paths are relative to"),
    time_unit: str | None = typer.Option(None, "--time-unit", help="of numeric times: s, ms, us, ns or auto"),
    sensitive: str | None = typer.Option(None, "--sensitive", metavar="A,B", help="sensitive columns of the users"),
    strict: bool = typer.Option(False, "--strict", help="stop at a value that cannot be read"),
    min_rating: float | None = typer.Option(None, "--min-rating", help="rows rated lower are left out"),
    k_core: int | None = typer.Option(None, "--k-core", help="users and items with fewer rows are left out"),
    weights: Path | None = typer.Option(
        None, "--weights", metavar="FILE", help="how far each row counts, as sensorium noise --out writes it"
    ),
    licence: str | None = typer.Option(None, "--licence", help="terms of the data, in a few words"),
    settings: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="any other key: reader.variant=ml100k+"),
    overwrite: bool = typer.Option(False, "--overwrite", help="replace a data set that is there"),
    append: bool = typer.Option(False, "--append", help="add to a data set that is there: every id stays"),
    dry_run: bool = typer.Option(False, "--dry-run", help="show columns, first rows and counts; write nothing"),
) -> None:
    """Import a log of interactions, with tables of items and users where they exist.

    In Python: sensorium.data.importing.import_dataset("log.csv", "shop", ImportConfig()), and to add to a data set
    sensorium.data.appending.append_to_dataset("later.csv", "shop", ImportConfig()).
    """
    from sensorium.core.config import apply_overrides, build
    from sensorium.data.catalogue import datasets_home
    from sensorium.data.importing import ImportConfig, import_dataset, plan_import

    options = {
        "columns": _mapping(column) or None,
        "sep": sep,
        "encoding": encoding,
        "items": items,
        "users": users,
        "media": media,
        "time_unit": time_unit,
        "sensitive": split_list(sensitive),
        "strict": strict or None,
    }
    tree: dict[str, Any] = {"name": name, "min_rating": min_rating, "k_core": k_core, "licence": licence}
    tree["weights"] = None if weights is None else str(weights)
    tree["reader"] = _reader(reader, path, {key: value for key, value in options.items() if value is not None})
    given = {key: value for key, value in tree.items() if value is not None}
    config = build(ImportConfig, apply_overrides(given, settings), source="data import")
    if dry_run:
        _show_plan(plan_import(path, config))
        return
    if append and overwrite:
        raise ConfigError("--append and --overwrite exclude each other: add to the data set, or replace it")
    target = out if out is not None else datasets_home() / (name or path.name.split(".")[0])
    if append:
        _append(path, target, config)
        return
    dataset = import_dataset(path, target, config, overwrite=overwrite)
    counts = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in dataset.info.counts.items())
    say(f"{dataset.root}: {counts}")
    for notice in dataset.info.notices:
        say(f"note: {notice}")


def _append(path: Path, target: Path, config: Any) -> None:
    from sensorium.data.appending import append_to_dataset

    grown = append_to_dataset(path, target, config)
    counts = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in grown.counts.items())
    say(f"{grown.dataset.root}: {counts}")
    for notice in grown.notices:
        say(f"note: {notice}")


@group.command("get")
def get_data(
    name: str = typer.Argument(..., metavar="NAME", help="movielens-1m, amazon-2023-All_Beauty, microlens-50k, ..."),
    source: str | None = typer.Option(
        None, "--from", metavar="PATH", help="a file or folder fetched elsewhere, or the https address of a mirror"
    ),
    out: Path | None = typer.Option(None, "--out", metavar="FOLDER", help="default: NAME in the data home"),
    max_size: float = typer.Option(8.0, "--max-size", metavar="GB", help="the most that is fetched, and unpacked"),
    files_only: bool = typer.Option(False, "--files-only", help="fetch, check and unpack; import nothing"),
    overwrite: bool = typer.Option(False, "--overwrite", help="replace a data set that is there"),
) -> None:
    """Fetch a public data set from its publisher, check it, and import it.

    A download that was cut off goes on where it ended. In Python: sensorium.data.getting.get_dataset("movielens-1m").
    """
    from sensorium.data.getting import get_dataset

    if max_size <= 0:
        raise ConfigError(f"--max-size {max_size:g}: a number of GB above 0 is needed")
    got = get_dataset(
        name, source=source, out=out, import_it=not files_only, overwrite=overwrite, max_bytes=int(max_size * 1024**3)
    )
    for notice in got.notices:
        say(notice)
    if got.dataset is None:
        say(f"files: {got.folder}")
        return
    counts = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in got.dataset.info.counts.items())
    say(f"{got.dataset.root}: {counts}")
    for notice in got.dataset.info.notices:
        say(f"note: {notice}")


def _mapping(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        role, separator, column = pair.partition("=")
        if not (role and separator and column):
            raise ConfigError(f"--column {pair}: write ROLE=COLUMN, for example --column user_id=customer")
        found[role] = column
    return found


def _reader(name: str | None, path: Path, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the reader with its options; without either the import goes by the file's ending."""
    from sensorium.core import registry

    if name is None:
        if not options:
            return None
        name = path.suffix.removeprefix(".")
        if name not in registry.names("sensorium.readers"):
            raise ConfigError(f"{path}: name the format that these options are for: --reader (sensorium list readers)")
    return {"name": name, **options}


def _show_plan(plan: ImportPlan) -> None:
    say(f"reader: {plan.reader}; nothing is written")
    show_table(
        ["role", "column of the source"], list(plan.mapping.items()), title="taken for (change it with --column)"
    )
    show_table(["column", "type"], list(plan.columns.items()), title="interactions will have")
    if plan.items:
        show_table(["column", "type"], list(plan.items.items()), title="items will have")
    if plan.users:
        show_table(["column", "type"], list(plan.users.items()), title="users will have")
    rows = [["" if value is None else str(value) for value in row] for row in plan.head.iter_rows()]
    show_table(plan.head.columns, rows, title="first rows")
    show_table(["count", ""], [[kind, f"{count:,}"] for kind, count in plan.counts.items()], numbers=("",))
    for notice in plan.notices:
        say(f"note: {notice}")


@group.command("inspect")
def inspect_data(
    data: str = typer.Argument(..., metavar="DATASET", help="folder or name of a data set"),
    html: Path | None = typer.Option(None, "--html", metavar="FILE", help="write the page too, with plots and media"),
) -> None:
    """Show what is in a data set: counts, the long tail, times, content, what was set aside, what was planted.

    In Python: sensorium.data.inspecting.inspect(dataset), and for the page
    sensorium.data.inspecting_page.write_inspection(dataset, "page.html").
    """
    from sensorium.data.catalogue import open_dataset
    from sensorium.data.inspecting import inspect

    dataset = open_dataset(data)
    found = inspect(dataset)
    facts = [[kind.replace("_", " "), f"{count:,}"] for kind, count in found.counts.items()]
    facts += [
        ["density", f"{found.density:.4%}"],
        ["rows of the most popular tenth of the items", f"{found.head_share:.1%}"],
        ["repeated pairs", f"{found.repeated_pairs:,}"],
        ["licence", found.licence or "not stated"],
        *([f"rows before append {number}", f"{rows:,}"] for number, rows in enumerate(found.earlier, start=1)),
    ]
    if found.span is not None:
        facts += [["time", " to ".join(found.span)], ["rows that share user and time", f"{found.tied_share:.1%}"]]
    show_table([found.name, ""], facts)
    quantiles = [
        [f"{share:.0%}", str(found.rows_per_user[share]), str(found.rows_per_item[share])]
        for share in found.rows_per_user
    ]
    show_table(["quantile", "rows per user", "rows per item"], quantiles, numbers=("rows per user", "rows per item"))
    whole = {"items with": found.counts["items"]}
    for title, counts in (("items with", found.coverage), ("set aside", found.rejected), *found.sensitive.items()):
        if counts:
            total = max(whole.get(title, sum(counts.values())), 1)
            shares = [[kind, f"{count:,}", f"{count / total:.1%}"] for kind, count in counts.items()]
            show_table([title, "", "share"], shares, numbers=("", "share"))
    if found.features:
        made = [[name, str(dim), made_by] for name, (dim, _, made_by) in found.features.items()]
        show_table(["features", "width", "made by"], made, numbers=("width",))
    if found.planted is not None:
        show_table(["planted", ""], [[key, str(value)] for key, value in found.planted.items()])
    sample = [[row["item_id"], row["title"], str(row["rows"])] for row in found.sample.iter_rows(named=True)]
    show_table(["item", "title", "rows"], sample, numbers=("rows",), title="items, from popular to rare")
    for notice in found.notices:
        say(f"note: {notice}")
    if html is not None:
        from sensorium.data.inspecting_page import write_inspection

        say(f"page: {write_inspection(dataset, html, found)}")


@group.command("split")
def split_data(
    data: str = typer.Argument(..., metavar="DATASET", help="folder or name of a data set"),
    split: str = typer.Option(..., "--split", metavar="SPLIT", help="its name, or '{name: cold_items, ratio: 0.1}'"),
    seed: int = typer.Option(0, "--seed", help="seed of every random draw"),
    min_rating: float | None = typer.Option(None, "--min-rating", help="rows rated lower are no positives"),
) -> None:
    """Make a split and keep it with the data set; a run with the same split reads it.

    In Python: sensorium.data.splits.make_split(dataset, "leave_last_out", seed=0).
    """
    import numpy as np

    from sensorium.data.catalogue import open_dataset
    from sensorium.data.splits import TEST, TRAIN, VALID, make_split

    made = make_split(open_dataset(data), read_value(split), seed=seed, min_rating=min_rating)
    rows = []
    for name, label in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        part = made.part(label)
        rows.append([name, f"{len(part.row):,}", f"{len(np.unique(part.user)):,}", f"{len(np.unique(part.item)):,}"])
    show_table(
        ["part", "rows", "users", "items"], rows, numbers=("rows", "users", "items"), title=f"{made.name}, seed {seed}"
    )
    for notice in made.notices:
        say(f"note: {notice}")


@group.command("generate")
def generate_data(
    what: str = typer.Argument("demo", metavar="WHAT", help="demo: a shop with a planted truth"),
    out: Path | None = typer.Option(None, "--out", metavar="FOLDER", help="default: by its name in the data home"),
    users: int | None = typer.Option(None, "--users", help="number of users"),
    items: int | None = typer.Option(None, "--items", help="number of items"),
    seed: int | None = typer.Option(None, "--seed", help="the same seed gives the same bytes"),
    noise: float | None = typer.Option(None, "--noise", help="share of planted rows that ignore taste"),
    modalities: str | None = typer.Option(
        None, "--modalities", metavar="LIST", help="of text,image,audio,video; default: text,image"
    ),
    domain: str | None = typer.Option(
        None, "--domain", metavar="WORD", help="another catalogue with the same laws and no item in common"
    ),
    broken: str | None = typer.Option(None, "--break", metavar="SHARE", help="damage a share of the media, as in 1%"),
    settings: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="any other key of the demo's world"),
    overwrite: bool = typer.Option(False, "--overwrite", help="replace a data set that is there"),
) -> None:
    """Generate a data set: texts, covers, sounds, clips and interactions, with the truth kept beside them.

    With sounds or clips it is called demo-media, and other rows are drawn; a domain's name follows as in demo-twin.

    In Python: sensorium.data.demo.generate_demo("shop", items=200, users=300, seed=1).
    """
    from sensorium.core.config import apply_overrides, build
    from sensorium.data.catalogue import datasets_home
    from sensorium.data.demo import DemoConfig, generate_demo

    one_of("data generate", what, ("demo",))
    given = {
        "users": users,
        "items": items,
        "seed": seed,
        "noise": noise,
        "modalities": modalities.split(",") if modalities is not None else None,
        "domain": domain,
        "broken": broken,
    }
    tree = {key: value for key, value in given.items() if value is not None}
    config = build(DemoConfig, apply_overrides(tree, settings), source="data generate")
    dataset = generate_demo(out or datasets_home() / config.name, config, overwrite=overwrite)
    say(f"{dataset.root}: {dataset.n_users:,} users, {dataset.n_items:,} items, {dataset.n_interactions:,} rows")
