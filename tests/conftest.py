"""Fixtures that several rooms share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sub-processes that a test starts use one thread, as the suite itself does."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def sensorium_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private SENSORIUM_HOME for one test."""
    path = tmp_path / "sensorium-home"
    path.mkdir()
    monkeypatch.setenv("SENSORIUM_HOME", str(path))
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of research data sets; a test that needs it is skipped where there is none."""
    value = os.environ.get("SENSORIUM_DATA")
    if not value:
        pytest.skip("SENSORIUM_DATA is not set: no research data here")
    path = Path(value)
    if not path.is_dir():
        pytest.skip(f"SENSORIUM_DATA names {path}, which is not a folder")
    return path
