"""The sequence files of S3-Rec (arXiv 2008.07873): ids and attributes alone.

    <set>.txt                          user item item ...   one user a line, oldest first, spaces
    <set>_item2attributes.json(.gz)    {"item": [attribute, ...]}

Beauty 22,363 users x 12,101 items, 198,502 rows; Toys_and_Games 19,412 x 11,924, 167,597; LastFM 1,090 x 3,646, 52,551.
There are no times: the place in the line is the column `order`. An item's repeated attributes count once.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import ClassVar

import polars as pl
from pydantic import Field

from sensorium.core.errors import DataError
from sensorium.data.readers.base import Reading
from sensorium.data.readers.lines import require_file
from sensorium.data.readers.official import OfficialConfig, find_file
from sensorium.data.readers.sequences import read_sequences


class S3RecReader:
    """Sequences of item ids, and what attributes the items have."""

    summary: ClassVar[str] = "S3-Rec: <set>.txt, one user a line, and <set>_item2attributes.json"

    class Config(OfficialConfig):
        """Options of S3-Rec folders."""

        set: str | None = Field(None, description="which set of the folder, for example Beauty; null = the only one")

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read a `.txt` file, or a folder that holds one.

        Raises:
            DataError: A file is missing, empty or of another format, or the folder holds several sets.
        """
        log = self._log(path)
        rows, rejected = read_sequences(log, " ", strict=self.config.strict)
        files = [log]
        items, counts = None, {}
        side = find_file(log.parent, [f"{log.stem}_item2attributes.json"])
        if side is not None:
            files.append(side)
            items, repeated = _attributes(side)
            counts["repeated_attributes"] = repeated
        return Reading(
            interactions=rows,
            files=files,
            items=items,
            rejected=rejected,
            counts=counts,
            licence="research use; no redistribution",
            notices=[] if side is not None else [f"there is no {log.stem}_item2attributes.json: items have ids alone"],
        )

    def _log(self, path: Path) -> Path:
        if path.is_file():
            return path
        if self.config.set is not None:
            return require_file(path / f"{self.config.set}.txt")
        found = [
            file for file in sorted(path.glob("*.txt")) if find_file(path, [f"{file.stem}_item2attributes.json"])
        ] or sorted(path.glob("*.txt"))
        if len(found) != 1:
            names = ", ".join(file.stem for file in found) or "none"
            raise DataError(f"{path}: which set? It holds {names}: name one with --set reader.set=NAME")
        return found[0]


def _attributes(path: Path) -> tuple[pl.LazyFrame, int]:
    """Return item_id and `attributes`, a list of distinct texts in their order, and how many were repeated."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as handle:
            tree = json.load(handle)
        frame = pl.DataFrame(
            {"item_id": list(tree), "attributes": [[str(value) for value in values] for values in tree.values()]},
            schema={"item_id": pl.String, "attributes": pl.List(pl.String)},
        )
    except (OSError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is no JSON of item -> list of attributes: {error}") from None
    distinct = frame.with_columns(pl.col("attributes").list.unique(maintain_order=True))
    lengths = [table.select(pl.col("attributes").list.len().sum()).item() for table in (frame, distinct)]
    return distinct.lazy(), int(lengths[0] - lengths[1])
