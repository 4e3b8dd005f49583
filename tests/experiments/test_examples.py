"""The example files: every one is valid, and the quick ones run on the demo catalogue."""

from pathlib import Path

import pytest

from sensorium.core.config import build, load_yaml
from sensorium.data.demo import DemoConfig, generate_demo
from sensorium.data.splits import make_split
from sensorium.encoders.encode import encode_all
from sensorium.experiments.config import read_config
from sensorium.experiments.jobs import job_class
from sensorium.experiments.plan import read_plan
from sensorium.experiments.run import run

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
QUICK = sorted((EXAMPLES / "quick").glob("*.yaml"))


def name_of(path: Path) -> str:
    return path.relative_to(EXAMPLES).as_posix()


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.yaml")), ids=name_of)
def test_every_example_is_valid(file: Path):
    if "cells" in load_yaml(file):
        assert read_plan(file).topic == file.stem
    elif kind := load_yaml(file).get("kind"):
        build(job_class(load_yaml(file), str(file)).Config, load_yaml(file), source=str(file))
        assert file.stem.startswith(kind)
    else:
        config = read_config(file)
        assert file.stem.startswith(config.model.name)
    assert f"examples/{name_of(file)}" in file.read_text(), "an example says how it is run"


@pytest.fixture(scope="module")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a small demo catalogue and its features."""
    home = tmp_path_factory.mktemp("home")
    data = generate_demo(home / "datasets" / "demo", DemoConfig(users=120, items=200))
    encode_all(data, split=make_split(data, "random_per_user", seed=0))
    return home


@pytest.mark.parametrize("file", QUICK, ids=name_of)
def test_quick_examples_run(file: Path, demo_home: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SENSORIUM_HOME", str(demo_home))
    monkeypatch.setattr(
        "sensorium.experiments.report.write_report", lambda path: (path / "report.html").write_text("a page")
    )
    few_epochs = ["training.epochs=3", "training.validate_every=1"]
    result = run(file, overrides=few_epochs).result
    assert result["data"]["name"] == "demo"
    assert result["test"]["metrics"]["recall@20"] > 0.05
    assert set(result["data"]["features"]) == set(load_yaml(file)["data"].get("features", []))
