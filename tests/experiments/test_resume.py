"""A run that is killed at any moment and resumed leaves what an uninterrupted one leaves."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sensorium.core.errors import RunError
from sensorium.core.files import read_json, write_text
from sensorium.core.rundir import RunDirectory
from sensorium.data.dataset import Dataset
from sensorium.experiments.run import resume, run

from .world import run_config, write_world

PROGRAM = Path(__file__).parent / "killable.py"


class Server:
    """The program whose processes may be killed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout

    def start(self, action: str, path: Path, config: dict[str, Any] | None = None, sync: int = 0) -> int:
        """Begin, and return the number of the process."""
        self._in.write(json.dumps([action, str(path), config, sync]) + "\n")
        self._in.flush()
        return int(self._out.readline())

    def wait(self) -> str:
        """Return "done", "killed" or "failed"."""
        status = int(self._out.readline())
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return "killed"
        return "done" if os.WEXITSTATUS(status) == 0 else "failed"

    def do(self, action: str, path: Path, config: dict[str, Any] | None = None, sync: int = 0) -> str:
        self.start(action, path, config, sync)
        return self.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with subprocess.Popen(
        [sys.executable, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Server(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=60)


def outcome(path: Path) -> dict[str, bytes]:
    """All that must be equal."""
    files = ("metrics.jsonl", "result.json", "per_user.parquet", "lists.parquet", "weights/best.safetensors")
    return {name: (path / name).read_bytes() for name in files}


SHORT = {"epochs": 2, "batch_size": 300, "optimizer": {"lr": 0.05}, "validate_every": 1, "device": "cpu"}


def kill_and_resume(server: Server, path: Path, config: dict[str, Any], sync: int) -> bool:
    """Kill a run at its `sync`-th flush and bring it to its end; False when it ended before."""
    ended = server.do("run", path, config, sync)
    if ended == "done":
        return False
    assert ended == "killed"
    # Killed before its folder became a run, there is nothing to resume: the same call begins it anew.
    again = "resume" if (path / "config.yaml").exists() else "run"
    assert server.do(again, path, config) == "done", f"after kill {sync}"
    assert (path / "report.html").exists()
    assert not list(path.rglob(".*.tmp"))
    return True


@pytest.fixture(scope="module")
def whole(server: Server, world: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a short run leaves that nobody killed."""
    path = tmp_path_factory.mktemp("whole") / "run"
    assert server.do("run", path, run_config(world.root, training=SHORT)) == "done"
    return outcome(path)


# The flushes of a short run: 1-4 the folder, 5-6 data.json, 7-24 two epochs, 25-28 tables, 29 timing, 30-31 result,
# 32 page.
# page.
@pytest.mark.parametrize("sync", [1, 5, 10, 15, 25, 28, 30, 32])
def test_killed_at_each_stage(server: Server, world: Dataset, whole: dict[str, bytes], tmp_path: Path, sync: int):
    assert kill_and_resume(server, tmp_path / "run", run_config(world.root, training=SHORT), sync)
    assert outcome(tmp_path / "run") == whole


@pytest.mark.slow
def test_killed_between_any_two_writes(server: Server, world: Dataset, whole: dict[str, bytes], tmp_path: Path):
    sync = 1
    while kill_and_resume(server, tmp_path / str(sync), run_config(world.root, training=SHORT), sync):
        assert outcome(tmp_path / str(sync)) == whole, f"after kill {sync}"
        sync += 1
    assert sync > 30


@pytest.mark.slow
def test_killed_at_random_moments_again_and_again(server: Server, tmp_path: Path):
    """LightGCN, on a split with cold items, so that the graph and the second ranking come back too."""
    world = write_world(tmp_path / "world", users=200, items=80)
    config = run_config(
        world.root,
        data={"dataset": str(world.root), "split": {"name": "cold_items", "ratio": 0.2}},
        model={"name": "lightgcn", "dim": 16, "layers": 2},
        training={**SHORT, "epochs": 25, "batch_size": 64, "validate_every": 2, "checkpoint_every": 3, "patience": 0},
    )
    begun = time.monotonic()
    assert server.do("run", tmp_path / "whole", config) == "done"
    seconds = time.monotonic() - begun
    path, moments, kills = tmp_path / "broken", random.Random(5), 0
    for _ in range(100):
        process = server.start("resume" if (path / "config.yaml").exists() else "run", path, config)
        time.sleep(moments.uniform(0.05, 0.6) * seconds)
        with contextlib.suppress(ProcessLookupError):  # it had just ended
            os.kill(process, signal.SIGKILL)
        if (ended := server.wait()) == "done":
            break
        assert ended == "killed"
        kills += 1
    assert kills >= 2
    assert outcome(path) == outcome(tmp_path / "whole")
    assert (path / "per_user_cold.parquet").read_bytes() == (tmp_path / "whole" / "per_user_cold.parquet").read_bytes()


def test_a_complete_run_says_so(world: Dataset, tmp_path: Path):
    done = run(run_config(world.root), out=tmp_path / "run")
    assert not done.was_complete
    before = outcome(done.path)
    again = resume(done.path)
    assert again.was_complete
    assert again.result == done.result
    assert outcome(done.path) == before
    (done.path / "report.html").unlink()
    assert resume(done.path).report.exists()


@pytest.fixture
def plain_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages have tests of their own, and take longer to draw than these runs take."""
    monkeypatch.setattr("sensorium.experiments.report.write_report", lambda path: write_text(path / "report.html", ""))


@pytest.mark.usefixtures("plain_pages")
def test_two_processes_on_one_run(world: Dataset, tmp_path: Path):
    """The second one is told who holds the run, and changes nothing."""
    config = run_config(world.root)
    directory = RunDirectory.create(tmp_path / "run", {"kind": "recommend", **config})
    with directory.lock(), pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        resume(directory.path)
    assert resume(directory.path).result["training"]["epochs"] == 6


@pytest.mark.usefixtures("plain_pages")
def test_a_run_never_goes_on_with_other_data(tmp_path: Path):
    world = write_world(tmp_path / "world")
    config = run_config(world.root)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sensorium.experiments.recommending.measure_test", stop)
        with pytest.raises(KeyboardInterrupt):
            run(config, out=tmp_path / "run")
    world.root.rename(tmp_path / "elsewhere")
    write_world(tmp_path / "world", users=61)
    with pytest.raises(RunError, match="other users, items or interactions"):
        resume(tmp_path / "run")
    assert RunDirectory.open(tmp_path / "run").result is None


@pytest.mark.usefixtures("plain_pages")
def test_resume_from_another_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A data set that was named by a relative path is found again."""
    write_world(tmp_path / "world")
    monkeypatch.chdir(tmp_path)
    done = run(run_config(Path("world")), out="run")
    (done.path / "result.json").unlink()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert resume(tmp_path / "run").result == done.result
    assert read_json(tmp_path / "run" / "data.json")["root"] == str(tmp_path / "world")
