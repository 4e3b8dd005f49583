"""The texture's own gradient steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sensorium.core.errors import DataError

pytest.importorskip("numba")
pytest.importorskip("xatlas")
from sensorium.lifting.camera import orbit
from sensorium.lifting.meshrender import render_mesh
from sensorium.lifting.refinement import picture_loss, refine
from sensorium.lifting.texture import Observation

from .made import ball_mesh, painted, psnr, red_front


def pictures(mesh, azimuths=(0, 90, 180, 270), side: int = 64) -> list[Observation]:
    cameras = [orbit(-20, azimuth, height=side, width=side) for azimuth in azimuths]
    seen = [render_mesh(mesh, camera, supersample=1) for camera in cameras]
    return [
        Observation(camera, view.rgb.numpy(), view.alpha.numpy() > 0)
        for camera, view in zip(cameras, seen, strict=True)
    ]


def test_a_grey_texture_becomes_that_of_the_pictures() -> None:
    truth = painted(ball_mesh(16), red_front, 64)
    grey = replace(truth, albedo=np.full_like(truth.albedo, 0.5))
    loss = picture_loss(grey, pictures(truth))
    refined = refine(grey, loss, steps=25, rate=0.4)
    view = orbit(-10, 20, height=64, width=64)
    wanted = render_mesh(truth, view).rgb.numpy()
    before, after = (psnr(render_mesh(mesh, view).rgb.numpy(), wanted) for mesh in (grey, refined))
    assert after > before + 8
    assert refined.albedo.min() >= 0
    assert refined.albedo.max() <= 1
    assert np.array_equal(refined.v, grey.v)


def test_steps_of_nothing_leave_the_texture() -> None:
    truth = painted(ball_mesh(12), red_front, 64)
    same = refine(truth, lambda texture, step: texture.sum() * 0, steps=3)
    assert np.abs(same.albedo - truth.albedo).max() < 1e-5


def test_a_loss_that_is_not_finite_and_pictures_of_nothing_are_said() -> None:
    mesh = painted(ball_mesh(12), red_front, 64)
    with pytest.raises(DataError, match="not finite at step 0"):
        refine(mesh, lambda texture, step: texture.sum() * torch.tensor(float("nan")), steps=1)
    nothing = [replace(view, valid=np.zeros_like(view.valid)) for view in pictures(mesh)]
    with pytest.raises(DataError, match="no picture shows the mesh"):
        picture_loss(mesh, nothing)
