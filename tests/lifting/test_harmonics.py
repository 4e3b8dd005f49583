"""Spherical harmonics: orthonormal, and colours that turn with the camera."""

import math

import pytest
import torch

from sensorium.core.errors import ConfigError
from sensorium.core.seeds import torch_generator
from sensorium.lifting.camera import orbit
from sensorium.lifting.cloud import SH_C0, GaussianCloud, ball
from sensorium.lifting.harmonics import basis, seen_colours


def test_the_basis_is_orthonormal_over_the_sphere() -> None:
    draw = torch_generator(0, "sphere")
    directions = torch.nn.functional.normalize(torch.randn(400_000, 3, generator=draw, dtype=torch.float64), dim=1)
    values = torch.cat([torch.full((len(directions), 1), SH_C0, dtype=torch.float64), basis(directions, 3)], 1)
    torch.testing.assert_close(
        4 * math.pi * values.T @ values / len(values), torch.eye(16, dtype=torch.float64), atol=0.03, rtol=0
    )


def test_degree_one_shines_from_one_side() -> None:
    rest = torch.zeros(1, 3, 3)
    rest[:, 1] = 1.0  # the coefficient of z
    cloud = GaussianCloud(**{**ball(1, seed=0).tensors(), "means": torch.zeros(1, 3), "sh_rest": rest})
    front = seen_colours(cloud, orbit(0, 0, height=8, width=8), 1)  # seen along -z
    back = seen_colours(cloud, orbit(0, 180, height=8, width=8), 1)
    shade = math.sqrt(3 / (4 * math.pi))
    torch.testing.assert_close(front, torch.full((1, 3), 0.5 - shade).clamp_min(0))
    torch.testing.assert_close(back, torch.full((1, 3), 0.5 + shade))
    torch.testing.assert_close(seen_colours(cloud, orbit(0, 0, height=8, width=8), 0), torch.full((1, 3), 0.5))


def test_a_degree_beyond_the_clouds_gives_what_it_has_and_beyond_three_is_refused() -> None:
    cloud, camera = ball(4, seed=0), orbit(0, 0, height=8, width=8)
    assert torch.equal(seen_colours(cloud, camera, 3), cloud.colours)
    with pytest.raises(ConfigError, match="degree 3"):
        seen_colours(cloud, camera, 4)
