"""`kill -9` in stage 1, in meshing, in stage 2 and amid a file: nothing half-written is ever seen, and the run goes on
to the numbers of one that nobody disturbed. The photo is an array, which the run's folder has to keep."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("numba")
pytest.importorskip("xatlas")
from sensorium.core.files import read_json, read_safetensors
from sensorium.core.rundir import RunDirectory
from sensorium.experiments.run import resume
from sensorium.lifting.files.meshes import read_mesh
from sensorium.lifting.files.ply import read_ply

from .shapes import ELEVATION, cutout_picture

MOMENTS = ["stage 1", "meshing", "stage 2", "mesh.glb", "views/180.png"]
CONFIG = {
    "kind": "lift",
    "elevation": ELEVATION,
    "preset": "test",
    "guidance": "cube-oracle",
    "sizes": {
        "points": 100,
        "known_side": 32,
        "novel_sides": [32],
        "optimisation": {"iterations": 12, "record_every": 2, "checkpoint_every": 4},
    },
    "mesh": {"resolution": 24, "texture": 64, "view_size": 32, "max_faces": 300},
    "output": {"frames": 2, "frame_side": 32},
    "texture": {"steps": 20, "photo_side": 48},
}
# A run's clock and the versions that compute it need not repeat.
DIFFER = {"timing.jsonl", "environment.json", "lock", "report.html"}


pytestmark = pytest.mark.usefixtures("known_cube")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that were killed, by moment, and "whole", the one that was not."""
    folder = tmp_path_factory.mktemp("killed")
    np.save(folder / "pixels.npy", np.asarray(cutout_picture(48)))
    runs = {moment: folder / f"run{number}" for number, moment in enumerate(MOMENTS)}
    asked = {
        "config": CONFIG,
        "photo": str(folder / "pixels.npy"),
        "whole": str(folder / "whole"),
        "runs": {moment: str(path) for moment, path in runs.items()},
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("killed.py")), json.dumps(asked)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == dict.fromkeys(MOMENTS, int(signal.SIGKILL)), done.stderr
    return {**runs, "whole": folder / "whole"}


def visible(folder: Path) -> dict[str, Path]:
    """The files that anybody sees, by their place below the folder."""
    return {
        str(path.relative_to(folder)): path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def check_whole(path: Path) -> None:
    """Read a file to its end."""
    if path.suffix in (".png", ".gif"):
        with Image.open(path) as image:
            image.load()
    elif reads := {".ply": read_ply, ".glb": read_mesh, ".json": read_json, ".safetensors": read_safetensors}.get(
        path.suffix
    ):
        reads(path)


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_9_changes_nothing(runs: dict[str, Path], moment: str) -> None:
    path, whole = runs[moment], runs["whole"]
    there = visible(path)
    for file in there.values():
        check_whole(file)
    assert "result.json" not in there
    assert "report.html" not in there
    stage = MOMENTS.index(moment)
    assert "checkpoint/state.safetensors" in there
    assert ("cloud.ply" in there) == (stage >= 1)
    assert ("mesh.glb" in there) == (moment == "views/180.png")
    steps = [record["step"] for record in RunDirectory.open(path).records("metrics.jsonl")]
    shaped = [2, 4, 6, 8, 10, 12]
    assert steps == [shaped[:-1], shaped, [*shaped, 10], [*shaped, 10, 20], [*shaped, 10, 20]][stage]
    begun = [file.name for file in path.rglob(".*.tmp")]
    assert bool(begun) == (stage >= 3), begun

    result = resume(path).result
    assert result == RunDirectory.open(whole).result
    mine, undisturbed = visible(path), visible(whole)
    assert set(mine) == set(undisturbed)
    for name in set(mine) - DIFFER:
        assert mine[name].read_bytes() == undisturbed[name].read_bytes(), name
    assert not list(path.rglob(".*.tmp"))
