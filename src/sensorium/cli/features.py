"""`sensorium encode DATASET`: content becomes features that models read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from sensorium.cli.options import read_value, split_list
from sensorium.cli.output import show_table

if TYPE_CHECKING:
    from sensorium.core.config import Component


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("encode")(encode)


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
        help="learn only from items with a train row of this split: its name or mapping",
    ),
    seed: int = typer.Option(0, "--seed", help="seed of the split"),
) -> None:
    """Turn titles, texts and pictures into features.

    What is up to date is not made again.

    In Python: sensorium.encoders.encode.encode(dataset, "tfidf-svd").
    """
    from sensorium.data.catalogue import open_dataset
    from sensorium.data.splits import make_split
    from sensorium.encoders import encode as encoding

    dataset = open_dataset(data)
    learned_from = None if split is None else make_split(dataset, read_value(split), seed=seed)
    if encoder is None:
        encoded = encoding.encode_all(dataset, split=learned_from)
    else:
        columns = split_list(fields)
        encoded = encoding.encode(dataset, read_encoder(encoder), fields=columns, split=learned_from, name=name)
    rows = [
        [feature, str(info.dim), f"{info.present:,} of {info.items:,}", info.folder]
        for feature, info in encoded.info.features.items()
    ]
    show_table(["feature", "width", "items with content", "folder"], rows, title=f"Features of {encoded.name}")


def read_encoder(text: str) -> Component:
    """Return the encoder that an option names, its keys checked.

    Raises:
        ConfigError: No such encoder, or a wrong key.
    """
    from sensorium.core.config import Config, build, component

    class Choice(Config):
        encoder: component("sensorium.encoders")  # type: ignore[valid-type]

    chosen: Component = build(Choice, {"encoder": read_value(text)}, source="--encoder").encoder
    return chosen
