"""Fits to known views: they come near, they stay within their limits, a killed one goes on to the same numbers."""

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.core.errors import ConfigError, DataError, RunError, TrainingError
from sensorium.core.rundir import RunDirectory
from sensorium.lifting.camera import orbit
from sensorium.lifting.cloud import GaussianCloud, ball
from sensorium.lifting.fitting import FitConfig, View, fit
from sensorium.lifting.optimisation import DensityConfig, OptimisationConfig, RatesConfig, StepOutcome, optimise
from sensorium.lifting.optimisation.checkpoint import STATE
from sensorium.testing.scenes import photographs

FRONT = [(0, 0), (0, 90), (0, 180), (0, 270)]


def config(iterations: int, *, points: int = 60, record_every: int = 5, **density: object) -> FitConfig:
    return FitConfig(
        points=points,
        optimisation=OptimisationConfig(
            iterations=iterations,
            record_every=record_every,
            checkpoint_every=4 * record_every,
            density=DensityConfig(**{"interval": 10, "start": 10, "threshold": 1e-6, **density}),
        ),
    )


def flat(rgb: np.ndarray, side: int = 32) -> list[View]:
    return [View(orbit(0, azimuth, height=side, width=side), rgb.astype(np.float32)) for azimuth in (0, 120, 240)]


def test_a_cube_is_recognised_from_sides_that_were_not_fitted() -> None:
    """300 Gaussians, 12 fixed views of 64 x 64 pixels, 200 steps."""
    train = photographs(
        "cube", [(elevation, azimuth) for elevation in (-30, 0, 25) for azimuth in (0, 90, 180, 270)], 64
    )
    heldout = photographs("cube", [(-15, 45), (10, 200), (-40, 300)], 64)
    density = DensityConfig(interval=50, start=50, max_points=1000)
    optimisation = OptimisationConfig(iterations=200, density=density, rates=RatesConfig(sh_dc=0.03))
    settings = FitConfig(points=300, optimisation=optimisation)
    result = fit(train, settings, heldout=heldout)
    assert result.heldout_psnr is not None
    assert result.begin_heldout_psnr is not None
    assert result.heldout_psnr > result.begin_heldout_psnr + 6


def test_numbers_grow_on_fine_detail_and_stop_at_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    """L3-7, the white-noise picture: growth without end."""
    noise = np.random.default_rng(0).uniform(0, 1, (32, 32, 3))
    with caplog.at_level(logging.INFO, logger="sensorium"):
        result = fit(flat(noise), config(120, max_points=150))
    assert len(result.cloud) <= 150
    assert any("max_points" in note for note in result.optimised.notes)
    assert sum("max_points" in record.getMessage() for record in caplog.records) == 1
    unlimited = fit(flat(noise), config(75, max_points=20_000))
    assert len(unlimited.cloud) > 2 * 60


def test_a_cloud_that_nothing_asks_for_never_vanishes() -> None:
    """L3-7, the plain picture: everything fades, one Gaussian stays."""
    result = fit(flat(np.ones((32, 32, 3))), config(140, points=20, threshold=1e9, prune_opacity=0.2))
    assert len(result.cloud) == 1
    assert any("most opaque" in note for note in result.optimised.notes)


@pytest.mark.slow
@pytest.mark.parametrize("picture", ["noise", "disc"])
def test_five_hundred_steps_stay_within_the_limits(picture: str, tmp_path: Path) -> None:
    """L3-7: 500 steps on white noise and on a grey disc, flat memory."""
    rows, columns = np.mgrid[:32, :32] - 15.5
    disc = np.where((rows**2 + columns**2 < 100)[..., None], 0.5, 1.0) * np.ones(3)
    target = np.random.default_rng(0).uniform(0, 1, (32, 32, 3)) if picture == "noise" else disc
    settings = config(500, points=100, interval=50, start=50, threshold=1e-4, max_points=400, record_every=25)
    run = RunDirectory.create(tmp_path / "run", {"kind": "splat"})
    fit(flat(target), settings, run=run)
    points = [line["points"] for line in run.records("metrics.jsonl")]
    memory = [line["peak_memory_bytes"] for line in run.records("timing.jsonl")]
    assert len(points) == 20
    assert all(1 <= count <= 400 for count in points)
    assert memory[-1] < 1.1 * memory[4]


# --- runs -----------------------------------------------------------------------------------------------------------


def lines(path: Path) -> list[str]:
    return (path / "metrics.jsonl").read_text().splitlines()


SCRIPT = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from sensorium.core.rundir import RunDirectory
    from sensorium.lifting import fitting
    from sensorium.lifting.optimisation import DensityConfig, OptimisationConfig
    from sensorium.testing.scenes import photographs

    path, last = Path(sys.argv[1]), int(sys.argv[2])
    judge = fitting._KnownViews.__call__

    def dying(self, cloud, step):
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return judge(self, cloud, step)

    fitting._KnownViews.__call__ = dying
    density = DensityConfig(interval=10, start=10, threshold=1e-6)
    settings = fitting.FitConfig(points=60, optimisation=OptimisationConfig(
        iterations=75, record_every=5, checkpoint_every=20, density=density))
    if (path / "config.yaml").exists():
        run = RunDirectory.open(path)
    else:
        run = RunDirectory.create(path, {"kind": "splat"})
    fitting.fit(photographs("cube", [(0, 0), (0, 90), (0, 180), (0, 270)], 32), settings, seed=3, run=run)
    """
)


def test_a_killed_run_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    """Killed with -9 at step 53, after the split at 10 and 20 and the checkpoint at 40, then continued."""

    def start(path: Path, dies_at: int) -> int:
        return subprocess.run([sys.executable, "-c", SCRIPT, str(path), str(dies_at)], check=False).returncode

    assert start(tmp_path / "killed", 53) == -signal.SIGKILL
    assert len(lines(tmp_path / "killed")) == 10  # five lines more than the checkpoint's: they are done again
    settings = config(75)
    views = photographs("cube", FRONT, 32)
    killed = RunDirectory.open(tmp_path / "killed")
    resumed = fit(views, settings, seed=3, run=killed)
    whole = RunDirectory.create(tmp_path / "whole", {"kind": "splat"})
    straight = fit(views, settings, seed=3, run=whole)
    assert lines(killed.path) == lines(whole.path)
    for name, value in straight.cloud.tensors().items():
        assert torch.equal(resumed.cloud.tensors()[name], value), name
    assert len({json.loads(line)["points"] for line in lines(whole.path)}) > 2  # it grew on the way


class Death(BaseException):
    """Stands for a signal that nothing can catch."""


@pytest.mark.parametrize("flush", [1, 4, 6, 9, 13])
def test_a_run_may_die_at_any_write(flush: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, views = config(45), photographs("cube", FRONT, 32)
    whole = RunDirectory.create(tmp_path / "whole", {"kind": "splat"})
    straight = fit(views, settings, run=whole)
    run = RunDirectory.create(tmp_path / "dies", {"kind": "splat"})
    sync, seen = os.fsync, 0

    def dying(descriptor: int) -> None:
        nonlocal seen
        seen += 1
        if seen == flush:
            raise Death
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", dying)
    with pytest.raises(Death):
        fit(views, settings, run=run)
    monkeypatch.setattr(os, "fsync", sync)
    resumed = fit(views, settings, run=RunDirectory.open(run.path))
    assert lines(run.path) == lines(whole.path)
    assert torch.equal(resumed.cloud.means, straight.cloud.means)


def test_a_run_of_other_pictures_is_not_continued(tmp_path: Path) -> None:
    settings = config(20)
    run = RunDirectory.create(tmp_path / "run", {"kind": "splat"})
    fit(flat(np.ones((32, 32, 3))), settings, run=run)
    with pytest.raises(RunError, match="other pictures"):
        fit(flat(np.zeros((32, 32, 3))), settings, run=run)
    with pytest.raises(RunError, match="another seed"):
        fit(flat(np.ones((32, 32, 3))), settings, seed=1, run=run)
    assert (run.path / STATE).exists()


# --- refusals -------------------------------------------------------------------------------------------------------


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(DataError, match="no views"):
        fit([])
    with pytest.raises(DataError, match="has a picture of shape"):
        View(orbit(0, 0, height=8, width=8), np.zeros((8, 9, 3), np.float32))
    with pytest.raises(DataError, match="not finite"):
        View(orbit(0, 0, height=8, width=8), np.full((8, 8, 3), np.nan, np.float32))
    with pytest.raises(ConfigError, match="1 to max_points = 10"):
        fit(flat(np.ones((32, 32, 3))), config(20, max_points=10))
    with pytest.raises(ValueError, match="no multiple of record_every"):
        OptimisationConfig(record_every=7)


def test_a_loss_that_is_not_finite_stops_with_its_step_and_term() -> None:
    def objective(cloud: GaussianCloud, step: int) -> StepOutcome:
        return StepOutcome({"pull": cloud.means.sum() / (0.0 if step == 2 else 1.0)})

    with pytest.raises(TrainingError, match=r"step 3: .*pull"):
        optimise(ball(3, seed=0), objective, OptimisationConfig(iterations=5), seed=0)


def test_looks_and_resets_fall_on_their_steps() -> None:
    short, long = OptimisationConfig(iterations=500), OptimisationConfig(iterations=1500)
    assert [step for step in range(1, 501) if short.looks_at(step)] == [100, 200, 300, 400]
    assert not any(short.resets_at(step) for step in range(1, 501))
    assert [step for step in range(1, 1501) if long.resets_at(step)] == [700, 1400]
