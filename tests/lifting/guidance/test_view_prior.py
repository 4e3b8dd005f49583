"""Guidance by the embedded prior, here with a tiny network of random weights."""

import math
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.lifting.generation.job import estimated
from sensorium.lifting.guidance import view_prior
from sensorium.lifting.guidance.base import Pose, Sampler, times_of
from sensorium.lifting.guidance.none import NoGuidance
from sensorium.lifting.guidance.view_prior import ViewPriorConfig, ViewPriorGuidance
from sensorium.lifting.prior import ViewPrior
from sensorium.lifting.prior.network import Denoiser, NetworkConfig

POSES = [Pose(-10.0, 40.0), Pose(20.0, -130.0)]


@pytest.fixture(scope="module")
def guidance() -> ViewPriorGuidance:
    torch.manual_seed(0)
    network = Denoiser(NetworkConfig(channels=(8, 8, 16), attention=(2,), heads=2, embedding=16))
    with torch.no_grad():  # the last layers begin at zero, where every answer is the same
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    made = ViewPriorGuidance(ViewPriorConfig(scale=1.5), prior=ViewPrior(network))
    made.prepare(torch.rand(4, 96, 96), -10.0)
    return made


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_it_distils_the_prior(guidance: ViewPriorGuidance) -> None:
    rgba = torch.rand(2, 4, 64, 64, generator=generator()).requires_grad_()
    said = guidance.sds(rgba, POSES, 0.4, generator())
    said.loss.sum().backward()
    prior = guidance.prior
    a = float(prior.schedule.alpha_bar(torch.tensor(0.6, dtype=torch.float64)))
    noise = torch.randn(rgba.shape, generator=generator())
    noisy = math.sqrt(a) * (2 * rgba.detach() - 1) + math.sqrt(1 - a) * noise
    reference = guidance._known
    predicted = prior.predict(
        noisy, 0.6, reference, torch.tensor([-10.0, 20.0]), torch.tensor([40.0, -130.0]), scale=1.5
    )
    torch.testing.assert_close(rgba.grad, 2 * (1 - a) * (predicted - noise), atol=1e-5, rtol=1e-5)
    assert said.logs["not_finite"] == 0


def test_uniform_times_are_each_picture_s_own(guidance: ViewPriorGuidance) -> None:
    uniform = ViewPriorGuidance(ViewPriorConfig(scale=1.5, times="uniform"), prior=guidance.prior)
    uniform.prepare(torch.rand(4, 64, 64, generator=generator()), -10.0)
    rgba = torch.rand(2, 4, 64, 64, generator=generator()).requires_grad_()
    said = uniform.sds(rgba, POSES, 0.4, generator())
    said.loss.sum().backward()
    draw, prior = generator(), guidance.prior
    t = times_of(0.4, 2, "uniform", draw)
    assert isinstance(t, torch.Tensor)
    noise = torch.randn(rgba.shape, generator=draw)
    a = prior.schedule.alpha_bar(t).reshape(2, 1, 1, 1)
    noisy = a.sqrt().float() * (2 * rgba.detach() - 1) + (1 - a).sqrt().float() * noise
    told = (torch.tensor([-10.0, 20.0]), torch.tensor([40.0, -130.0]))
    predicted = prior.predict(noisy, t, uniform._known, *told, scale=1.5)
    torch.testing.assert_close(rgba.grad, (2 * (1 - a) * (predicted - noise)).float(), atol=1e-5, rtol=1e-5)
    assert said.logs["t"] == pytest.approx(t.mean().item())
    assert uniform.identity() != guidance.identity()


def test_the_identity_is_that_of_all_weights(guidance: ViewPriorGuidance) -> None:
    other = deepcopy(guidance.prior)
    assert ViewPriorGuidance(guidance.config, prior=other).identity() == guidance.identity()
    with torch.no_grad():
        list(other.network.parameters())[-1][..., 0] += 1
    assert ViewPriorGuidance(guidance.config, prior=other).identity() != guidance.identity()


def test_views_are_sampled_from_the_photo(guidance: ViewPriorGuidance) -> None:
    assert isinstance(guidance, Sampler)
    told = (torch.tensor([-10.0, 20.0]), torch.tensor([40.0, -130.0]))
    for scale in (None, 3.0):
        made = guidance.sample(POSES, steps=3, scale=scale, generator=generator())
        expected = guidance.prior.sample(
            guidance._known, *told, steps=3, scale=1.5 if scale is None else scale, generator=generator()
        )
        assert torch.equal(made, expected)
    with pytest.raises(DataError, match="at least one step"):
        guidance.sample(POSES, steps=0, generator=generator())
    with pytest.raises(DataError, match="prepare"):
        ViewPriorGuidance(prior=guidance.prior).sample(POSES, generator=generator())


def test_the_pose_and_the_photo_matter(guidance: ViewPriorGuidance) -> None:
    rgba = torch.rand(1, 4, 64, 64, generator=generator())
    here, there = (guidance.sds(rgba, [pose], 0.5, generator()).loss.item() for pose in POSES)
    assert here != there
    other = ViewPriorGuidance(guidance.config, prior=guidance.prior)
    other.prepare(torch.zeros(4, 64, 64), -10.0)
    assert other.sds(rgba, POSES[:1], 0.5, generator()).loss.item() != here


@pytest.mark.parametrize(("strength", "steps"), [(0.8, 10), (0.95, 3), (0.0, 50)])
def test_refinement_enters_late(
    guidance: ViewPriorGuidance, strength: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    velocity = guidance.prior.velocity

    def counted(noisy: torch.Tensor, t: torch.Tensor, *rest: object, **options: object) -> torch.Tensor:
        asked.append(float(t))
        return velocity(noisy, t, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(guidance.prior, "velocity", counted)
    refined = guidance.refine(torch.rand(1, 4, 32, 32), POSES[:1], strength, generator())
    assert refined.shape == (1, 4, 64, 64)
    assert len(asked) == steps
    assert asked[0] == pytest.approx(1 - int(50 * strength) / 50)


@pytest.fixture
def moved(guidance: ViewPriorGuidance) -> ViewPriorGuidance:
    """Guidance whose photo lies on another device, where torch checks that what meets lies together."""
    network = deepcopy(guidance.prior.network)
    made = ViewPriorGuidance(guidance.config, prior=ViewPrior(network))
    made.prepare(torch.rand(4, 96, 96, device="meta"), -10.0)
    return made


def test_the_prior_moves_to_the_photo(moved: ViewPriorGuidance) -> None:
    assert moved.prior.device.type == "meta"
    assert {level.device.type for level in (moved._known.picture, *moved._known.features)} == {"meta"}


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_pictures_come_to_the_prior_and_answers_go_back(
    moved: ViewPriorGuidance, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is really run on the other device; what it says has no values there, so zeros stand for it."""
    met = []

    def distilled(
        z: torch.Tensor, alpha_bar: float, predict: Callable[[torch.Tensor], torch.Tensor], draw: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        met.extend([z.device.type, predict(z).device.type])
        return torch.zeros(len(z)), {}

    sample = moved.prior.sample

    def sampled(*told: object, **options: object) -> torch.Tensor:
        found = sample(*told, **options)  # type: ignore[arg-type]
        met.append(found.device.type)
        return torch.zeros(found.shape)

    monkeypatch.setattr(view_prior, "distil", distilled)
    monkeypatch.setattr(moved.prior, "sample", sampled)
    rgba = torch.rand(2, 4, 32, 32, device=device)
    assert moved.sds(rgba, POSES, 0.5, generator()).loss.device.type == device
    assert moved.refine(rgba, POSES, 0.9, generator()).device.type == device
    assert met == ["meta"] * 3


def test_it_has_to_see_the_photo_first(guidance: ViewPriorGuidance) -> None:
    with pytest.raises(DataError, match="prepare"):
        ViewPriorGuidance(prior=guidance.prior).sds(torch.zeros(1, 4, 64, 64), POSES[:1], 0.5, generator())


def test_weights_that_are_missing() -> None:
    with pytest.raises(DataError, match="does not exist"):
        ViewPriorGuidance(ViewPriorConfig(weights="nowhere.safetensors"))


def test_the_elevation_is_the_prior_s(guidance: ViewPriorGuidance, monkeypatch: pytest.MonkeyPatch) -> None:
    """`elevation: auto` asks the guidance itself where it can, else the embedded prior."""
    photo = torch.rand(4, 32, 32, generator=generator())
    expected = round(guidance.prior.elevation(photo), 2)
    assert estimated(guidance, photo) == expected
    monkeypatch.setattr(ViewPrior, "shipped", lambda: guidance.prior)
    assert estimated(NoGuidance(), photo) == expected
