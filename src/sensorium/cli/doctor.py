"""`sensorium doctor`: what this machine has, what is installed, which data are here, and what can run."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version

import typer

from sensorium.cli.output import say, show_table

# Extras of the people who work on Sensorium itself: nothing that a user can run depends on them.
_MAINTAINERS = ("dev", "docs", "bench")


@dataclass(frozen=True)
class Extra:
    """One optional part of the installation."""

    name: str
    missing: tuple[str, ...]

    @property
    def command(self) -> str:
        """What installs it."""
        return f"pip install 'sensorium[{self.name}]'"


@dataclass(frozen=True)
class Examination:
    """What `examine` found. Facts are (name, value) pairs for people."""

    machine: list[tuple[str, str]]
    extras: list[Extra]
    data: list[tuple[str, str]]
    can_run: list[tuple[str, str]]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("doctor")(doctor)


def doctor() -> None:
    """Show what this machine has and what can run here.

    In Python: sensorium.cli.doctor.examine().
    """
    found = examine()
    for title, facts in (("Machine", found.machine), ("Data", found.data), ("What can run here", found.can_run)):
        show_table(["", ""], facts, title=title)
        say()
    rows = [
        [extra.name, f"missing: {', '.join(extra.missing)}", extra.command]
        if extra.missing
        else [extra.name, "installed", ""]
        for extra in found.extras
    ]
    show_table(["extra", "state", "how to get it"], rows, title="Extras")


def examine() -> Examination:
    """Look at the machine, the installation and the data. Nothing is changed and nothing is fetched."""
    extras = [Extra(name, missing) for name, missing in missing_packages().items() if name not in _MAINTAINERS]
    here, absent = _research_sets()
    return Examination(_machine(), extras, _data(here, absent), _can_run(here))


def missing_packages() -> dict[str, tuple[str, ...]]:
    """Return for each extra of this installation the packages that it needs and that are not installed."""
    if _version("sensorium") is None:
        return {}  # a bare source tree has no extras: `_machine` says so
    needed: dict[str, list[str]] = {name: [] for name in metadata("sensorium").get_all("Provides-Extra") or []}
    for requirement in requires("sensorium") or []:
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
        if extra is not None:
            needed.setdefault(extra[1], []).append(requirement.split(";")[0].strip())

    def packages(name: str) -> list[str]:
        """Follow `sensorium[media]` inside another extra."""
        found: list[str] = []
        for requirement in needed.get(name, []):
            inner = re.match(r"sensorium\[([^\]]+)\]", requirement)
            if inner is not None:
                found += [package for part in inner[1].split(",") for package in packages(part.strip())]
            else:
                found.append(re.split(r"[^A-Za-z0-9._-]", requirement)[0])
        return found

    return {name: tuple(dict.fromkeys(p for p in packages(name) if _version(p) is None)) for name in sorted(needed)}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _machine() -> list[tuple[str, str]]:
    from sensorium.core.resources import available_memory, readable_bytes
    from sensorium.core.rundir import machine_class

    return [
        ("sensorium", _version("sensorium") or "not installed as a package: nothing is registered (pip install .)"),
        ("python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("torch", _torch()),
        ("machine", machine_class()),
        ("free memory", readable_bytes(available_memory())),
        ("threads", os.environ.get("OMP_NUM_THREADS") or "all cores (set OMP_NUM_THREADS to use fewer)"),
    ]


def _device() -> str:
    """Return what models train on here."""
    try:
        import torch
    except (ImportError, OSError):
        return "nothing: torch cannot be imported"
    return "a GPU (training.device: cpu keeps it out)" if torch.cuda.is_available() else "the CPU, no GPU was found"


def _torch() -> str:
    try:
        import torch
    except (ImportError, OSError) as error:  # a build for other hardware fails while its libraries load
        return f"cannot be imported: {error}"
    if torch.cuda.is_available():
        return f"{torch.__version__}, GPU: {torch.cuda.get_device_name(0)}"
    return f"{torch.__version__}, CPU only"


def _research_sets() -> tuple[list[str], list[str]]:
    """Return the names of the research sets that are here, and of those that are not."""
    from sensorium.core.errors import DataError
    from sensorium.core.home import shared_data
    from sensorium.data.catalogue import RESEARCH_SETS

    try:
        root = shared_data()
    except DataError:  # the variable names no folder; `_data` says so
        root = None
    here = [name for name, (folder, _) in RESEARCH_SETS.items() if root is not None and (root / folder).is_dir()]
    return here, [name for name in RESEARCH_SETS if name not in here]


def _data(here: list[str], absent: list[str]) -> list[tuple[str, str]]:
    from sensorium.core.errors import DataError
    from sensorium.core.home import shared_data
    from sensorium.data.catalogue import datasets_home
    from sensorium.data.schema import DESCRIPTION

    folder = datasets_home()
    named = sorted(path.parent.name for path in folder.glob(f"*/{DESCRIPTION}"))
    try:
        shared = str(shared_data() or "not set: research data sets can't be imported by name")
    except DataError as error:
        shared = str(error)
    return [
        ("data home", f"{folder}: {', '.join(named) or 'no data set yet'}"),
        ("SENSORIUM_DATA", shared),
        ("research sets here", ", ".join(here) or "none"),
        ("not here", ", ".join(absent) or "none is missing"),
    ]


def _can_run(here: list[str]) -> list[tuple[str, str]]:
    """Return, by what a person wants, whether this machine can do it, and the command."""
    from sensorium.core import registry

    models = registry.names("sensorium.recommenders")
    return [
        ("the demo", "sensorium data generate demo, sensorium encode demo"),
        ("own data", "sensorium data import LOG --dry-run"),
        ("research sets", f"sensorium data inspect {here[0]}" if here else "none: set SENSORIUM_DATA to their folder"),
        ("training", f"{', '.join(models)}; on {_device()}"),
        ("encoders", ", ".join(registry.names("sensorium.encoders"))),
    ]
