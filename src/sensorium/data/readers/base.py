"""What a reader gives to the import: frames with external ids, in one shape, whatever the source looked like.

A reader is a class registered under the entry points "sensorium.readers" with a nested `Config` and `read(path)`. It
translates; it assigns no ids, drops nothing silently and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy.typing as npt
import polars as pl

from sensorium.core import config as core_config


@dataclass(frozen=True)
class GivenFeatures:
    """A feature matrix of the source. `load` reads it when it is needed; `item_ids` names its rows."""

    load: Callable[[], npt.NDArray[Any]]
    item_ids: pl.Series
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """What was read.

    Attributes:
        interactions: user_id text, item_id text, row int64 (the line or record of the file), and rating float32,
            timestamp int64 ms UTC, order int64 where the source has them; further columns keep their names. Rows are
            in the order of the file. It may be read several times, and must give the same rows each time.
        files: The files that were read.
        items: item_id text and content columns, or None where the source has none.
        users: user_id text and attributes, or None.
        media: Folder that the media columns' paths are relative to.
        features: Feature matrices by name.
        columns: Which column of the source was taken for what: role -> column.
        rejected: Frames of rows that were set aside (`data.store.REJECTED_SCHEMA`).
        counts: What was counted on the way.
        licence: Terms of the data, in a few words.
        sensitive: Columns of `users` that are sensitive attributes.
        closed: Whether the items and users of the rows are all there are: then those of the tables without a row are
            left out.
        notices: Sentences that people should read.
    """

    interactions: pl.LazyFrame
    files: list[Path]
    items: pl.LazyFrame | None = None
    users: pl.LazyFrame | None = None
    media: Path | None = None
    features: dict[str, GivenFeatures] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    rejected: list[pl.DataFrame] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    licence: str | None = None
    sensitive: list[str] = field(default_factory=list)
    closed: bool = False
    notices: list[str] = field(default_factory=list)


class Reader(Protocol):
    """A format of files."""

    Config: ClassVar[type[core_config.Config]]
    summary: ClassVar[str]

    def __init__(self, config: Any) -> None: ...

    def read(self, path: Path) -> Reading:
        """Read a file or a folder.

        Raises:
            DataError: It is not of this format; the message names file, row or column.
        """
        ...
