"""Dimensions of generated video: what is judged, on which scale, and how it is asked. Each is one YAML file.

The nine of Video-Bench lie beside this module; a new one is a file of the same keys, named by its path in
`dimensions:` of a configuration. The rubric's wording belongs to this project, its content follows the paper.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from sensorium.core.config import Config, build, load_yaml
from sensorium.core.errors import ConfigError, UnknownNameError
from sensorium.core.registry import did_you_mean

FOLDER = Path(__file__).parent

ProtocolName = Literal["few-shot-static", "few-shot-joint", "chain-of-query", "direct"]
Family = Literal["static", "dynamic", "alignment"]


class Focus(Config):
    """What the two questioners of a chain of query look at."""

    a: str = Field(min_length=1, description="what the first questioner asks about")
    b: str = Field(min_length=1, description="what the second questioner asks about")


class Response(Config):
    """What the judge is told about the fields of its final answer."""

    score: str = Field("the level that fits best, as a whole number", description="meaning of the score field")
    reason: str = Field("one or two sentences on what decided", description="meaning of the reason field")


class Dimension(Config):
    """One dimension, as its file says it.

    Scores are whole numbers from `low` to `high`; metric judges give fractions of the same scale.
    """

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="its name in configs, records and tables")
    aliases: list[str] = Field([], description="other names that prompt suites and folders use for it")
    family: Family = Field(
        description="static (single frames), dynamic (change over time) or alignment (with the text)"
    )
    low: int = Field(1, description="lowest level")
    high: int = Field(description="highest level")
    version: str = Field(
        description="changes whenever a word of the rubric does: scores of two versions share no board"
    )
    folder: str | None = Field(None, description="name of its folder of videos in the released layout; null = its id")
    sampler: Literal["half-second", "grid"] = Field("half-second", description="how frames are chosen")
    protocol: ProtocolName = Field(description="how the judge is asked")
    criteria: str = Field(min_length=1, description="what is judged, and what is to be ignored")
    anchors: dict[int, str] = Field(description="what each level means")
    focus: Focus | None = Field(None, description="focus of the two questioners; chain-of-query alone")
    describe_each_frame: bool = Field(False, description="chain-of-query: the first description goes frame by frame")
    response: Response = Field(Response(), description="meaning of the fields of the final answer")

    @model_validator(mode="after")
    def _fits_together(self) -> Dimension:
        if self.high <= self.low:
            raise ValueError(f"high is {self.high}, which is not above low, {self.low}")
        if sorted(self.anchors) != self.levels:
            raise ValueError(f"anchors has levels {sorted(self.anchors)}, the scale has {self.levels}")
        if self.protocol == "chain-of-query" and self.focus is None:
            raise ValueError("focus: chain-of-query needs the focus of its two questioners")
        return self

    @property
    def levels(self) -> list[int]:
        """Every level of the scale, from the lowest."""
        return list(range(self.low, self.high + 1))

    @property
    def folder_name(self) -> str:
        """The folder that holds its videos in the released layout."""
        return self.folder or self.id

    @property
    def names(self) -> list[str]:
        """Its id and its aliases."""
        return [self.id, *self.aliases]


@cache
def built_in() -> dict[str, Dimension]:
    """Return the nine dimensions that ship, by id, in the paper's order."""
    found = {dimension.id: dimension for dimension in map(read_dimension, sorted(FOLDER.glob("*.yaml")))}
    return {name: found[name] for name in ORDER}


ORDER = (
    "imaging_quality",
    "aesthetic_quality",
    "temporal_consistency",
    "motion_effects",
    "video_text_consistency",
    "object_class",
    "color",
    "action",
    "scene",
)


def read_dimension(path: str | Path) -> Dimension:
    """Read one dimension from its file.

    Raises:
        ConfigError: The file is missing, or a key is wrong.
    """
    return build(Dimension, load_yaml(path), source=str(path))


def dimension(name: str) -> Dimension:
    """Return a dimension by its id, one of its aliases, or the path of its file.

    Raises:
        UnknownNameError: No such dimension; the message holds the nearest name.
        ConfigError: Its file cannot be used.
    """
    if name.endswith((".yaml", ".yml")):
        return read_dimension(name)
    for known in built_in().values():
        if name in known.names:
            return known
    every = [alias for known in built_in().values() for alias in known.names]
    raise UnknownNameError(
        f"'{name}' is no dimension{did_you_mean(name, every)} (known: {', '.join(built_in())}, or the path of a file)"
    )


def dimensions(names: Iterable[str] | None = None) -> list[Dimension]:
    """Return several dimensions, all that ship when none is named.

    Raises:
        ConfigError: Two have the same id.
    """
    chosen = list(built_in().values()) if names is None else [dimension(name) for name in names]
    seen: dict[str, Any] = {}
    for one in chosen:
        if one.id in seen:
            raise ConfigError(f"dimensions: '{one.id}' is named twice")
        seen[one.id] = one
    return chosen
