"""The project's own promises about its installation."""

import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_wheels_alone_are_installed():
    """IN-1: no compiler is needed. `make` refuses source distributions, so that each CI run is the proof."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    installs = re.findall(r"pip install[^\n]*", makefile)
    assert installs
    assert all("--only-binary :all:" in line for line in installs)


def test_numpy_2_and_new_pythons_are_allowed():
    """IN-1: nothing holds numpy below 2 or Python below the next release, and torch has no upper bound."""
    assert PROJECT["requires-python"] == ">=3.11"
    ranges = dict(re.match(r"([\w-]+)(.*)", line).groups() for line in PROJECT["dependencies"])
    assert ranges["numpy"] == ">=2.0"
    assert ranges["torch"] == ">=2.6"


def test_torchvision_is_never_asked_for():
    """The build of the package index does not import beside a CPU torch, and then breaks others."""
    asked = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    asked += (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert not [line for line in asked if line.startswith("torchvision")]


def test_versions_agree():
    import sensorium

    assert f"version: {sensorium.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.parametrize("group", sorted(PROJECT["entry-points"]))
def test_every_entry_point_can_be_loaded(group: str):
    declared = PROJECT["entry-points"][group]
    installed = {point.name: point for point in entry_points(group=group)}
    assert set(declared) <= set(installed)
    for name in declared:
        assert installed[name].load() is not None
