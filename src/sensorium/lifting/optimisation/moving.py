"""A cloud that moves: Adam over attributes whose rows come and go.

The rule is that of Kingma and Ba (2015) as `torch.optim.Adam` applies it. It stands here because its moments are rows
of the cloud too: a Gaussian that goes takes its own with it, one that comes has none yet.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sensorium.lifting.cloud import GaussianCloud, from_tensors

BETAS = (0.9, 0.999)
EPSILON = 1e-15


class MovingCloud:
    """Gaussians with their moments. The tensors are leaves that gather gradients.

    Args:
        cloud: Where it begins; it is copied.
    """

    def __init__(self, cloud: GaussianCloud) -> None:
        self.values = cloud.leaves().tensors()
        self.first = {name: torch.zeros_like(value) for name, value in cloud.tensors().items()}
        self.second = {name: torch.zeros_like(value) for name, value in cloud.tensors().items()}
        self.steps = 0

    def __len__(self) -> int:
        return len(self.values["means"])

    @property
    def cloud(self) -> GaussianCloud:
        """The Gaussians as they are now; the tensors are shared."""
        return GaussianCloud(**self.values)

    @torch.no_grad()
    def step(self, rates: Mapping[str, float]) -> None:
        """Move every attribute that has a gradient by one step of Adam, and forget the gradients.

        Args:
            rates: By attribute.
        """
        self.steps += 1
        bias_first, bias_second = 1 - BETAS[0] ** self.steps, 1 - BETAS[1] ** self.steps
        for name, value in self.values.items():
            if value.grad is None:
                continue
            self.first[name].lerp_(value.grad, 1 - BETAS[0])
            self.second[name].mul_(BETAS[1]).addcmul_(value.grad, value.grad, value=1 - BETAS[1])
            spread = (self.second[name].sqrt() / bias_second**0.5).add_(EPSILON)
            value.addcdiv_(self.first[name], spread, value=-rates[name] / bias_first)
            value.grad = None

    def keep(self, rows: Tensor) -> None:
        """Keep the Gaussians of a mask [N], each with its moments."""
        self.values = {name: value.detach()[rows].requires_grad_() for name, value in self.values.items()}
        self.first = {name: value[rows] for name, value in self.first.items()}
        self.second = {name: value[rows] for name, value in self.second.items()}

    def append(self, cloud: GaussianCloud) -> None:
        """Add Gaussians behind the last one, with no moments."""
        new = cloud.detach().tensors()
        self.values = {
            name: torch.cat([value.detach(), new[name]]).requires_grad_() for name, value in self.values.items()
        }
        self.first = {name: torch.cat([value, torch.zeros_like(new[name])]) for name, value in self.first.items()}
        self.second = {name: torch.cat([value, torch.zeros_like(new[name])]) for name, value in self.second.items()}

    @torch.no_grad()
    def limit_opacity(self, most: float) -> None:
        """Bring opacities to at most `most`, and let their moments begin anew."""
        self.values["opacity_logit"].clamp_max_(torch.logit(torch.tensor(most, dtype=torch.float64)).item())
        self.first["opacity_logit"].zero_()
        self.second["opacity_logit"].zero_()

    # --- on disk ----------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that decides how it goes on."""
        found = {"steps": torch.tensor(self.steps)}
        for prefix, part in (("cloud", self.values), ("first", self.first), ("second", self.second)):
            found |= {f"{prefix}.{name}": value.detach() for name, value in part.items()}
        return found

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], device: torch.device) -> MovingCloud:
        """Return what `tensors` described.

        Raises:
            DataError: An attribute is missing.
        """
        made = cls(from_tensors(tensors, prefix="cloud.").to(device))
        made.first = {name: tensors[f"first.{name}"].to(device) for name in made.values}
        made.second = {name: tensors[f"second.{name}"].to(device) for name in made.values}
        made.steps = int(tensors["steps"].item())
        return made
