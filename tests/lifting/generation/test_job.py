"""A photo becomes an asset by `run`, and by `resume` where it was killed, to the same numbers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("numba")
pytest.importorskip("xatlas")
from sensorium.core.errors import ConfigError, DataError, RunError
from sensorium.core.files import read_json
from sensorium.core.rundir import RunDirectory
from sensorium.encoders.lpips import SHIPPED_SHA256
from sensorium.experiments.run import resume, run
from sensorium.lifting.files.meshes import read_mesh
from sensorium.lifting.files.ply import read_ply
from sensorium.lifting.generation import comparing, job, texturing
from sensorium.lifting.generation.config import LiftConfig
from sensorium.lifting.generation.job import LiftJob
from sensorium.lifting.generation.making import FIRST_STAGE

from .shapes import ELEVATION, CubeOracle, cutout_picture

ROOT = Path(__file__).resolve().parents[3]


class Death(BaseException):
    """Stands for a signal that nothing can catch."""


pytestmark = pytest.mark.usefixtures("known_cube")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "cube <b>.png"
    cutout_picture(48).save(path)
    return path


def config(photo: Path, **tree: object) -> dict[str, object]:
    optimisation = {"iterations": 30, "record_every": 5, "checkpoint_every": 10}
    return {
        "kind": "lift",
        "photo": str(photo),
        "elevation": ELEVATION,
        "preset": "test",
        "guidance": "cube-oracle",
        "sizes": {"points": 150, "known_side": 32, "novel_sides": [32], "optimisation": optimisation},
        "contrastive": {"weight": 100.0, "side": 64, "margin": 0.6},
        "mesh": {"resolution": 24, "texture": 64, "view_size": 32, "max_faces": 500},
        "output": {"frames": 3, "frame_side": 32},
        "texture": {"photo_side": 48},
        **tree,
    }


@pytest.fixture(scope="module")
def whole(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(config(photo), out=tmp_path_factory.mktemp("runs") / "whole").path


REPEATED = (
    "metrics.jsonl",
    "result.json",
    "cloud.ply",
    "mesh.glb",
    "turntable.gif",
    "views/180.png",
    "previews/00020.png",
)


def test_a_photo_becomes_an_asset(whole: Path) -> None:
    result = RunDirectory.open(whole).result
    assert result is not None
    assert result["guidance"] == "oracle"
    assert result["contrastive"]
    assert result["reference_view"]["mesh"]["psnr"] > 12
    assert result["photo"]["cut_out_by"] == "transparency"
    assert result["mesh"]["watertight"]
    assert len(read_ply(whole / "cloud.ply")) == result["gaussians"]
    assert len(read_mesh(whole / "mesh.glb").f) == result["mesh"]["faces"]
    assert len(list((whole / "views").iterdir())) == 8
    assert [file.name for file in sorted((whole / "previews").iterdir())] == ["00010.png", "00020.png", "00030.png"]
    records = RunDirectory.open(whole).records("metrics.jsonl")
    assert [record["step"] for record in records] == [5, 10, 15, 20, 25, 30, 10]
    assert records[2]["loss"]["contrastive"] > 0  # so that what it remembers matters for the rest
    assert records[-1]["stage"] == "texture"
    page = (whole / "report.html").read_text()
    assert "guidance: oracle" in page
    assert "cube &lt;b&gt;" in page
    assert "<b>" not in page


@pytest.mark.parametrize("moment", ["shape", pytest.param("export", marks=pytest.mark.slow)])
def test_a_killed_run_ends_the_same(
    whole: Path, photo: Path, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "killed"
    with monkeypatch.context() as patched:
        if moment == "shape":
            sync, seen = os.fsync, 0

            def dying(descriptor: int) -> None:
                nonlocal seen
                seen += (path / "checkpoint" / "state.safetensors").exists()
                if seen == 9:  # a few records after the first checkpoint, in the middle of a write
                    raise Death
                sync(descriptor)

            patched.setattr(os, "fsync", dying)
        else:

            def dead(*arguments: object, **options: object) -> None:
                raise Death

            patched.setattr(job, "write_turntable", dead)
        with pytest.raises(Death):
            run(config(photo), out=path)
    run_directory = RunDirectory.open(path)
    assert run_directory.result is None
    assert not (path / "report.html").exists()
    assert (path / "cloud.ply").exists() == (moment != "shape")
    if (path / "mesh.glb").exists():  # what can be seen is whole
        assert moment == "export"
        read_mesh(path / "mesh.glb")
    resume(path)
    for name in REPEATED:
        assert (path / name).read_bytes() == (whole / name).read_bytes(), name


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from sensorium.core import registry
from sensorium.experiments.run import run
from sensorium.lifting.guidance.base import GROUP
from generation.shapes import CubeOracle
if __name__ == "__main__":
    with registry.registered(GROUP, "cube-oracle", CubeOracle):
        run({config!r}, out={out!r})
"""


@pytest.mark.slow
def test_kill_9(whole: Path, photo: Path, tmp_path: Path) -> None:
    """A real signal, some time after the first checkpoint: wherever it hits, the run goes on to the same numbers. Those
    in chosen places are in test_killing.py."""
    out = tmp_path / "killed"
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(tests=str(ROOT / "tests" / "lifting"), config=config(photo), out=str(out)))
    process = subprocess.Popen([sys.executable, str(program)], stderr=subprocess.DEVNULL)
    while not (out / "checkpoint" / "state.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resume(out)
    for name in ("metrics.jsonl", "result.json", "mesh.glb"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_another_photo_is_not_the_same_run(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine.png"
    mine.write_bytes(photo.read_bytes())

    def dead(*arguments: object, **options: object) -> None:
        raise Death

    with monkeypatch.context() as patched:
        patched.setattr(job, "write_preview", lambda folder, cloud, step, elevation: dead() if step == 20 else None)
        with pytest.raises(Death):
            run(config(mine), out=tmp_path / "run")
    assert (tmp_path / "run" / "checkpoint" / "state.safetensors").exists()
    cutout_picture(40).save(mine)
    with pytest.raises(RunError, match="other pictures"):
        resume(tmp_path / "run")


@pytest.mark.parametrize("other", ["photo", "guidance"])
def test_a_first_stage_is_not_dressed_as_another(
    photo: Path, tmp_path: Path, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between its stages, a run does not go on with another photo or prior; its pictures stay."""
    mine, path = tmp_path / "mine.png", tmp_path / "run"
    mine.write_bytes(photo.read_bytes())

    def dead(*arguments: object, **options: object) -> None:
        raise Death

    with monkeypatch.context() as patched:
        patched.setattr(texturing, "make_mesh", dead)
        with pytest.raises(Death):
            run(config(mine), out=path)
    before = {file.name: file.read_bytes() for file in (path / "reference.png", path / "cloud.ply")}
    assert (path / FIRST_STAGE).exists()
    if other == "photo":
        cutout_picture(40).save(mine)
    else:
        monkeypatch.setattr(CubeOracle, "identity", lambda self: "another cube")
    with pytest.raises(RunError, match="was done with another photo"):
        resume(path)
    assert {file.name: file.read_bytes() for file in (path / "reference.png", path / "cloud.ply")} == before


def test_what_is_refused_leaves_no_folder(photo: Path, tmp_path: Path) -> None:
    for tree, error, message in [
        ({"elevation": 85.0}, ConfigError, "elevation 85"),
        ({"photo": str(tmp_path / "none.png")}, Exception, "no such file"),
        ({"guidance": {"name": "view-prior", "weights": "none.safetensors"}}, DataError, "does not exist"),
    ]:
        with pytest.raises(error, match=message):
            run({**config(photo), **tree}, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_both_arms_are_compared(whole: Path, photo: Path, tmp_path: Path) -> None:
    tree = config(photo)

    def finish(asked: dict[str, object], path: Path) -> dict[str, object]:
        path.mkdir(parents=True)
        (path / "views").mkdir()
        for file in (whole / "views").iterdir():
            (path / "views" / file.name).write_bytes(file.read_bytes())
        result = RunDirectory.open(whole).result
        assert result is not None
        checked = LiftConfig.model_validate(asked)
        return {**result, "seed": checked.seed, "contrastive": checked.contrastive.weight > 0}

    compared = comparing.compare(tree, [3, 4], tmp_path / "both", finish)
    assert {arm: [(seed, one["seed"], one["contrastive"]) for seed, one in found.items()]
            for arm, found in compared.results.items()} == {
        "base": [(3, 3, False), (4, 4, False)], "contrastive": [(3, 3, True), (4, 4, True)]
    }  # fmt: skip
    assert [row[:2] for row in compared.table()] == [["base", "2"], ["contrastive", "2"]]
    assert "cube &lt;b&gt;" in (tmp_path / "both" / "compare.html").read_text()


def test_what_computed_it_stands_beside_it(whole: Path) -> None:
    """Versions of this room's packages, back-ends, and the weights in use; no path of this machine."""
    environment = read_json(whole / "environment.json")
    assert environment["packages"]["numba"]
    assert environment["packages"]["torch"]
    assert (environment["device"], environment["rasteriser"]) == ("cpu", "numba")
    weights = environment["weights"]
    assert weights["lpips"] == {"name": "alexnet", "files": {"lpips_alexnet.safetensors": SHIPPED_SHA256}}
    assert weights["guidance"] == {"name": "oracle", "files": {}}
    assert weights["segmentation"] == {"name": "transparency", "files": {}}
    assert str(whole.parents[1]) not in (whole / "environment.json").read_text()
    result = RunDirectory.open(whole).result
    assert result is not None
    assert result["similarity"] == {"absent": {"dino_sim": "not asked for", "clip_sim": "not asked for"}}


def test_the_folder_says_what_it_is(photo: Path) -> None:
    mine = LiftJob(LiftConfig.model_validate(config(photo)))
    other = LiftJob(LiftConfig.model_validate(config(photo, contrastive={"weight": 0.0})))
    assert mine.folder_name().startswith("cube <b>-lift-0-")
    assert mine.folder_name() != other.folder_name()
