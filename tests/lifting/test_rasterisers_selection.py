"""Which rasteriser draws, and what is said of the others."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from sensorium.core.errors import DataError, ResourceError, UnknownNameError
from sensorium.core.registry import registered
from sensorium.lifting.camera import orbit
from sensorium.lifting.cloud import ball
from sensorium.lifting.rasterisers import GROUP, availability, render, select, selection
from sensorium.lifting.rasterisers.base import check_device, try_two
from sensorium.lifting.rasterisers.torch_reference import TorchRasteriser


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(selection.VARIABLE, raising=False)
    for function in (selection._automatic, selection.availability):
        function.cache_clear()
    yield
    for function in (selection._automatic, selection.availability):
        function.cache_clear()


class Crashing(TorchRasteriser):
    name = "crashing"

    @staticmethod
    def available() -> tuple[bool, str]:
        return try_two(Crashing(), "cpu")

    def render(self, *arguments: Any, **options: Any) -> Any:
        raise RuntimeError("no kernel\nimage")


class Black(TorchRasteriser):
    name = "black"

    @staticmethod
    def available() -> tuple[bool, str]:
        return try_two(Black(), "cpu")

    def render(self, cloud: Any, camera: Any, **options: Any) -> Any:
        return super().render(cloud[:0], camera, **options)


def test_the_argument_counts_before_the_variable_and_the_variable_before_the_fastest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("numba")
    assert select().name == "numba"
    monkeypatch.setenv("SENSORIUM_RASTER", "torch")
    assert select().name == "torch"
    assert select("numba").name == "numba"


def test_what_cannot_be_imported_or_draws_wrongly_is_not_available() -> None:
    for broken, reason in ((Crashing, "RuntimeError: no kernel image"), (Black, "draws, but wrongly")):
        with registered(GROUP, broken.name, broken):
            chosen, why = availability(broken.name)
            assert chosen is None
            assert reason in why
            with pytest.raises(ResourceError, match=f"'{broken.name}'"):
                select(broken.name)


def test_the_next_one_draws_and_the_reasons_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Numba(Crashing):
        name = "numba"

    with registered(GROUP, "numba", Numba), caplog.at_level(logging.INFO, logger="sensorium"):
        assert select().name == "torch"
        assert select().name == "torch"
    said = [record.getMessage() for record in caplog.records if "rasteriser on cpu" in record.getMessage()]
    assert len(said) == 1
    assert "torch" in said[0]
    assert "not numba: RuntimeError: no kernel image" in said[0]
    assert "not gsplat" in said[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("name", ["gsplat", "gswarp"])
def test_back_ends_for_cuda_say_why_they_do_not_draw(name: str) -> None:
    assert availability(name, "cuda") == (None, "there is no CUDA device")
    assert availability(name, "cpu") == (None, "it draws on cuda")


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'numba'"):
        select("nunba")


def test_a_cloud_on_another_device_is_refused() -> None:
    with pytest.raises(DataError, match="cloud lies on cpu"):
        check_device("x", ball(2, seed=0), frozenset({"cuda"}))


def test_render_draws_with_any_back_end() -> None:
    cloud, camera = ball(50, seed=0), orbit(0, 0, height=16, width=16)
    first, second = render(cloud, camera, backend="torch"), render(cloud, camera, backend=TorchRasteriser())
    assert torch.equal(first.rgb, second.rgb)
    assert first.depth is None
    assert render(cloud, camera, want=("depth",)).depth is not None
