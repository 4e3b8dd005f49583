"""A cloud fitted to pictures of one object from known cameras, and how well it shows what was held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from sensorium.core.config import Config, dump
from sensorium.core.errors import ConfigError, DataError
from sensorium.core.files import digest
from sensorium.core.rundir import RunDirectory
from sensorium.core.seeds import numpy_generator
from sensorium.lifting.camera import Camera
from sensorium.lifting.cloud import GaussianCloud, ball
from sensorium.lifting.optimisation import OptimisationConfig, Optimised, StepOutcome, optimise
from sensorium.lifting.rasterisers import WHITE, RasterBackend, render, select


@dataclass(frozen=True, eq=False)
class View:
    """One picture and the camera that took it.

    Attributes:
        camera: With as many pixels as the picture.
        rgb: [H, W, 3] in [0, 1]; with `alpha`, the object on white.
        alpha: How much of each pixel the object covers, [H, W] in [0, 1]; None where that is not known.

    Raises:
        DataError: The picture has another size than the camera, or values that are not finite.
    """

    camera: Camera
    rgb: npt.NDArray[np.float32]
    alpha: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        size = (self.camera.height, self.camera.width)
        alpha = self.alpha
        if self.rgb.shape != (*size, 3) or (alpha is not None and alpha.shape != size):
            raise DataError(f"a view of {size[0]} x {size[1]} pixels has a picture of shape {[*self.rgb.shape]}")
        if not np.isfinite(self.rgb).all() or (alpha is not None and not np.isfinite(alpha).all()):
            raise DataError("a picture holds values that are not finite")


class FitConfig(Config):
    """One fit to known views."""

    points: int = Field(5000, ge=1, description="Gaussians to begin with")
    radius: float = Field(0.5, gt=0, description="radius of the ball that they begin in, world units")
    views_per_step: int = Field(1, ge=1, description="pictures that are drawn in one step")
    background: tuple[float, float, float] = Field(WHITE, description="what lies behind the object in the pictures")
    rgb_weight: float = Field(1e4, gt=0, description="of the mean squared difference of colours")
    alpha_weight: float = Field(1e3, ge=0, description="of that of coverage, where the views have it")
    optimisation: OptimisationConfig = Field(default_factory=OptimisationConfig, description="the optimisation itself")


@dataclass(frozen=True)
class FitResult:
    """The outcome of a fit.

    Attributes:
        cloud: The Gaussians.
        train_psnr: Mean PSNR over the views that were fitted, dB.
        heldout_psnr: Mean PSNR over the held-out views, dB; None without any.
        begin_heldout_psnr: The same before the first step.
        optimised: What the loop says.
    """

    cloud: GaussianCloud
    train_psnr: float
    heldout_psnr: float | None
    begin_heldout_psnr: float | None
    optimised: Optimised


def fit(
    views: Sequence[View],
    config: FitConfig | None = None,
    *,
    heldout: Sequence[View] = (),
    begin: GaussianCloud | None = None,
    seed: int = 0,
    run: RunDirectory | None = None,
    backend: str | RasterBackend | None = None,
) -> FitResult:
    """Fit a cloud to views.

    Args:
        views: What it is fitted to, at least one.
        config: None takes the defaults.
        heldout: Views that it is only measured on.
        begin: The cloud to begin with; None takes a grey ball.
        seed: Decides every random draw.
        run: A run's folder, which the caller holds; one that was killed goes on where it was. Filled with
            metrics.jsonl, timing.jsonl and a checkpoint; the caller writes what comes of it.
        backend: A rasteriser or its name; None selects.

    Raises:
        DataError: There are no views.
        RunError: The folder's checkpoint is of other views, another configuration or another seed.
    """
    if not views:
        raise DataError("there are no views to fit a cloud to")
    config = config or FitConfig()
    begin = begin if begin is not None else ball(config.points, seed=seed, radius=config.radius)
    drawer = select(backend, begin.means.device.type) if backend is None or isinstance(backend, str) else backend
    if not drawer.differentiable:
        raise ConfigError(f"the rasteriser '{drawer.name}' gives no gradient: nothing can be fitted with it")
    objective = _KnownViews(views, config, drawer, seed, begin.means.device)
    about = _about(views, config, begin)
    optimised = optimise(begin, objective, config.optimisation, seed=seed, run=run, about=about)
    return _result(optimised, begin, views, heldout, config, drawer)


class _KnownViews:
    """The objective: mean squared differences to some of the views in turn."""

    def __init__(
        self, views: Sequence[View], config: FitConfig, drawer: RasterBackend, seed: int, device: torch.device
    ) -> None:
        self.views, self.config, self.drawer, self.seed = views, config, drawer, seed
        self.colours = [torch.from_numpy(np.ascontiguousarray(view.rgb)).float().to(device) for view in views]
        self.coverage = [
            None if view.alpha is None else torch.from_numpy(np.ascontiguousarray(view.alpha)).float().to(device)
            for view in views
        ]

    def __call__(self, cloud: GaussianCloud, step: int) -> StepOutcome:
        chosen = self.chosen(step)
        outs = [self.drawer.render(cloud, self.views[i].camera, bg=self.config.background) for i in chosen]
        rgb = [(out.rgb - self.colours[i]).square().mean() for out, i in zip(outs, chosen, strict=True)]
        terms = {"rgb": self.config.rgb_weight * torch.stack(rgb).mean()}
        alpha: list[Tensor] = []
        for out, i in zip(outs, chosen, strict=True):
            if (covered := self.coverage[i]) is not None:
                alpha.append((out.alpha - covered).square().mean())
        if alpha and self.config.alpha_weight:
            terms["alpha"] = self.config.alpha_weight * torch.stack(alpha).mean()
        return StepOutcome(terms, watched=outs)

    def chosen(self, step: int) -> list[int]:
        """Return the views of a step: all in turn, in a new order each time round."""
        found = []
        for place in range(step * self.config.views_per_step, (step + 1) * self.config.views_per_step):
            turn, index = divmod(place, len(self.views))
            found.append(int(numpy_generator(self.seed, "order of views", turn).permutation(len(self.views))[index]))
        return found


def psnr(
    cloud: GaussianCloud,
    views: Sequence[View],
    *,
    background: Sequence[float] = WHITE,
    backend: str | RasterBackend | None = None,
) -> list[float]:
    """Return the peak signal-to-noise ratio of a cloud's pictures, clipped to [0, 1], against each view, dB."""
    found = []
    with torch.no_grad():
        for view in views:
            drawn = render(cloud, view.camera, bg=background, backend=backend).rgb.clamp(0, 1).cpu()
            error = (drawn.double() - torch.from_numpy(view.rgb).double()).square().mean().item()
            found.append(-10 * float(np.log10(max(error, 1e-12))))
    return found


def _result(
    optimised: Optimised,
    begin: GaussianCloud,
    views: Sequence[View],
    heldout: Sequence[View],
    config: FitConfig,
    drawer: RasterBackend,
) -> FitResult:
    def mean(cloud: GaussianCloud, measured: Sequence[View]) -> float | None:
        values = psnr(cloud, measured, background=config.background, backend=drawer)
        return float(np.mean(values)) if values else None

    train = mean(optimised.cloud, views)
    assert train is not None  # there is at least one view
    return FitResult(optimised.cloud, train, mean(optimised.cloud, heldout), mean(begin, heldout), optimised)


def _about(views: Sequence[View], config: FitConfig, begin: GaussianCloud) -> str:
    """Return a digest of all that the objective depends on."""
    pictures = [
        [view.camera.c2w, view.camera.fovy_deg, view.rgb, view.alpha if view.alpha is not None else "none"]
        for view in views
    ]
    return digest(dump(config), pictures, [value.cpu().numpy() for value in begin.detach().tensors().values()])
