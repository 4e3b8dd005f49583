"""Data that several tests of tracing share."""

from pathlib import Path

import pytest

from sensorium.tracing.data.dataset import TracingDataset
from sensorium.tracing.data.simulated import SimulationConfig, simulate


@pytest.fixture(scope="session")
def learners(tmp_path_factory: pytest.TempPathFactory) -> TracingDataset:
    """A class of simulated learners."""
    return simulate(tmp_path_factory.mktemp("tracing") / "learners", SimulationConfig())


@pytest.fixture(scope="session")
def few_learners(tmp_path_factory: pytest.TempPathFactory) -> TracingDataset:
    """A small class, for tests of files and rules."""
    config = SimulationConfig(students=30, questions=20, concepts=5, shortest=5, longest=25)
    return simulate(tmp_path_factory.mktemp("tracing") / "few", config)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for the files of a source."""
    path = tmp_path / "source"
    path.mkdir()
    return path
