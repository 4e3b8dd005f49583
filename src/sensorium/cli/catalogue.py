"""`sensorium list WHAT` and `sensorium config show MODEL`: what is registered, and every key that it knows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer

from sensorium.cli.output import Rows, say, show_table
from sensorium.core import registry
from sensorium.core.errors import SensoriumError, UnknownNameError

# What can be listed, and the registry that holds it.
GROUPS = {
    "models": "sensorium.recommenders",
    "readers": "sensorium.readers",
    "metrics": "sensorium.metrics",
    "splits": "sensorium.splits",
    "encoders": "sensorium.encoders",
    "tracers": "sensorium.tracers",
    "judges": "sensorium.judges",
    "rasterisers": "sensorium.rasterisers",
    "guidance": "sensorium.guidance",
}


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("list")(list_parts)
    config = typer.Typer(help="Explain the keys of a configuration.", rich_markup_mode=None)
    config.command("show")(show_config)
    app.add_typer(config, name="config")


def list_parts(
    what: str = typer.Argument(
        ..., metavar="WHAT", help="models, readers, metrics, splits, encoders, tracers, judges, rasterisers or guidance"
    ),
) -> None:
    """List models, readers, metrics, splits, encoders, tracers, judges, rasterisers, guidance.

    Those of this package, and those that other packages bring.

    In Python: sensorium.core.registry.entries("sensorium.recommenders").
    """
    columns, rows = table(what)
    show_table(columns, rows)


def show_config(
    name: str = typer.Argument(
        ..., metavar="NAME", help="a model, reader, split, encoder or judge; or 'run' for a whole run"
    ),
) -> None:
    """List every key with its type, default and meaning.

    In Python: sensorium.core.config.describe(Model.Config).
    """
    from sensorium.core.config import describe
    from sensorium.experiments.rows import flatten

    title, keys = _config_of(name)
    say(title)
    rows = [[key.path, key.type, key.default, key.meaning] for key in describe(keys)] if keys is not None else []
    if rows:
        show_table(["key", "type", "default", "meaning"], rows)
    else:
        say("It has no keys.")
    for group in GROUPS.values():
        target = registry.get(group, name) if name in registry.entries(group) else None
        if own := flatten(getattr(target, "run_defaults", {})):
            say("What a run of it takes where it says nothing:")
            show_table(["key", "value"], [[key, str(value)] for key, value in own.items()])


def table(what: str) -> tuple[list[str], Rows]:
    """Return headings and rows of one list.

    Raises:
        UnknownNameError: There is no such list.
    """
    if what not in GROUPS:
        raise UnknownNameError(
            f"there is no list of '{what}'{registry.did_you_mean(what, GROUPS)} (known: {', '.join(GROUPS)})"
        )
    row, columns = _ROWS.get(what, (_part_row, ["name", "what it is"]))
    return [*columns, "package"], [row(entry) for entry in registry.entries(GROUPS[what]).values()]


def _part_row(entry: registry.Entry) -> list[str]:
    target, problem = _load(entry)
    return [entry.name, problem or _refusal(target) or _summary(target), _package(entry)]


def _refusal(target: Any) -> str:
    """Return why a part that can look whether it runs here does not; "" where it does, or cannot tell."""
    available = getattr(target, "available", None)
    runs, why = available() if callable(available) else (True, "")
    return "" if runs else f"cannot run here: {why}"


def _model_row(entry: registry.Entry) -> list[str]:
    target, problem = _load(entry)
    if problem:
        return [entry.name, "", "", "", problem, "", _package(entry)]
    info = target.info
    asked_by = [target.query_kind] + (["history"] if hasattr(target, "score_history") else [])
    return [
        entry.name,
        " or ".join(dict.fromkeys(asked_by)) + (", in order" if info.order else ""),
        info.features,
        "yes" if info.trained else "no",
        info.summary,
        info.citation,
        _package(entry),
    ]


def _encoder_row(entry: registry.Entry) -> list[str]:
    """Say of an encoder what it takes, whose terms hold, and whether it runs now; nothing is loaded or fetched."""
    target, problem = _load(entry)
    if problem:
        return [entry.name, problem, "", "", "", "", "", "", "no", "", _package(entry)]
    try:
        card = target.describe(target.Config()) if hasattr(target, "describe") else target.card
    except SensoriumError as error:
        return [entry.name, _summary(target), "", "", "", "", "", "", "no", str(error), _package(entry)]
    widths = [str(width) for width in dict.fromkeys(card.layer_dims)]
    shown = widths[0] if len(widths) == 1 else f"{widths[0]} to {widths[-1]}" if widths else ""
    return [
        entry.name,
        _summary(target),
        card.modality,
        f"{card.params / 1e6:,.1f} M" if card.params else "",
        f"{len(card.layers)} x {shown}" if card.layers else "",
        str(card.pooled_dim) if card.pooled_dim else "",
        f"{card.download_mb:,.0f} MB" if card.download_mb else "",
        (card.licence.weights or "not stated") if card.licence else "",
        "yes" if card.runs_now else "no",
        card.why_not,
        _package(entry),
    ]


def _load(entry: registry.Entry) -> tuple[Any, str]:
    """Return the registered object, or why it cannot be used here: one broken part must not hide the others."""
    try:
        return entry.load(), ""
    except SensoriumError as error:
        return None, f"cannot run here: {error}"


def _summary(target: Any) -> str:
    summary = getattr(getattr(target, "info", target), "summary", None)
    text = summary if isinstance(summary, str) else inspect.getdoc(target) or ""
    return text.split("\n\n")[0].replace("\n", " ")


def _package(entry: registry.Entry) -> str:
    return f"{entry.package} {entry.version}".strip()


_ROWS: dict[str, tuple[Callable[[registry.Entry], list[str]], list[str]]] = {
    "models": (_model_row, ["name", "asked by", "features", "trained", "what it is", "citation"]),
    "encoders": (
        _encoder_row,
        [
            "name",
            "what it is",
            "reads",
            "parameters",
            "layers",
            "vector",
            "to fetch",
            "licence",
            "runs now",
            "what changes that",
        ],
    ),
}


def _config_of(name: str) -> tuple[str, Any]:
    """Return a heading and the config class of a registered name, or of a whole run."""
    if name == "run":
        from sensorium.experiments.config import RunConfig

        return "Keys of a run's configuration file", RunConfig
    for what, group in GROUPS.items():
        if name in registry.entries(group):
            target = registry.get(group, name)
            return f"{name} ({what.removesuffix('s')}): {_summary(target)}", getattr(target, "Config", None)
    known = [key for what, group in GROUPS.items() if what != "metrics" for key in registry.names(group)]
    raise UnknownNameError(
        f"nothing is registered as '{name}'{registry.did_you_mean(name, known)} (known: run, {', '.join(known)})"
    )
