"""RecBole's atomic files: tables with typed headers, one folder a data set.

    <set>.inter   user_id:token <tab> item_id:token <tab> rating:float <tab> timestamp:float
    <set>.item    item_id:token <tab> title:token_seq <tab> ...
    <set>.user    user_id:token <tab> age:token <tab> ...

`token` is text, `float` a number, `token_seq` and `float_seq` are lists between spaces; a list of tokens that is a
title stays one text. Files of other kinds (.link, .kg, .net) are not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import polars as pl
from pydantic import Field

from sensorium.core.errors import DataError
from sensorium.data.columns import INTERACTION_ROLES, ITEM_ROLES, ROW, guess
from sensorium.data.readers.base import Reading
from sensorium.data.readers.delimited import TsvReader
from sensorium.data.readers.lines import NEGATIVE_TIME, Rule, apply_rules, first_line
from sensorium.data.readers.official import OfficialConfig, attributes
from sensorium.data.tables import Options, interactions_table
from sensorium.data.times import TimeUnit

TYPES = ("token", "token_seq", "float", "float_seq")


class RecBoleReader:
    """A folder with one `.inter` file, or that file."""

    summary: ClassVar[str] = "RecBole: <set>.inter, .item, .user with typed headers"

    class Config(OfficialConfig):
        """Options of RecBole's files."""

        sensitive: list[str] = Field([], description="columns of the .user file that are sensitive attributes")
        time_unit: TimeUnit = Field("auto", description="unit of numeric times: s, ms, us, ns, or auto by their size")

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read a folder or its `.inter` file.

        Raises:
            DataError: There is none or several, a header is not typed, or a file is empty or separated otherwise.
        """
        log = single_log(path)
        strict = self.config.strict
        options = Options(time_unit=self.config.time_unit, strict=strict)
        rows = interactions_table(_scan(log, INTERACTION_ROLES), log.name, options)
        apply_rules(rows, [NEGATIVE_TIME, Rule("rating", pl.col("rating").is_nan(), "unreadable_rating")], log.name)
        tables, files = [rows], [log]
        sides = {}
        for kind, ending in (("item", ".item"), ("user", ".user")):
            side = log.with_suffix(ending)
            if side.is_file():
                roles = ITEM_ROLES if kind == "item" else ("user_id",)
                sides[kind] = attributes(_scan(side, roles), side.name, f"{kind}_id", strict=strict)
                tables.append(sides[kind])
                files.append(side)
        people = sides["user"].frame.collect_schema().names() if "user" in sides else []
        for name in self.config.sensitive:
            if name not in people:
                raise DataError(f"sensitive names '{name}', which is no column of the users ({', '.join(people)})")
        others = [file.name for file in sorted(log.parent.glob(f"{log.stem}.*")) if file not in files]
        notices = [notice for table in tables for notice in table.notices]
        if others:
            notices.append(f"not read: {', '.join(others)}")
        return Reading(
            interactions=rows.frame,
            files=files,
            items=sides["item"].frame if "item" in sides else None,
            users=sides["user"].frame if "user" in sides else None,
            columns={**(sides["item"].roles if "item" in sides else {}), **rows.roles},
            rejected=[found for table in tables for found in table.rejected],
            sensitive=list(self.config.sensitive),
            notices=notices,
        )


def single_log(path: Path) -> Path:
    """Return the `.inter` file, or the only one of a folder.

    Raises:
        DataError: There is none, or there are several.
    """
    if path.is_file():
        return path
    found = sorted(path.glob("*.inter"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise DataError(f"{path}: one .inter file is needed and there are: {names}")
    return found[0]


def _scan(path: Path, roles: tuple[str, ...]) -> pl.LazyFrame:
    """Return a file's columns under their plain names, as the header types them; what has a role stays text."""
    header = [part.strip() for part in first_line(path).split("\t")]
    kinds: dict[str, str] = {}
    for part in header:
        name, colon, kind = part.rpartition(":")
        if not colon or kind not in TYPES:
            raise DataError(
                f"{path}: the header '{part}' has no type ({', '.join(TYPES)}): it is no file of RecBole; with x_label "
                "it is one of MMRec (--reader mmrec), else --reader tsv reads it"
            )
        kinds[name] = kind
    scanned = TsvReader().scan(path)
    columns = dict(zip(scanned.collect_schema().names()[1:], kinds, strict=True))
    taken = guess(list(kinds), roles).values()
    frame = scanned.rename(columns)
    values = []
    for name, kind in kinds.items():
        value = pl.col(name)
        if name not in taken:
            if kind == "float":
                value = value.cast(pl.Float64, strict=False)
            elif kind.endswith("_seq"):
                value = value.str.split(" ").list.eval(pl.element().filter(pl.element() != ""))
                value = value.cast(pl.List(pl.Float64), strict=False) if kind == "float_seq" else value
        values.append(value)
    return frame.select(ROW, *values)
