"""Registries are entry points: built-in and third-party parts register the same way, in their package's metadata.

A package adds a recommender with two lines of its `pyproject.toml`:

    [project.entry-points."sensorium.recommenders"]
    mymodel = "mypackage.mymodel:MyModel"

Groups: `sensorium.recommenders`, `encoders`, `readers`, `splits`, `metrics`, `tracers`, `judges`, `guidance`,
    `rasterisers`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from sensorium.core.errors import SensoriumError, UnknownNameError


@dataclass(frozen=True)
class Entry:
    """One registered part: its name, who brings it, and how to load it."""

    name: str
    group: str
    package: str
    version: str
    point: EntryPoint | None
    target: Any = None

    def load(self) -> Any:
        """Import and return the registered object.

        Raises:
            SensoriumError: Its module cannot be imported; the message names the package.
        """
        if self.point is None:
            return self.target
        try:
            return self.point.load()
        except (ImportError, AttributeError) as error:
            raise SensoriumError(
                f"'{self.name}' of {self.group} is registered by {self.package} {self.version} as {self.point.value}, "
                f"which cannot be imported: {error}"
            ) from error


_temporary: dict[str, dict[str, Entry]] = {}


@cache
def _installed(group: str) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for point in entry_points(group=group):
        package, version = (point.dist.name, point.dist.version) if point.dist else ("unknown package", "")
        if point.name in found and found[point.name].package != package:
            raise SensoriumError(
                f"'{point.name}' of {group} is registered twice, by {found[point.name].package} and by {package}: "
                "remove one of the packages"
            )
        found[point.name] = Entry(point.name, group, package, version, point)
    return found


def entries(group: str) -> dict[str, Entry]:
    """Return every part of a group by name, sorted."""
    return dict(sorted({**_installed(group), **_temporary.get(group, {})}.items()))


def names(group: str) -> list[str]:
    """Return the names of a group, sorted."""
    return list(entries(group))


def get(group: str, name: str) -> Any:
    """Return the object that is registered under a name.

    Raises:
        UnknownNameError: No such name; the message holds the nearest one and the whole list.
    """
    known = entries(group)
    if name not in known:
        kind = group.rpartition(".")[2]
        raise UnknownNameError(
            f"'{name}' is not in {kind}{did_you_mean(name, known)} (known: {', '.join(known) or 'none'})"
        )
    return known[name].load()


@contextmanager
def registered(group: str, name: str, target: Any) -> Iterator[None]:
    """Register an object for the time of a `with` block: for tests and notebooks."""
    before = _temporary.get(group, {}).get(name)
    _temporary.setdefault(group, {})[name] = Entry(name, group, "this process", "", None, target)
    try:
        yield
    finally:
        if before is None:
            del _temporary[group][name]
        else:
            _temporary[group][name] = before


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that a person most likely meant, or None when none is near."""
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
    return close[0] if close else None


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest candidate, or nothing."""
    close = nearest(name, candidates)
    return f"; did you mean '{close}'?" if close else ""
