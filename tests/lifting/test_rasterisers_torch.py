"""The reference: its gradient against finite differences, tiles against brute force."""

import math

import pytest
import torch

from sensorium.core.errors import ConfigError
from sensorium.lifting.camera import orbit
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.rasterisers.torch_reference import TorchRasteriser
from sensorium.testing.rasterisers import check_rasteriser, random_cloud, random_view


def test_the_gradient_is_that_of_finite_differences() -> None:
    """float64, every attribute and the background, through rgb, alpha and depth.

    Six Gaussians wider than the picture with alpha of .03 to .6 at every pixel: away from the switches at 1/255, at .99
    and at a light of 1e-4."""
    draw = torch.Generator().manual_seed(0)
    camera = orbit(-20, 30, 2, height=12, width=12)
    cloud = GaussianCloud(
        means=0.25 * torch.randn(6, 3, generator=draw, dtype=torch.float64),
        log_scales=math.log(0.9) + 0.2 * torch.randn(6, 3, generator=draw, dtype=torch.float64),
        quats=torch.randn(6, 4, generator=draw, dtype=torch.float64),
        opacity_logit=0.3 * torch.randn(6, generator=draw, dtype=torch.float64) - 0.5,
        sh_dc=torch.randn(6, 3, generator=draw, dtype=torch.float64),
    )
    names = list(cloud.tensors())

    def draw_all(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out = TorchRasteriser().render(
            GaussianCloud(**dict(zip(names, values, strict=False))),
            camera,
            bg=values[-1],
            want=("rgb", "alpha", "depth"),
        )
        assert out.depth is not None
        return out.rgb, out.alpha, out.depth

    def mixed(*values: torch.Tensor) -> torch.Tensor:
        """Twenty random mixtures of all pixels: an error at any pixel shows in all of them."""
        rgb, alpha, depth = draw_all(*values)
        return mixtures @ torch.cat([rgb.flatten(), alpha.flatten(), depth.flatten()])

    mixtures = torch.randn(20, 12 * 12 * 5, generator=draw, dtype=torch.float64)
    values = [
        *cloud.leaves().tensors().values(),
        torch.tensor([0.2, 0.4, 0.9], dtype=torch.float64, requires_grad=True),
    ]
    alpha = draw_all(*values)[1]
    assert 0.2 < alpha.min() < alpha.max() < 0.999
    assert torch.autograd.gradcheck(mixed, values, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("count", "seed"), [(40, 0), (500, 1)])
def test_tiles_draw_what_brute_force_draws(count: int, seed: int) -> None:
    cloud, camera = random_cloud(count, seed), random_view(seed, 45, 61)
    pictures, gradients = [], []
    for tiled in (False, True):
        leaves = cloud.leaves()
        out = TorchRasteriser(tiled=tiled).render(leaves, camera, bg=(0.1, 0.2, 0.3), want=("rgb", "alpha", "depth"))
        assert out.depth is not None
        picture = torch.cat([out.rgb, out.alpha[..., None], out.depth[..., None]], -1)
        (picture * torch.linspace(-1, 1, picture.numel()).reshape(picture.shape)).sum().backward()
        pictures.append(picture.detach())
        gradients.append({name: value.grad for name, value in leaves.tensors().items()})
        assert (out.n_isect > 0) is tiled
    assert (pictures[0] - pictures[1]).abs().max() <= 1e-6
    for name, first in gradients[0].items():
        second = gradients[1][name]
        assert first is not None
        assert second is not None
        assert (first - second).norm() <= 1e-5 * first.norm(), name


def test_the_reference_keeps_the_contract() -> None:
    outcome = check_rasteriser("torch", seeds=(0,), counts=(300,))
    assert set(outcome.values()) == {"passed"}


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(ConfigError, match="normals"):
        TorchRasteriser().render(random_cloud(3, 0), random_view(0, 8, 8), bg=(0, 0, 0), want=("rgb", "normals"))


def test_a_background_that_is_no_colour_is_refused() -> None:
    with pytest.raises(ConfigError, match="three numbers"):
        TorchRasteriser().render(random_cloud(3, 0), random_view(0, 8, 8), bg=(0, 0))
