"""The distance without a network: written out, and its value at 50 degrees measured again."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.encoders.lpips import LPIPS
from sensorium.encoders.lpips_pyramid import AT_FIFTY, LEVELS, Pyramid


def pictures(seed: int, side: int = 32, count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def written_out(first: np.ndarray, second: np.ndarray) -> float:
    """Level by level with explicit indices, for sides that halve evenly; float64 [3, s, s]."""

    def smaller(g: np.ndarray) -> np.ndarray:
        side = g.shape[1]
        near = [np.clip(np.arange(side) + shift, 0, side - 1) for shift in (-1, 0, 1)]
        across = sum(w * g[:, :, at] for w, at in zip((1, 2, 1), near, strict=True)) / 4
        both = sum(w * across[:, at] for w, at in zip((1, 2, 1), near, strict=True)) / 4
        return (both[:, ::2, ::2] + both[:, 1::2, ::2] + both[:, ::2, 1::2] + both[:, 1::2, 1::2]) / 4

    def larger(g: np.ndarray) -> np.ndarray:
        side = 2 * g.shape[1]
        place = np.clip((np.arange(side) + 0.5) / 2 - 0.5, 0, None)
        low = np.floor(place).astype(int)
        high, share = np.minimum(low + 1, g.shape[1] - 1), place - low
        rows = g[:, low] * (1 - share)[None, :, None] + g[:, high] * share[None, :, None]
        return np.asarray(rows[:, :, low] * (1 - share) + rows[:, :, high] * share)

    def steep(g: np.ndarray) -> np.ndarray:
        out = np.zeros_like(g)
        for i in range(g.shape[1]):
            for j in range(g.shape[2]):
                right = g[:, i, j + 1] - g[:, i, j] if j + 1 < g.shape[2] else 0.0
                down = g[:, i + 1, j] - g[:, i, j] if i + 1 < g.shape[1] else 0.0
                out[:, i, j] = np.sqrt(right**2 + down**2)
        return out

    total = 0.0
    for level in range(4):
        nexts = [g if level == 3 else smaller(g) for g in (first, second)]
        details = [g if level == 3 else g - larger(n) for g, n in zip((first, second), nexts, strict=True)]
        total += np.abs(details[0] - details[1]).mean() + np.abs(steep(first) - steep(second)).mean()
        first, second = nexts
    return total


def test_the_distance_written_out() -> None:
    first, second = pictures(0).double(), pictures(1).double()
    found = Pyramid()(first, second).item()
    assert found == pytest.approx(written_out(first[0].numpy(), second[0].numpy()), abs=2e-5)


def test_details_add_up_to_the_picture() -> None:
    """Details of all levels, each enlarged, and what is left: nothing of the picture is lost."""
    picture = pictures(2, 48)
    details = Pyramid().features(picture)[::2]
    assert len(details) == LEVELS
    whole = details[-1]
    for detail in reversed(details[:-1]):
        whole = torch.nn.functional.interpolate(whole, detail.shape[2:], mode="bilinear", align_corners=False) + detail
    torch.testing.assert_close(whole, picture)


def test_it_is_a_distance_that_is_asked_as_lpips_is() -> None:
    distance = Pyramid()
    assert isinstance(distance, LPIPS)
    first, second = pictures(0, 45, 3), pictures(1, 45)
    found = distance(first, second)
    assert found.shape == (3,)
    torch.testing.assert_close(found[2:], distance(second, first[2:]))
    assert (distance(first, first) == 0).all()
    nearer = first + 0.3 * (second - first)
    assert (distance(nearer, second) < 0.8 * found).all()
    with pytest.raises(DataError, match="from 32 pixels"):
        distance(torch.zeros(1, 3, 16, 64), torch.zeros(1, 3, 16, 64))
    assert not list(distance.parameters())
    assert distance.state_dict() == {}


def test_gradients_are_finite_on_blank_pictures() -> None:
    blank = torch.ones(1, 3, 32, 32, requires_grad=True)
    Pyramid()(blank, pictures(0)).sum().backward()
    assert blank.grad is not None
    assert bool(blank.grad.isfinite().all())
    assert blank.grad.abs().sum() > 0


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "measure_pyramid.py"
    spec = importlib.util.spec_from_file_location("measure_pyramid", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_unit_is_what_is_measured(tool: ModuleType) -> None:
    assert tool.values(Pyramid(), tool.ANGLE).median().item() == pytest.approx(AT_FIFTY, abs=2e-3)


@pytest.mark.parametrize(("angle", "elevation"), [(50.0, 0.0), (50.0, -25.0), (90.0, 10.0)])
def test_angles_are_those_between_directions(tool: ModuleType, angle: float, elevation: float) -> None:
    from sensorium.lifting.guidance.base import Pose

    turned = Pose(elevation, tool.azimuth_of(angle, elevation))
    assert turned.angle_to(Pose(elevation, 0.0)) == pytest.approx(angle, abs=1e-4)
