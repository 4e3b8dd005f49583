"""What a model asks of its data is said in one line, before a row is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensorium.cli import main
from sensorium.data.catalogue import RESEARCH_SETS
from sensorium.data.dataset import Dataset

ORDERED = ["sasrec", "gru4rec", "nextitnet"]


def stops(dataset: str | Path, model: str, said: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ask for a run, which must stop with exactly this line and leave nothing behind."""
    config = out / "run.yaml"
    config.write_text(f"data: {{dataset: {dataset}, split: leave_last_out}}\nmodel: {model}\n")
    assert main(["run", str(config), "--out", str(out / "run")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if not line.startswith("note: import")] == [f"error: {said}"]
    assert not (out / "run").exists()


def lacks_order(model: str, name: str) -> str:
    return f"model.name: '{model}' needs rows in their order, and '{name}' has neither time nor order"


@pytest.mark.parametrize("model", ORDERED)
def test_a_model_of_sequences_refuses_data_without_time_and_order(
    world: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    """Specification 7.1, on generated data."""
    stops(world.root, model, lacks_order(model, "world"), tmp_path, capsys)


@pytest.mark.parametrize("name", ["ml1m", "lfm2k", "tiktok", "baby"])
def test_research_sets_without_order_are_refused(
    shared_data: Path, sensorium_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Specification 7.1: they have divisions of their own, and no order."""
    folder = RESEARCH_SETS[name][0]
    if not (shared_data / folder).is_dir():
        pytest.skip(f"{folder} is not in the research data here")
    stops(name, "sasrec", lacks_order("sasrec", name), tmp_path, capsys)
