"""Rows of MicroLens from raw titles, covers, sound and clips, one of each kind, on generated files in its formats."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from sensorium.core.files import write_text

pytest.importorskip("transformers")
pytest.importorskip("av")

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "microlens"
KINDS = {
    "sasrec": "ids",
    "sasrec-id-v": "frozen vectors of the owners",
    "dssm-id-v": "frozen vectors, asked by user",
    "youtube": "the mean of a history",
    "sasrec-text-states": "stored hidden states",
    "sasrec-text-end-to-end": "titles",
    "sasrec-image-end-to-end": "covers",
    "gru4rec-v-videomae": "clips",
    "sasrec-audio-end-to-end": "sound",
}
SLOW = ("sasrec-audio-end-to-end",)


@pytest.fixture(scope="module")
def small() -> Any:
    found = importlib.util.spec_from_file_location("microlens_small", FOLDER / "small.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def root(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("microlens")
    small.write_files(folder, users=60, items=50)
    return folder


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in KINDS]
)
def test_a_row_runs_from_raw_files(
    small: Any, root: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSORIUM_DATA", "")  # both are set anew, and put back after the test
    monkeypatch.setenv("SENSORIUM_HOME", "")
    monkeypatch.setattr("sensorium.experiments.report.write_report", lambda path: write_text(path / "report.html", ""))
    result = small.run_small(name, root, out=tmp_path / "run").result
    assert (result["data"]["name"], result["data"]["users"]) == ("microlens-100k", 60)
    assert result["test"]["n"] > 50
    assert 0 <= result["test"]["metrics"]["hit_rate@20"] <= 1
    assert result["evaluation"]["ks"] == [5, 10, 20]


def test_every_row_of_the_page_is_a_file_and_every_file_is_on_the_page() -> None:
    page = (FOLDER.parents[1] / "docs" / "microlens.md").read_text(encoding="utf-8")
    for file in FOLDER.glob("*.yaml"):
        assert f"`{file.stem}`" in page, f"docs/microlens.md does not name {file.stem}"
