"""Photographs in a folder become a cloud by `run`, and by `resume` where it was killed."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from sensorium.core.errors import DataError
from sensorium.core.rundir import RunDirectory
from sensorium.experiments import jobs
from sensorium.experiments.run import resume, run
from sensorium.lifting.files.ply import read_ply
from sensorium.lifting.photographs import read_photographs
from sensorium.lifting.splat_job import SplatJob
from sensorium.testing.scenes import photographs


class Death(BaseException):
    """Stands for a signal that nothing can catch."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(jobs.JOBS, "splat", "sensorium.lifting.splat_job:SplatJob")
    made = tmp_path / "cube <b>"
    made.mkdir()
    directions = [(elevation, azimuth) for elevation in (-30, 15) for azimuth in (0, 90, 180, 270)]
    for direction, view in zip(directions, photographs("cube", directions, 32), strict=True):
        image = Image.fromarray(np.rint(view.rgb * 255).astype(np.uint8))
        image.save(made / f"{direction[0]}_{direction[1]}.png")
    return made


def config(folder: Path) -> dict[str, object]:
    rates = {"sh_dc": 0.05}
    density = {"final_scale": 0.5}  # so few Gaussians are large
    optimisation = {"iterations": 90, "record_every": 10, "checkpoint_every": 40, "rates": rates, "density": density}
    return {
        "kind": "splat",
        "photographs": str(folder),
        "side": None,
        "hold_out": 3,
        "fit": {"points": 200, "optimisation": optimisation},
    }


def test_a_folder_becomes_a_cloud_and_a_killed_run_the_same_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(config(folder), out=tmp_path / "whole")
    assert whole.result["held_out"]["photographs"] == ["-30_270.png", "15_180.png"]
    assert whole.result["held_out"]["psnr"] > whole.result["held_out"]["psnr_before"]
    assert len(read_ply(whole.path / "cloud.ply")) == whole.result["gaussians"]
    page = whole.report.read_text()
    assert "cube &lt;b&gt;" in page
    assert "<b>" not in page

    sync, seen = os.fsync, 0

    def dying(descriptor: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 16:  # amid the records after the first checkpoint
            raise Death
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", dying)
    with pytest.raises(Death):
        run(config(folder), out=tmp_path / "killed")
    monkeypatch.setattr(os, "fsync", sync)
    killed = RunDirectory.open(tmp_path / "killed")
    assert 0 < len(killed.records("metrics.jsonl")) < 9
    assert killed.result is None
    assert resume(killed.path).result == whole.result
    for name in ("metrics.jsonl", "cloud.ply", "report.html"):
        assert (killed.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    assert resume(killed.path).was_complete


def test_names_say_where_the_camera_stood(folder: Path) -> None:
    views = read_photographs(folder)
    assert list(views)[:2] == ["-30_0.png", "-30_180.png"]
    np.testing.assert_allclose(views["-30_0.png"].camera.position, [0, 1, np.sqrt(3)], atol=1e-12)
    np.testing.assert_allclose(views["15_90.png"].rgb, photographs("cube", [(15, 90)], 32)[0].rgb, atol=1 / 255)
    assert read_photographs(folder, side=16)["-30_0.png"].rgb.shape == (16, 16, 3)


def test_what_is_no_folder_of_photographs_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        read_photographs(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no photograph"):
        read_photographs(tmp_path / "empty")
    (folder / "front.png").write_bytes((folder / "-30_0.png").read_bytes())
    with pytest.raises(DataError, match=r"front\.png.*<elevation>_<azimuth>"):
        read_photographs(folder)


def test_the_configuration_in_the_documents_is_valid() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "methods" / "gaussian-splatting.md"
    (block,) = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    checked = SplatJob.Config.model_validate(yaml.safe_load(block))
    assert checked.fit.optimisation.density.max_points == 12_000


def test_holding_out_everything_is_refused(folder: Path) -> None:
    job = SplatJob(SplatJob.Config.model_validate({**config(folder), "hold_out": 1}))
    with pytest.raises(DataError, match="leaves no photograph"):
        job.prepare(None)
