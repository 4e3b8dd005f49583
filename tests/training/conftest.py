"""What the tests of training share: the toy model, and a program that trains it in processes that may be killed."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from sensorium.core.rundir import RunDirectory

TOY = Path(__file__).parent / "toy.py"


def _load_toy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("training_toy", TOY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["training_toy"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """The toy's module."""
    return _load_toy()


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Threads and the global random state are left as they were."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[[str], RunDirectory]:
    """Make a run directory by name."""
    return lambda name: RunDirectory.create(tmp_path / name, {"kind": "toy"})


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    """The toy as a program: a line in, a process that trains, its number and its exit status out."""
    with subprocess.Popen(
        [sys.executable, str(TOY)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=30)
