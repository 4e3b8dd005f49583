"""An experiment file: a topic, a base configuration, and the cells (model, data, seed) that are to be run.

    topic: core-lfm2k
    seeds: [0, 1, 2]
    base:
      data: {dataset: lfm2k, split: column}
    cells:
      - name: itemknn
        config: {model: {name: itemknn}}
      - name: lightgcn
        config: {model: {name: lightgcn}}
        grid: {model.layers: [2, 3], model.reg: [1e-3, 1e-4]}

Every point of a grid is run on the first seed, and the one that is best on validation on the others (the
test has no say). An exhaustive grid runs to its end: all points, whatever their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from sensorium.core.config import Config, build, dump, load_yaml
from sensorium.core.errors import ConfigError
from sensorium.experiments.config import RunConfig, merge
from sensorium.experiments.jobs import job_class


class CellConfig(Config):
    """One line of an experiment's table."""

    name: str = Field(min_length=1, description="how the table names it")
    config: dict[str, Any] = Field({}, description="a run's keys, laid over the base")
    grid: dict[str, list[Any]] = Field({}, description="key path -> values; every combination is one point of the grid")
    seeds: list[int] | None = Field(None, min_length=1, description="its seeds; null = those of the experiment")
    deciding: bool = Field(True, description="false = it is run after all that decide")


class ExperimentConfig(Config):
    """The keys of an experiment file."""

    topic: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$", description="names the file of rows, docs/results/rows/<topic>.jsonl"
    )
    base: dict[str, Any] = Field({}, description="a run's keys that all cells share")
    cells: list[CellConfig] = Field(min_length=1, description="what is run")
    seeds: list[int] = Field([0], min_length=1, description="seeds of every cell; the first ones search the grids")
    search_seeds: int = Field(
        1, ge=1, description="on how many seeds every point of a grid is run before one is chosen"
    )

    @field_validator("cells")
    @classmethod
    def _names_differ(cls, cells: list[CellConfig]) -> list[CellConfig]:
        names = [cell.name for cell in cells]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two cells are named '{twice[0]}'")
        return cells


@dataclass(frozen=True)
class Point:
    """One configuration of an experiment, with any seed.

    Attributes:
        topic: Of the experiment.
        cell: The cell's name.
        settings: Where in its grid it stands, key path -> value; empty without a grid.
        config: The configuration, checked.
    """

    topic: str
    cell: str
    settings: Mapping[str, Any]
    config: RunConfig

    def with_seed(self, seed: int) -> RunConfig:
        """Return the configuration with this seed."""
        return self.config.model_copy(update={"seed": seed})

    @property
    def label(self) -> str:
        """The cell's name, and its place in the grid."""
        place = ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in self.settings.items())
        return f"{self.cell} ({place})" if place else self.cell


@dataclass(frozen=True)
class Search:
    """A cell: its points, and the seeds on which all of them, and then the chosen one alone, are run."""

    name: str
    points: tuple[Point, ...]
    search_seeds: tuple[int, ...]
    more_seeds: tuple[int, ...]
    deciding: bool


@dataclass(frozen=True)
class Plan:
    """An experiment, every configuration of it checked."""

    topic: str
    searches: tuple[Search, ...]


def read_plan(file: str | Path) -> Plan:
    """Read an experiment file and check every configuration in it before any is run.

    Raises:
        ConfigError: A wrong key in the file or in a cell's configuration, or two cells that are the same run.
    """
    experiment = build(ExperimentConfig, load_yaml(file), source=str(file))
    searches = tuple(_search(experiment, cell, str(file)) for cell in experiment.cells)
    seen: dict[str, str] = {}
    for search in searches:
        for point in search.points:
            key = repr(dump(point.config))
            if key in seen:
                raise ConfigError(
                    f"{file}: cells '{seen[key]}' and '{point.label}' are the same configuration: keep one"
                )
            seen[key] = point.label
    return Plan(experiment.topic, searches)


def _search(experiment: ExperimentConfig, cell: CellConfig, source: str) -> Search:
    seeds = tuple(dict.fromkeys(cell.seeds or experiment.seeds))
    tree = merge(experiment.base, cell.config)
    points = tuple(
        Point(
            experiment.topic,
            cell.name,
            settings,
            _checked(_with_settings(tree, settings), f"{source}, cell '{cell.name}'"),
        )
        for settings in _grid(cell)
    )
    # Without a grid there is nothing to search: all seeds are of the chosen point, the first of them still comes first.
    return Search(cell.name, points, seeds[: experiment.search_seeds], seeds[experiment.search_seeds :], cell.deciding)


def _checked(tree: Mapping[str, Any], source: str) -> RunConfig:
    """Check a configuration against the keys of its kind of run. A kind serves here when its config names a dataset
    (`data.dataset`), has a `seed` and says what selects (`parsed_selection`), as that of recommendations does.
    """
    cls: Any = job_class(tree, source).Config
    checked: RunConfig = build(cls, tree, source=source)
    if not hasattr(checked, "parsed_selection"):
        raise ConfigError(f"{source}: runs of kind '{tree.get('kind')}' are no cells of an experiment")
    return checked


def _grid(cell: CellConfig) -> Iterator[dict[str, Any]]:
    for values in product(*cell.grid.values()):
        yield dict(zip(cell.grid, values, strict=True))


def _with_settings(tree: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    for path, value in settings.items():
        nested: Any = value
        for key in reversed(path.split(".")):
            nested = {key: nested}
        tree = merge(tree, nested)
    return dict(tree)
