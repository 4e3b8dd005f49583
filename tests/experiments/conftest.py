"""What the tests of experiments share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sensorium.data.dataset import Dataset

from .world import write_world


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Runs of the tests are small: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A data set without time, with features; tests do not change it."""
    return write_world(tmp_path_factory.mktemp("world") / "world")


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of one test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
