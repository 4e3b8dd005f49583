"""Super-resolution and its guard."""

import logging

import numpy as np
import pytest
import torch

from sensorium.core.errors import DataError, MissingExtraError
from sensorium.encoders.packaged.tools import is_installed
from sensorium.lifting.photo import enlarging
from sensorium.lifting.photo.cutout import Cutout
from sensorium.lifting.photo.enlarging import NCNN_MODELS, enlarge, guarded


def cutout(side: int = 24) -> Cutout:
    """Smooth colours within a disc."""
    row, column = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    alpha = (row**2 + column**2 < 0.9).float()
    colours = torch.stack([0.5 + 0.4 * row, 0.5 - 0.3 * column, 0.3 + 0 * row])
    return Cutout(torch.cat([colours * alpha, alpha[None]]))


def doubled(colours: np.ndarray) -> np.ndarray:
    return colours.repeat(2, 1).repeat(2, 2)


def test_what_is_large_enough_stays() -> None:
    for found in (enlarge(cutout(), 24), enlarge(cutout(), 96, "none")):
        assert found.enlarger == "none"
        assert torch.equal(found.cutout.rgba, cutout().rgba)


def test_lanczos_is_always_there(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(enlarging, "find_spec", lambda name: None)
    with caplog.at_level(logging.INFO):
        found = enlarge(cutout(), 96)
    assert found.enlarger == "lanczos"
    assert "by Lanczos" in caplog.text
    assert found.cutout.side == 96
    assert (found.cutout.rgba[:3] <= found.cutout.rgba[3:] + 1e-6).all()


def test_a_faithful_network_is_taken() -> None:
    found = guarded(cutout(), 48, doubled, "double")
    assert found.enlarger == "double"
    assert found.psnr is not None
    assert found.psnr > 60
    assert found.cutout.rgba.shape == (4, 48, 48)
    assert not found.notes


@pytest.mark.parametrize("broken", [lambda x: 1 - doubled(x), lambda x: doubled(x) * np.float32(np.nan)])
def test_a_broken_network_is_not(broken: object, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = guarded(cutout(), 48, broken, "broken")  # type: ignore[arg-type]
    assert found.enlarger == "lanczos"
    assert "broken changed the picture" in found.notes[0]
    assert "broken changed the picture" in caplog.text
    torch.testing.assert_close(found.cutout.rgba, enlarge(cutout(), 48, "lanczos").cutout.rgba)


def test_no_network_sees_what_lies_under_transparency() -> None:
    seen = []

    def watching(colours: np.ndarray) -> np.ndarray:
        seen.append(colours)
        return doubled(colours)

    guarded(cutout(), 48, watching, "watching")
    opaque = cutout().rgba[:3, cutout().rgba[3] == 1]
    assert seen[0][2].min() == pytest.approx(0.3)  # blue is the same everywhere, under transparency too
    assert seen[0][0].min() >= opaque[0].min() - 1e-6


def test_what_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enlarging, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"sensorium\[superres\]"):
        enlarge(cutout(), 96, "spandrel")
    with pytest.raises(MissingExtraError, match="pip install --no-deps ncnn"):
        enlarge(cutout(), 96, "ncnn")
    with pytest.raises(DataError, match="'swinir'"):
        enlarge(cutout(), 96, "ncnn", model="swinir")
    with pytest.raises(DataError, match="needs the file"):
        enlarge(cutout(), 96, "onnx")
    with pytest.raises(DataError, match="does not exist"):
        enlarge(cutout(), 96, "onnx", weights="nowhere.onnx")


def test_real_esrgan() -> None:
    pytest.importorskip("ncnn", reason="the package ncnn is not installed")
    if not is_installed(NCNN_MODELS[0]):
        pytest.skip("the package of Real-ESRGAN's weights is not installed")
    found = enlarge(cutout(), 96)
    assert found.enlarger == f"ncnn {NCNN_MODELS[0]}"
    assert found.cutout.side == 96
    assert found.psnr is not None
    assert found.psnr > 24
