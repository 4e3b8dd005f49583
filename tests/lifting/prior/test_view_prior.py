"""The model around the network: conditions matter, guidance mixes as written, files are checked before use."""

from pathlib import Path

import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.core.files import write_safetensors
from sensorium.lifting.prior import ViewPrior
from sensorium.lifting.prior.network import Denoiser, NetworkConfig

CONFIG = NetworkConfig(channels=(8, 16, 16), patch=2, attention=(1, 2), heads=2, embedding=16)
ELEVATIONS, AZIMUTHS = torch.tensor([0.0, -20.0]), torch.tensor([30.0, 170.0])


@pytest.fixture
def prior() -> ViewPrior:
    """A network of random weights: those that begin at zero would hide what goes through them."""
    torch.manual_seed(0)
    network = Denoiser(CONFIG)
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.normal_(0, 0.2)
    return ViewPrior(network)


@pytest.fixture
def photograph() -> torch.Tensor:
    picture = torch.zeros(4, 64, 64)
    picture[:, 16:48, 20:44] = torch.tensor([0.9, 0.4, 0.1, 1.0])[:, None, None]
    picture[2, 16:32, 20:44] = 0.8
    return picture


@pytest.fixture
def noisy() -> torch.Tensor:
    return torch.randn(2, 4, 64, 64, generator=torch.Generator().manual_seed(1))


def test_noise_comes_in_the_shape_of_the_pictures(
    prior: ViewPrior, photograph: torch.Tensor, noisy: torch.Tensor
) -> None:
    reference = prior.reference(photograph, 0.0)
    noise = prior.predict(noisy, 0.5, reference, ELEVATIONS, AZIMUTHS)
    assert noise.shape == noisy.shape
    assert torch.isfinite(noise).all()
    each = prior.predict(noisy, torch.tensor([0.5, 0.5]), reference, ELEVATIONS, AZIMUTHS)
    assert torch.equal(noise, each)


def test_noise_and_velocity_say_the_same(prior: ViewPrior, photograph: torch.Tensor, noisy: torch.Tensor) -> None:
    reference, t = prior.reference(photograph, 0.0), torch.tensor([0.3, 0.8])
    velocity = prior.velocity(noisy, t, reference, ELEVATIONS, AZIMUTHS)
    noise = prior.predict(noisy, t, reference, ELEVATIONS, AZIMUTHS)
    clean = prior.schedule.clean(noisy, velocity, t)
    assert torch.allclose(prior.schedule.mix(clean, noise, t), noisy, atol=1e-5)


@pytest.mark.parametrize("what", ["picture", "reference elevation", "azimuth", "elevation", "time"])
def test_everything_that_is_told_changes_the_answer(
    prior: ViewPrior, photograph: torch.Tensor, noisy: torch.Tensor, what: str
) -> None:
    usual = prior.predict(noisy, 0.5, prior.reference(photograph, 0.0), ELEVATIONS, AZIMUTHS)
    picture = photograph.flip(1) if what == "picture" else photograph
    reference = prior.reference(picture, -25.0 if what == "reference elevation" else 0.0)
    elevations = ELEVATIONS - 30 if what == "elevation" else ELEVATIONS
    azimuths = AZIMUTHS + 90 if what == "azimuth" else AZIMUTHS
    other = prior.predict(noisy, 0.7 if what == "time" else 0.5, reference, elevations, azimuths)
    assert (usual - other).abs().max() > 1e-3


def test_a_whole_turn_of_the_camera_changes_nothing(
    prior: ViewPrior, photograph: torch.Tensor, noisy: torch.Tensor
) -> None:
    reference = prior.reference(photograph, 0.0)
    here = prior.predict(noisy, 0.5, reference, ELEVATIONS, AZIMUTHS)
    around = prior.predict(noisy, 0.5, reference, ELEVATIONS, AZIMUTHS - 360)
    assert torch.allclose(here, around, atol=1e-3)


def test_guidance_goes_on_from_the_withheld_condition_through_the_given_one(
    prior: ViewPrior, photograph: torch.Tensor, noisy: torch.Tensor
) -> None:
    reference = prior.reference(photograph, 0.0)
    at = [prior.predict(noisy, 0.5, reference, ELEVATIONS, AZIMUTHS, scale=scale) for scale in (0.0, 1.0, 2.0)]
    assert torch.allclose(at[2] - at[1], at[1] - at[0], atol=1e-4)
    assert (at[1] - at[0]).abs().max() > 1e-3


def test_withheld_conditions_hide_picture_and_poses(
    prior: ViewPrior, photograph: torch.Tensor, noisy: torch.Tensor
) -> None:
    one = prior.predict(noisy, 0.5, prior.reference(photograph, 0.0), ELEVATIONS, AZIMUTHS, scale=0.0)
    other = prior.predict(noisy, 0.5, prior.reference(photograph.flip(1), -20.0), -ELEVATIONS, AZIMUTHS + 50, scale=0.0)
    assert torch.allclose(one, other, atol=1e-6)


def test_samples_depend_on_their_noise_alone_and_are_pictures(prior: ViewPrior, photograph: torch.Tensor) -> None:
    reference = prior.reference(photograph, 0.0)

    def sample(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return prior.sample(reference, ELEVATIONS, AZIMUTHS, steps=3, generator=generator)

    views = sample(0)
    assert views.shape == (2, 4, 64, 64)
    assert torch.equal(views, sample(0))
    assert not torch.equal(views, sample(1))
    assert views.min() >= 0
    assert views.max() <= 1
    assert (views[:, :3] <= views[:, 3:]).all()


def test_refinement_of_no_strength_gives_the_pictures_back(prior: ViewPrior, photograph: torch.Tensor) -> None:
    reference, begin = prior.reference(photograph, 0.0), photograph.expand(2, -1, -1, -1)
    noise = torch.randn(2, 4, 64, 64, generator=torch.Generator().manual_seed(2))
    same = prior.sample(reference, ELEVATIONS, AZIMUTHS, steps=10, noise=noise, begin=begin, strength=0.05)
    assert torch.allclose(same, begin, atol=1e-6)
    changed = prior.sample(reference, ELEVATIONS, AZIMUTHS, steps=10, noise=noise, begin=begin, strength=0.8)
    assert (changed - begin).abs().max() > 0.05


def test_larger_photographs_are_brought_to_the_native_size(prior: ViewPrior, photograph: torch.Tensor) -> None:
    large = photograph.repeat_interleave(4, 1).repeat_interleave(4, 2)
    brought = prior.reference(large, 0.0).picture[0]
    assert brought.shape == (4, 64, 64)
    inside = (slice(None), slice(20, 28), slice(24, 40))
    assert torch.allclose(brought[inside], 2 * photograph[inside] - 1, atol=1e-5)
    with pytest.raises(DataError, match=r"square RGBA.*\[3, 64, 64\]"):
        prior.reference(photograph[:3], 0.0)


def test_the_elevation_is_read_from_the_picture_alone(prior: ViewPrior, photograph: torch.Tensor) -> None:
    assert prior.elevation(photograph) != prior.elevation(photograph.flip(1))


def test_files_are_checked_before_they_are_used(prior: ViewPrior, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        ViewPrior.from_file(tmp_path / "none.safetensors")
    state = prior.network.state_dict()
    plain = tmp_path / "plain.safetensors"
    write_safetensors(plain, state)
    with pytest.raises(DataError, match="no view prior"):
        ViewPrior.from_file(plain)
    other = tmp_path / "other.safetensors"
    write_safetensors(other, state, {"network": NetworkConfig(channels=(8, 16), attention=(1,)).model_dump_json()})
    with pytest.raises(DataError, match="does not fit"):
        ViewPrior.from_file(other)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(plain.read_bytes()[:1000])
    with pytest.raises(DataError, match="truncated"):
        ViewPrior.from_file(cut)


def test_the_default_network_has_the_documented_size() -> None:
    network = Denoiser(NetworkConfig())
    assert sum(weight.numel() for weight in network.parameters()) == 4_831_125
