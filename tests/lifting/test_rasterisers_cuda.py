"""The adapters to CUDA packages, against doubles that take their arguments and draw with the reference: cameras,
colours, backgrounds and gradients are handed over as those packages define them."""

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from sensorium.core.errors import ConfigError
from sensorium.lifting import projection
from sensorium.lifting.camera import Camera, from_opencv, orbit
from sensorium.lifting.cloud import SH_C0, GaussianCloud
from sensorium.lifting.rasterisers import torch_reference
from sensorium.lifting.rasterisers.gsplat_cuda import GsplatRasteriser
from sensorium.lifting.rasterisers.gswarp_cuda import GswarpRasteriser
from sensorium.lifting.rasterisers.torch_reference import TorchRasteriser
from sensorium.testing.rasterisers import check_reference, random_cloud, random_view


class Gsplat(GsplatRasteriser):
    device_types = frozenset({"cpu"})


class Gswarp(GswarpRasteriser):
    device_types = frozenset({"cpu"})


def as_cloud(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor) -> GaussianCloud:
    return GaussianCloud(means, scales.log(), quats, torch.logit(opacities), (colours - 0.5) / SH_C0)


def draw(
    cloud: GaussianCloud, camera: Camera, near: float, batches: list[Tensor], added: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw on black with the reference, through centres that are kept as a batch of one, or moved by nothing."""

    def through(*arguments: Any, **options: Any) -> projection.Projection:
        seen = projection.project(*arguments, **options)
        batch = seen.means[None] * 1.0
        batches.append(batch)
        means = batch[0] if added is None else seen.means + added
        return replace(seen, means=means)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_reference, "project", through)
        out = TorchRasteriser().render(cloud, camera, bg=(0, 0, 0), near=near, want=("rgb", "alpha", "depth"))
    assert out.depth is not None
    return out.rgb, out.alpha, out.depth


def rasterization(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor, views: Tensor, Ks: Tensor,
    width: int, height: int, **options: Any,
) -> tuple[Tensor, Tensor, dict[str, Any]]:  # fmt: skip
    """The function of gsplat 1.5 with one camera."""
    assert options["packed"] is False
    assert options["rasterize_mode"] == "classic"
    assert Ks[0, 0, 0] == Ks[0, 1, 1]
    assert Ks[0, :2, 2].tolist() == [width / 2, height / 2]
    camera = from_opencv(views[0].numpy(), Ks[0].numpy(), height, width)
    batches: list[Tensor] = []
    rgb, alpha, depth = draw(as_cloud(means, quats, scales, opacities, colours), camera, options["near_plane"], batches)
    channels = [rgb, depth[..., None]] if options["render_mode"] == "RGB+D" else [rgb]
    details = {"means2d": batches[0], "flatten_ids": torch.zeros(7)}
    return torch.cat(channels, -1)[None], alpha[None, ..., None], details


class Settings(NamedTuple):
    """The settings of gswarp 1.1 that are handed over."""

    image_height: int
    image_width: int
    tanfovx: float
    tanfovy: float
    bg: Tensor
    scale_modifier: float
    viewmatrix: Tensor
    projmatrix: Tensor
    sh_degree: int
    campos: Tensor
    prefiltered: bool
    auto_tune_verbose: bool


class Rasterizer:
    """The module of gswarp 1.1: row-vector matrices, a picture of [3, H, W], `means2D` in units of half the picture."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(
        self,
        *,
        means3D: Tensor,
        means2D: Tensor,
        opacities: Tensor,
        colors_precomp: Tensor,
        scales: Tensor,
        rotations: Tensor,
    ) -> tuple[Tensor, None, Any]:
        asked = self.settings
        view = asked.viewmatrix.T.double().numpy()
        focal = asked.image_height / 2 / asked.tanfovy
        assert asked.image_width / 2 / asked.tanfovx == pytest.approx(focal)
        camera = from_opencv(
            view, torch.diag(torch.tensor([focal, focal, 1.0])).numpy(), asked.image_height, asked.image_width
        )
        torch.testing.assert_close(asked.campos, torch.tensor(camera.position).float(), atol=1e-6, rtol=0)
        # A point of the world through the projection lies where the camera sees it.
        clip = torch.tensor([0.1, 0.2, 0.05, 1.0]) @ asked.projmatrix
        pixel, _ = camera.project([[0.1, 0.2, 0.05]])
        assert ((clip[0] / clip[3] + 1) * asked.image_width / 2).item() == pytest.approx(pixel[0, 0], abs=1e-3)
        assert ((clip[1] / clip[3] + 1) * asked.image_height / 2).item() == pytest.approx(pixel[0, 1], abs=1e-3)
        moved = (means2D - means2D.detach())[:, :2] * torch.tensor([asked.image_width / 2, asked.image_height / 2])
        cloud = as_cloud(means3D, rotations, scales, opacities[:, 0], colors_precomp)
        rgb, alpha, depth = draw(cloud, camera, 0.2, [], added=moved)
        return rgb.permute(2, 0, 1), None, SimpleNamespace(alpha=alpha[None], depth=depth[None])


@pytest.fixture(autouse=True)
def doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsplat", SimpleNamespace(rasterization=rasterization))
    monkeypatch.setitem(
        sys.modules, "gswarp", SimpleNamespace(GaussianRasterizer=Rasterizer, GaussianRasterizationSettings=Settings)
    )


@pytest.mark.parametrize("adapter", [Gsplat(), Gswarp()])
def test_pictures_and_gradients_are_those_of_the_reference(adapter: GsplatRasteriser | GswarpRasteriser) -> None:
    check_reference(adapter, "cpu", random_cloud(80, 0), random_view(0, 33, 47))


@pytest.mark.parametrize("adapter", [Gsplat(), Gswarp()])
def test_no_gaussians_leave_the_background(adapter: GsplatRasteriser | GswarpRasteriser) -> None:
    out = adapter.render(
        random_cloud(3, 0)[:0], orbit(0, 0, height=4, width=6), bg=(0.1, 0.2, 0.3), want=("rgb", "depth")
    )
    assert out.rgb.shape == (4, 6, 3)
    assert out.depth is not None
    torch.testing.assert_close(out.rgb[0, 0], torch.tensor([0.1, 0.2, 0.3]))


def test_what_gswarp_has_compiled_in_cannot_be_asked_otherwise() -> None:
    for options in ({"near": 0.1}, {"eps2d": 0.1}, {"antialias": True}):
        with pytest.raises(ConfigError, match="gswarp"):
            Gswarp().render(random_cloud(3, 0), random_view(0, 8, 8), bg=(0, 0, 0), **options)  # type: ignore[arg-type]
