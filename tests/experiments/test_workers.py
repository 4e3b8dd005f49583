"""Work in processes of its own: what fails there is one sentence here."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sensorium.core.errors import DataError
from sensorium.experiments.workers import run_each


def work(piece: tuple[str, str]) -> None:
    """What the processes do: by the first word."""
    kind, folder = piece
    if kind == "refuse":
        raise DataError("the data are not there")
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "break":
        raise ZeroDivisionError
    if kind == "sleep":
        Path(folder, f"{os.getpid()}.pid").touch()
        time.sleep(120)
    Path(folder, "done").write_text(os.environ["OMP_NUM_THREADS"])


def test_each_piece_ends_by_itself(tmp_path: Path):
    pieces = [(kind, str(tmp_path)) for kind in ("refuse", "die", "break", "work")]
    before = os.environ.get("POLARS_MAX_THREADS")
    found = run_each(work, pieces, processes=2, threads=1, log_of=lambda piece: tmp_path / "logs" / piece[0])
    problems = {outcome.piece[0]: outcome.problem for outcome in found}
    assert problems["refuse"] == "the data are not there"
    assert "ended by SIGKILL" in str(problems["die"])
    assert str(tmp_path / "logs" / "break") in str(problems["break"])
    assert problems["work"] is None
    assert "ZeroDivisionError" in (tmp_path / "logs" / "break").read_text()
    assert not (tmp_path / "logs" / "work").exists()
    assert (tmp_path / "done").read_text() == "1"
    assert os.environ.get("POLARS_MAX_THREADS") == before


PARENT = """
import importlib.util, sys
from pathlib import Path
from sensorium.experiments.workers import run_each
from {module} import work
if __name__ == "__main__":
    list(run_each(work, [("sleep", sys.argv[1])] * 2, processes=2, threads=1, log_of=lambda piece: Path(sys.argv[1]) /
    "log"))
"""


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at /proc")
def test_when_the_parent_is_killed_its_children_end(tmp_path: Path):
    module = tmp_path / "pieces.py"
    module.write_text(Path(__file__).read_text())
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(module="pieces"))
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env={**os.environ, "PYTHONPATH": str(tmp_path)}
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    children = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(children) == 2
    parent.kill()
    parent.wait()
    while any(alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(child) for child in children)
