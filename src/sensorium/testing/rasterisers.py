"""Contract tests for rasterisers, built-in or of a third party. They need no test framework:

    from sensorium.testing.rasterisers import check_rasteriser
    check_rasteriser(MyRasteriser(), device="cuda")

raises one `ContractError` that lists what is wrong, and returns what was checked.

Two programs in float32 disagree about a pixel where the blend has a switch (alpha at 1/255, light at 1e-4) and rounding
decides. Such pixels are found by the reference; their values are compared to `AT_A_SWITCH` only, and gradients without
them. There may be few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import numpy as np
import torch
from torch import Tensor

from sensorium.core.seeds import torch_generator
from sensorium.lifting.camera import Camera, orbit
from sensorium.lifting.cloud import GaussianCloud, ball, concatenate, from_points, rotation_matrices
from sensorium.lifting.projection import LEAST_ALPHA, project
from sensorium.lifting.rasterisers import RasterBackend, RenderOut, select
from sensorium.lifting.rasterisers.base import LEAST_LIGHT
from sensorium.lifting.rasterisers.torch_reference import TorchRasteriser
from sensorium.testing.subject import ContractError, run_checks

FORWARD, FORWARD_MEAN, GRADIENT = 1e-4, 1e-5, 1e-3  # largest, mean; relative norm of the difference
AT_A_SWITCH, SWITCHES = 0.01, 0.03  # difference allowed there; share of such pixels
SEEDS, COUNTS, SIZES = (0, 1, 2), (1, 300, 3000), ((64, 64), (97, 61))
BACKGROUND = (0.2, 0.5, 0.9)
_MARGIN = 1e-4  # relative distance to a switch within which rounding may decide


def check_rasteriser(
    backend: str | RasterBackend, *, device: str = "cpu", seeds: Sequence[int] = SEEDS, counts: Sequence[int] = COUNTS
) -> dict[str, str]:
    """Run every check on a rasteriser.

    Args:
        backend: An instance, or a registered name.
        device: Where clouds lie.
        seeds: Of the random clouds that are compared with the reference.
        counts: How many Gaussians they have.

    Returns:
        Name of the check -> "passed".

    Raises:
        ContractError: A check fails; the message holds all that fail.
        ResourceError: The named back end does not work here.
    """
    drawer = select(backend, device) if isinstance(backend, str) else backend
    checks: dict[str, Callable[[RasterBackend], None]] = {
        "available": check_available,
        "closed form": partial(check_closed_form, device=device),
        "background": partial(check_background, device=device),
        "no Gaussians": partial(check_nothing, device=device),
        "order": partial(check_order, device=device),
        "equal depths": partial(check_equal_depths, device=device),
        "turned together": partial(check_turned_together, device=device),
    }
    for seed, count, (height, width) in product(seeds, counts, SIZES):
        name = f"reference, seed {seed}, {count} Gaussians, {height} x {width}"
        view = random_view(seed, height, width)
        checks[name] = partial(check_reference, device=device, cloud=random_cloud(count, seed), camera=view)
    return run_checks(checks, drawer, f"'{drawer.name}'")


# --- scenes ---------------------------------------------------------------------------------------------------------


def random_cloud(count: int, seed: int) -> GaussianCloud:
    """Return a cloud of many shapes and colours, with opacities of .02 to .98, some of it outside any picture."""
    draw = torch_generator(seed, "rasteriser contract", count)
    begin = ball(count, seed=seed, radius=0.9)
    noise = {name: torch.randn(value.shape, generator=draw) for name, value in begin.tensors().items()}
    spread = math.log(0.25) - math.log(max(count, 1)) / 3
    return GaussianCloud(
        means=begin.means,
        log_scales=spread + 0.6 * noise["log_scales"],
        quats=noise["quats"] + 1e-3,
        opacity_logit=(1.5 * noise["opacity_logit"]).clamp(math.log(0.02 / 0.98), math.log(0.98 / 0.02)),
        sh_dc=1.5 * noise["sh_dc"],
    )


def random_view(seed: int, height: int, width: int) -> Camera:
    """Return a camera near enough that some of the cloud is beside and some behind it."""
    elevation, azimuth = torch.rand(2, generator=torch_generator(seed, "view")).tolist()
    return orbit(60 * elevation - 30, 360 * azimuth, 0.95, target=(0.05, 0.1, 0), height=height, width=width)


def one_gaussian(spread: float, opacity: float) -> GaussianCloud:
    """Return one round white Gaussian at the origin."""
    cloud = from_points(np.zeros((1, 3)), np.ones((1, 3)), opacity=opacity)
    return GaussianCloud(**{**cloud.tensors(), "log_scales": torch.full((1, 3), math.log(spread))})


# --- checks ---------------------------------------------------------------------------------------------------------


def check_available(backend: RasterBackend) -> None:
    """`available` says yes or no and why, and a back end under test says yes."""
    works, reason = backend.available()
    _expect(works, f"available() says no: {reason}")


def check_closed_form(backend: RasterBackend, device: str) -> None:
    """One round Gaussian on the axis covers the middle by o exp(-sigma), and o 2 pi sqrt(det) pixels in all."""
    spread, opacity = 0.04, 0.5
    camera = orbit(0, 0, 2, height=64, width=64)
    variance = (camera.focal * spread / 2) ** 2 + 0.3
    alpha = _draw(backend, one_gaussian(spread, opacity).to(device), camera).alpha
    expected = opacity * math.exp(-0.5 * (0.5**2 + 0.5**2) / variance)  # pixels are sampled half a pixel off the axis
    found = alpha[31:33, 31:33].cpu()
    _near("alpha in the middle", found, torch.full((2, 2), expected), 1e-5)
    total, area = alpha.sum().item(), opacity * 2 * math.pi * variance
    _expect(abs(total / area - 1) < 0.02, f"alpha sums to {total:.3f} pixels, not {area:.3f} within 2 %")


def check_background(backend: RasterBackend, device: str) -> None:
    """Changing the background changes the picture by what the cloud leaves uncovered; alpha stays within 0 and 1."""
    cloud, camera = random_cloud(200, 0).to(device), random_view(0, 48, 40)
    first, second = torch.tensor([0.1, 0.9, 0.3]), torch.tensor([0.8, 0.0, 0.5])
    one, other = _draw(backend, cloud, camera, bg=first), _draw(backend, cloud, camera, bg=second)
    difference = (1 - one.alpha)[..., None] * (second - first).to(device)
    _near("the change of the background", other.rgb - one.rgb, difference, 1e-6)
    _expect(bool(((one.alpha >= 0) & (one.alpha <= 1)).all()), "alpha leaves [0, 1]")


def check_nothing(backend: RasterBackend, device: str) -> None:
    """A cloud of none, and one behind the camera, leave the background and no coverage."""
    camera = orbit(0, 0, 2, height=20, width=30)
    behind = GaussianCloud(**{**ball(5, seed=0).tensors(), "means": torch.tensor([[0.0, 0, 3]]).repeat(5, 1)})
    for cloud in (ball(0, seed=0), behind):
        out = _draw(backend, cloud.to(device), camera)
        _expect(tuple(out.rgb.shape) == (20, 30, 3), f"rgb has shape {[*out.rgb.shape]}")
        _near("the background", out.rgb.cpu(), torch.tensor(BACKGROUND).expand(20, 30, 3), 1e-7)
        _expect(bool((out.alpha == 0).all()), "alpha is not 0")
        _expect(len(out.radii) == len(cloud) and not bool(out.visible.any()), "something is called visible")


def check_order(backend: RasterBackend, device: str) -> None:
    """Another order of the rows is the same picture."""
    cloud, camera = random_cloud(200, 1).to(device), random_view(1, 48, 40)
    shuffled = cloud[torch.randperm(200, generator=torch_generator(0, "shuffle")).to(device)]
    _near("rgb", _draw(backend, shuffled, camera).rgb, _draw(backend, cloud, camera).rgb, 1e-6)


def check_equal_depths(backend: RasterBackend, device: str) -> None:
    """Of two Gaussians in one place, the first row lies in front."""
    both = one_gaussian(0.1, 0.9)
    red, blue = (
        GaussianCloud(**{**both.tensors(), "sh_dc": torch.tensor([[r, -1.77, b]])})
        for r, b in ((1.77, -1.77), (-1.77, 1.77))
    )
    camera = orbit(0, 0, 2, height=16, width=16)
    for first, second, channel in ((red, blue, 0), (blue, red, 2)):
        pair = concatenate(first, second).to(device)
        middle = _draw(backend, pair, camera, bg=(0, 0, 0)).rgb[8, 8].tolist()
        _expect(middle[channel] > 2 * middle[2 - channel], f"the second row lies in front: {middle}")


def check_turned_together(backend: RasterBackend, device: str) -> None:
    """Turning the cloud and the camera alike changes nothing."""
    cloud, camera = random_cloud(200, 2), random_view(2, 48, 40)
    angle, axis = 0.7, torch.nn.functional.normalize(torch.tensor([0.3, -0.5, 0.8]), dim=0)
    turn = torch.cat([torch.tensor([math.cos(angle / 2)]), math.sin(angle / 2) * axis])
    matrix = rotation_matrices(turn.double()[None])[0]
    turned = GaussianCloud(
        **{
            **cloud.tensors(),
            "means": (cloud.means.double() @ matrix.T).float(),
            "quats": _quaternion_product(turn, cloud.quats),
        }
    )
    pose = np.eye(4)
    pose[:3, :3] = matrix.numpy()
    moved = Camera(pose @ camera.c2w, camera.fovy_deg, camera.height, camera.width)
    first, second = _draw(backend, cloud.to(device), camera), _draw(backend, turned.to(device), moved)
    apart = (first.rgb - second.rgb).abs().amax(-1).cpu()
    _expect(apart.quantile(0.97).item() < 1e-5, f"rgb moves by {apart.quantile(0.97).item():.2g}")


def check_reference(backend: RasterBackend, device: str, cloud: GaussianCloud, camera: Camera) -> None:
    """Pictures and gradients are those of the reference."""
    want = ("rgb", "alpha", "depth") if backend.has_depth else ("rgb", "alpha")
    plain = ~at_a_switch(cloud, camera)
    expected, reference = _draw_and_pull(TorchRasteriser(), cloud, camera, want, plain)
    found, own = _draw_and_pull(backend, cloud.to(device), camera, want, plain)
    _expect(plain.float().mean().item() > 1 - SWITCHES, "the scene has too many pixels where rounding decides")
    for name in want:
        apart = (getattr(found, name).detach().cpu() - getattr(expected, name).detach()).abs()
        apart = apart.amax(-1) if apart.ndim == 3 else apart
        largest = apart[plain].max().item() if bool(plain.any()) else 0.0
        _expect(largest <= FORWARD, f"{name} differs by {largest:.2g} (at most {FORWARD:g})")
        _expect(apart.mean().item() <= FORWARD_MEAN, f"{name} differs by {apart.mean().item():.2g} in the mean")
        _expect(apart.max().item() <= AT_A_SWITCH, f"{name} differs by {apart.max().item():.2g} at a switch")
    if not backend.differentiable:
        return
    for name, gradient in reference.items():
        scale = gradient.norm().item()
        apart = (own[name].cpu() - gradient).norm().item()
        _expect(apart <= GRADIENT * scale + 1e-7, f"the gradient of {name} differs by {apart / max(scale, 1e-12):.2g}")


def at_a_switch(cloud: GaussianCloud, camera: Camera) -> Tensor:
    """Return the pixels where rounding decides whether a Gaussian counts, bool [H, W]."""
    seen = project(cloud.detach(), camera)
    order = torch.argsort(seen.depths, stable=True)
    order = order[seen.visible[order]]
    a, b, c = (part[:, None] for part in seen.conics[order].double().unbind(-1))
    means, opacities = seen.means[order].double(), seen.opacities[order].double()[:, None]
    columns = torch.arange(camera.width) + 0.5
    rows = []
    for row in range(camera.height):
        dx, dy = means[:, :1] - columns, means[:, 1:] - (row + 0.5)
        sigma = (a * dx * dx + c * dy * dy) / 2 + b * dx * dy
        alpha = (opacities * torch.exp(-sigma)).clamp_max(0.99)
        after = torch.cumprod(1 - torch.where(alpha >= LEAST_ALPHA, alpha, 0.0), 0)
        near = ((alpha / LEAST_ALPHA - 1).abs() < _MARGIN) | ((after / LEAST_LIGHT - 1).abs() < 10 * _MARGIN)
        rows.append((near & (after > LEAST_LIGHT / 2)).any(0))
    return torch.stack(rows)


# --- tools ----------------------------------------------------------------------------------------------------------


def _draw(
    backend: RasterBackend, cloud: GaussianCloud, camera: Camera, bg: Tensor | Sequence[float] = BACKGROUND
) -> RenderOut:
    with torch.no_grad():
        return backend.render(cloud, camera, bg=bg)


def _draw_and_pull(
    backend: RasterBackend, cloud: GaussianCloud, camera: Camera, want: Sequence[str], where: Tensor
) -> tuple[RenderOut, dict[str, Tensor]]:
    """Draw, pull every output by random amounts at some pixels, and return the gradients of all that moves."""
    leaves = cloud.leaves()
    ground = torch.tensor(BACKGROUND, device=cloud.means.device, requires_grad=True)
    out = backend.render(leaves, camera, bg=ground, want=want)
    draw = torch_generator(0, "upstream gradient")
    loss = torch.zeros((), device=cloud.means.device)
    for name in want:
        value: Tensor = getattr(out, name)
        pull = torch.randn(value.shape, generator=draw) * (where[..., None] if value.ndim == 3 else where)
        loss = loss + (value * pull.to(value.device)).sum()
    torch.autograd.backward(loss)
    gradients = {**leaves.tensors(), "bg": ground, "means2d": out.means2d}
    return out, {
        name: torch.zeros_like(value) if value.grad is None else value.grad for name, value in gradients.items()
    }


def _quaternion_product(first: Tensor, second: Tensor) -> Tensor:
    """Return the rotation `second` followed by `first`: [4] times [N, 4]."""
    w, vector = first[0], first[1:]
    real = w * second[:, 0] - second[:, 1:] @ vector
    rest = (
        w * second[:, 1:] + second[:, :1] * vector + torch.linalg.cross(vector.expand_as(second[:, 1:]), second[:, 1:])
    )
    return torch.cat([real[:, None], rest], 1)


def _near(what: str, found: Tensor, expected: Tensor, tolerance: float) -> None:
    apart = (found - expected).abs().max().item()
    _expect(apart <= tolerance, f"{what} is off by {apart:.2g} (at most {tolerance:g})")


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise ContractError(message)
