"""Score distillation and poses."""

import math

import pytest
import torch

from sensorium.lifting.guidance.base import Pose, Sampler, at_side, distil, straight_colours, time_of, times_of
from sensorium.lifting.guidance.none import NoGuidance


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_the_loss_has_the_gradient_of_distillation() -> None:
    """dL/dz = (1 - a)(eps_hat - eps), for a denoiser that answers the same whatever it sees."""
    z = torch.randn(2, 4, 5, 5, dtype=torch.float64, generator=generator()).requires_grad_()
    answer = torch.randn(2, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    seen = []

    def predict(noisy: torch.Tensor) -> torch.Tensor:
        seen.append(noisy)
        return answer

    loss, logs = distil(z, 0.3, predict, generator())
    noise = torch.randn(z.shape, generator=generator(), dtype=z.dtype)
    torch.testing.assert_close(seen[0], math.sqrt(0.3) * z.detach() + math.sqrt(0.7) * noise, atol=1e-12, rtol=0)
    loss.sum().backward()
    expected = 0.7 * (answer - noise)
    torch.testing.assert_close(z.grad, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(loss.detach(), 0.5 * expected.square().flatten(1).sum(1))
    assert logs["grad_norm"] == pytest.approx(expected.flatten(1).norm(dim=1).mean().item())
    assert not seen[0].requires_grad


def test_values_that_are_not_finite_do_nothing_and_are_counted() -> None:
    z = torch.zeros(1, 1, 2, 2, requires_grad=True)
    answer = torch.tensor([[[[math.nan, math.inf], [1.0, 1.0]]]])
    loss, logs = distil(z, 0.5, lambda noisy: answer, generator())
    loss.sum().backward()
    assert logs["not_finite"] == 2
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert z.grad[0, 0, 0].tolist() == [0, 0]


def test_times_fall_within_their_ends() -> None:
    assert [time_of(share) for share in (0.0, 0.01, 0.5, 0.99, 1.0)] == [0.98, 0.98, 0.5, 0.02, 0.02]


def test_uniform_times_fill_their_range_whatever_the_share() -> None:
    """One for each picture; annealed times take nothing from the generator."""
    draw, untouched = generator(), generator()
    assert times_of(0.5, 3, "annealed", draw) == 0.5
    assert torch.equal(draw.get_state(), untouched.get_state())
    drawn = times_of(1.0, 4000, "uniform", draw)
    assert isinstance(drawn, torch.Tensor)
    assert torch.equal(drawn, times_of(0.01, 4000, "uniform", generator()))
    assert 0.02 <= drawn.min() < 0.025
    assert 0.975 < drawn.max() <= 0.98
    counts = torch.histc(drawn, 8, 0.02, 0.98)
    assert counts.min() > 420
    assert counts.max() < 580


def test_each_picture_is_distilled_at_its_own_time() -> None:
    """Two samples at once are the two alone, with the noise that each had."""
    z = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=generator()).requires_grad_()
    shares = torch.tensor([0.1, 0.8], dtype=torch.float64)
    loss, _ = distil(z, shares, lambda noisy: noisy.square(), generator())
    loss.sum().backward()
    noise = torch.randn(z.shape, generator=generator(), dtype=z.dtype)
    assert z.grad is not None
    for sample, grad, eps, a in zip(z.detach(), z.grad, noise, shares, strict=True):
        noisy = a.sqrt() * sample + (1 - a).sqrt() * eps
        torch.testing.assert_close(grad, (1 - a) * (noisy.square() - eps), atol=1e-12, rtol=0)


def test_not_every_guidance_samples() -> None:
    assert not isinstance(NoGuidance(), Sampler)


@pytest.mark.parametrize(
    ("first", "second", "angle"),
    [((0, 0), (0, 90), 90), ((0, 0), (0, -180), 180), ((-30, 20), (30, 20), 60), ((10, 5), (10, 5), 0)],
)
def test_angles_between_poses(first: tuple[float, float], second: tuple[float, float], angle: float) -> None:
    assert Pose(*first).angle_to(Pose(*second)) == pytest.approx(angle, abs=1e-4)


def test_poses_are_cameras() -> None:
    camera = Pose(-30, 90).camera(16)
    assert camera.position.tolist() == pytest.approx([math.sqrt(3), 1, 0], abs=1e-12)
    assert (camera.height, camera.width) == (16, 16)


def test_colours_are_averaged_with_their_coverage() -> None:
    rgba = torch.zeros(1, 4, 4, 4)
    rgba[:, [0, 3], :2] = 1  # red above, nothing below
    small = at_side(rgba, 2)
    assert small.shape == (1, 4, 2, 2)
    assert at_side(rgba, 1)[0, :, 0, 0].tolist() == [0.5, 0, 0, 0.5]
    assert straight_colours(at_side(rgba, 1))[0, :, 0, 0].tolist() == [1, 0, 0]
    assert at_side(rgba, 3).shape[-1] == 3
    assert straight_colours(torch.zeros(1, 4, 1, 1)).sum() == 0


def test_no_guidance_says_nothing() -> None:
    rgba = torch.rand(2, 4, 8, 8, requires_grad=True)
    said = NoGuidance().sds(rgba, [Pose(0, 0)] * 2, 0.5, generator())
    said.loss.sum().backward()
    assert rgba.grad is not None
    assert rgba.grad.abs().sum() == 0
    assert NoGuidance().refine(rgba, [Pose(0, 0)] * 2, 0.8, generator()).shape == (2, 4, 64, 64)
