"""The small 3D encoder of clips: the contract of encoders, what trains of it from the top, its weights' file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.core.files import write_safetensors
from sensorium.encoders.conv3d import MODEL, PARAMETERS, Conv3D
from sensorium.encoders.conv3d_network import Conv3DNetwork
from sensorium.encoders.tuning.tower import Tower
from sensorium.media.video import write_video
from sensorium.testing.encoders import check_encoder


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    draw = np.random.default_rng(0)
    paths = []
    for place in range(4):
        base = draw.integers(0, 255, (48, 48, 3), dtype=np.uint8)
        write_video(tmp_path / f"{place}.mp4", [np.roll(base, 4 * step, place % 2) for step in range(6 + place)], 8)
        paths.append(tmp_path / f"{place}.mp4")
    return paths


def test_contract(clips: list[Path]) -> None:
    check_encoder(Conv3D, Conv3D.Config(), clips, broken=b"no clip")


def test_it_sees_the_order_of_frames(clips: list[Path]) -> None:
    encoder = Conv3D()
    encoder.load()
    batch = encoder.collate([encoder.preparer(path) for path in clips])
    backwards = {"pixels": batch["pixels"].flip(1)}
    with torch.no_grad():
        assert not torch.allclose(encoder.forward(batch)[1], encoder.forward(backwards)[1], atol=1e-3)
    assert sum(value.numel() for value in encoder.module.parameters()) == PARAMETERS


def test_the_lower_stages_of_top_k_have_no_gradient(clips: list[Path]) -> None:
    """Three steps, as a model takes them."""
    encoder = Conv3D()
    tower = Tower(encoder, "top_k", dim=4, top_k=1).train()
    prepared = [encoder.preparer(path) for path in clips]
    optimizer = torch.optim.SGD(tower.trainable(), 0.1)
    before = [value.detach().clone() for value in tower.trainable()]
    for _ in range(3):
        optimizer.zero_grad()
        tower.vectors(prepared).square().sum().backward()
        optimizer.step()
    for name, value in tower.body.named_parameters():
        assert (value.grad is not None) == name.startswith("blocks.2."), name
    assert all(not torch.equal(one, other) for one, other in zip(before, tower.trainable(), strict=True))


def test_weights_come_from_a_file_and_fit_or_are_refused(tmp_path: Path) -> None:
    network = Conv3DNetwork()
    write_safetensors(tmp_path / MODEL, dict(network.state_dict()))
    encoder = Conv3D(Conv3D.Config(weights=str(tmp_path)))
    assert encoder.weights_hash != Conv3D().weights_hash
    encoder.load()
    for one, other in zip(encoder.module.parameters(), network.parameters(), strict=True):
        assert torch.equal(one, other)
    write_safetensors(tmp_path / MODEL, {"blocks.0.down.weight": torch.zeros(1)})
    with pytest.raises(DataError, match="does not fit conv3d"):
        Conv3D(Conv3D.Config(weights=str(tmp_path))).load()
    with pytest.raises(DataError, match=r"is missing: make it with python tools/train_conv3d.py"):
        Conv3D(Conv3D.Config(weights="nowhere"))
