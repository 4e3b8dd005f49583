"""The contract of rasterisers: it notices what is wrong."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from sensorium.lifting.camera import Camera
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.rasterisers import RenderOut
from sensorium.lifting.rasterisers.torch_reference import TorchRasteriser
from sensorium.testing.rasterisers import check_rasteriser
from sensorium.testing.subject import ContractError


class Broken(TorchRasteriser):
    """The reference, and one fault."""

    name = "broken"

    def __init__(self, fault: Callable[..., RenderOut]) -> None:
        super().__init__()
        self.fault = fault

    def render(self, cloud: GaussianCloud, camera: Camera, **options: Any) -> RenderOut:
        return self.fault(super().render, cloud, camera, **options)


def shifted_by_half_a_pixel(
    draw: Callable[..., RenderOut], cloud: GaussianCloud, camera: Camera, **options: Any
) -> RenderOut:
    moved = cloud.means + torch.tensor([0.5 * 2 / camera.focal, 0, 0], dtype=cloud.means.dtype)
    return draw(GaussianCloud(**{**cloud.tensors(), "means": moved}), camera, **options)


def reversed_rows(draw: Callable[..., RenderOut], cloud: GaussianCloud, camera: Camera, **options: Any) -> RenderOut:
    return draw(cloud[torch.arange(len(cloud) - 1, -1, -1)], camera, **options)


def without_gradient_of_opacity(
    draw: Callable[..., RenderOut], cloud: GaussianCloud, camera: Camera, **options: Any
) -> RenderOut:
    return draw(GaussianCloud(**{**cloud.tensors(), "opacity_logit": cloud.opacity_logit.detach()}), camera, **options)


def covered_background(
    draw: Callable[..., RenderOut], cloud: GaussianCloud, camera: Camera, **options: Any
) -> RenderOut:
    out = draw(cloud, camera, **options)
    return replace(out, rgb=out.rgb + 0.01 * out.alpha[..., None] * torch.as_tensor(options["bg"]))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (shifted_by_half_a_pixel, "closed form"),
        (reversed_rows, "equal depths"),
        (without_gradient_of_opacity, "the gradient of opacity_logit"),
        (covered_background, "background"),
    ],
)
def test_faults_are_found(fault: Callable[..., RenderOut], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_rasteriser(Broken(fault), seeds=(0,), counts=(30,))
