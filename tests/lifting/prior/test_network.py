"""What the denoiser's blocks are told of time and pose."""

import pytest
import torch
from torch.nn import functional

from sensorium.lifting.prior import ViewPrior
from sensorium.lifting.prior.network import Denoiser, NetworkConfig

CONFIG = NetworkConfig(channels=(8, 16), patch=1, attention=(1,), heads=2, embedding=16)
POSE = torch.rand(2, 8, generator=torch.Generator().manual_seed(1))


def run(config: NetworkConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The vectors of time and pose in a network whose random weights do not depend on its gain, what its first block is
    told, and its answer."""
    torch.manual_seed(0)
    network = Denoiser(config)
    with torch.no_grad():
        for weight in network.parameters():  # some begin at zero and would hide what goes through them
            weight.add_(0.1 * torch.randn(weight.shape))
    told: list[torch.Tensor] = []
    network.time.register_forward_hook(lambda module, given, out: told.append(out))
    network.down[0].register_forward_pre_hook(lambda block, given: told.append(given[1]))
    picture, rays = torch.rand(2, 4, 16, 16), torch.rand(2, 6, 16, 16)
    with torch.no_grad():
        answer = network(picture, torch.full((2,), 0.5), picture, network.encoder(picture, rays), rays, POSE)
        return told[0], network.pose(POSE), told[1], answer


@pytest.mark.parametrize("gain", [1.0, 5.5])
def test_the_gain_scales_the_pose_and_not_the_time(gain: float) -> None:
    time, pose, told, _ = run(CONFIG.model_copy(update={"pose_gain": gain}))
    torch.testing.assert_close(told, functional.silu(time + gain * pose))


def test_without_a_gain_nothing_changes() -> None:
    """A file that was written before there was the key is of a network with 1; the shipped one has its card's."""
    old = NetworkConfig.model_validate_json(CONFIG.model_dump_json(exclude={"pose_gain"}))
    assert old == CONFIG
    shipped = ViewPrior.shipped()
    assert shipped.network.config.pose_gain == shipped.card["network"]["pose_gain"]
    *_, plain, answer = run(CONFIG)
    *_, gained, other = run(CONFIG.model_copy(update={"pose_gain": 5.5}))
    assert not torch.equal(plain, gained)
    assert (answer - other).abs().max() > 1e-4
