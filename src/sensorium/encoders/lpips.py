"""LPIPS: how different two pictures look (Zhang et al., The Unreasonable Effectiveness of Deep Features, CVPR 2018).

    d(a, b) = sum over 5 layers of the spatial mean of  w_l . (f_l(a) - f_l(b))^2

f_l are the activations of a network after ReLU, each position normalised to length one; w_l >= 0 are weights per
channel that were fitted to human judgements. Pictures are RGB in -1..1; fed with 0..1 distances come out a tenth too
small.

    LPIPS.shipped()            AlexNet with its weights, part of this package (10 MB)
    LPIPS.from_file(path)      a converted file, such as VGG16's (`tools/convert_weights.py`)
    lpips_pyramid.Pyramid()    no network at all, where the weights are not there

Values of two of them never share a table. Distances are differentiable in both pictures.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.errors import DataError
from sensorium.core.files import read_safetensors
from sensorium.encoders.weights.files import verify

Net = Literal["alexnet", "vgg16", "pyramid"]
CHANNELS: dict[str, tuple[int, ...]] = {"alexnet": (64, 192, 384, 256, 256), "vgg16": (64, 128, 256, 512, 512)}
VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)
SHIPPED = "lpips_alexnet.safetensors"
SHIPPED_SHA256 = "fd172c3efa17a5ed16b7ffed2e28cf555a34731126d934113036be8836c752ea"
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
SMALLEST = 32  # pixels: below, no position is left in the last layer


def _backbone(net: str) -> tuple[nn.Sequential, tuple[int, ...]]:
    """Return the network up to its last used activation, and the places of the five that are used."""
    if net == "alexnet":
        modules: list[nn.Module] = [
            nn.Conv2d(3, 64, 11, 4, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
        ]
        return nn.Sequential(*modules), (1, 4, 7, 9, 11)
    modules, channels = [], 3
    for entry in VGG16:
        if isinstance(entry, int):
            modules += [nn.Conv2d(channels, entry, 3, padding=1), nn.ReLU()]
            channels = entry
        else:
            modules.append(nn.MaxPool2d(2))
    return nn.Sequential(*modules), (3, 8, 15, 22, 29)


def shipped_file() -> Path:
    """Return where this package keeps the AlexNet; a distribution may leave it out."""
    return Path(str(files("sensorium.encoders") / "files" / SHIPPED))


def layer_names(net: str) -> list[str]:
    """Return the names of the convolutions in a file, in order."""
    return [f"backbone.{name}" for name, module in _backbone(net)[0].named_children() if isinstance(module, nn.Conv2d)]


class LPIPS(nn.Module):
    """The distance. Its weights never train.

    Attributes:
        net: "alexnet" or "vgg16".
        at_fifty: Its value between a picture of an object and a correct one from 50 degrees beside it: the median over
            procedural objects, rounded. Thresholds are written in this unit.
    """

    at_fifty: float = 0.3
    shift: Tensor
    scale: Tensor

    def __init__(self, net: Literal["alexnet", "vgg16"]) -> None:
        super().__init__()
        if net not in CHANNELS:
            raise DataError(f"LPIPS has the networks {', '.join(CHANNELS)}, not '{net}'")
        self.net: Net = net
        self.backbone, self._places = _backbone(net)
        self.heads = nn.ParameterList([nn.Parameter(torch.zeros(width)) for width in CHANNELS[net]])
        self.register_buffer("shift", torch.tensor(SHIFT).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).reshape(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    @staticmethod
    def shipped() -> LPIPS:
        """Return the AlexNet that is part of this package.

        Raises:
            DataError: The file is damaged or missing.
        """
        return LPIPS.from_file(shipped_file(), sha256=SHIPPED_SHA256)

    @staticmethod
    def from_file(path: str | Path, *, sha256: str | None = None) -> LPIPS:
        """Return the network of a converted file.

        Args:
            path: A safetensors file of `tools/convert_weights.py`.
            sha256: What the file must be.

        Raises:
            DataError: The file is missing, another one, or fits neither network.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"{path} does not exist: tools/convert_weights.py makes it")
        if sha256 is not None:
            verify(path, sha256)
        state = read_safetensors(path)
        net: Literal["alexnet", "vgg16"] = (
            "alexnet" if state.get("heads.1", torch.zeros(0)).shape == (192,) else "vgg16"
        )
        model = LPIPS(net)
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise DataError(f"{path} holds no LPIPS: {str(error).splitlines()[-1].strip()}") from None
        return model

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Return the five activations, each position of length one, [b, C, h, w], of pictures [b, 3, H, W] in -1..1."""
        states = (pictures - self.shift) / self.scale
        found = []
        for place, module in enumerate(self.backbone):
            states = module(states)
            if place in self._places:
                # The root is kept from zero: where nothing is active its slope would be infinite.
                length = states.square().sum(1, keepdim=True).clamp(min=1e-20).sqrt()
                found.append(states / (length + 1e-10))
        return found

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distance of each pair, differentiable in both; d(a, a) = 0, d(a, b) = d(b, a).

        Args:
            first: float32 [b, 3, H, W] in -1..1, sides of at least 32 pixels.
            second: The same shape; or [1, 3, H, W], compared with each.

        Returns:
            float32 [b].

        Raises:
            DataError: Another shape.
        """
        check_pair(first, second)
        total = first.new_zeros(max(len(first), len(second)))
        for level, (one, other) in enumerate(zip(self.features(first), self.features(second), strict=True)):
            total = total + self.apart(level, one, other).mean((1, 2, 3))
        return total

    def apart(self, level: int, one: Tensor, other: Tensor) -> Tensor:
        """Return how much features of a level differ, place by place: [b, 1, h, w] of two [b, C, h, w]."""
        return functional.conv2d((one - other).square(), self.heads[level].reshape(1, -1, 1, 1))


def check_pair(first: Tensor, second: Tensor) -> None:
    """Refuse what are no two batches of pictures to compare.

    Raises:
        DataError: They are not [b, 3, H, W], of one size, with sides of at least 32 pixels.
    """
    if first.ndim != 4 or first.shape[1:] != second.shape[1:] or first.shape[1] != 3 or min(first.shape[2:]) < SMALLEST:
        raise DataError(
            f"LPIPS compares pictures [b, 3, H, W] of one size from {SMALLEST} pixels, "
            f"not {list(first.shape)} and {list(second.shape)}"
        )
