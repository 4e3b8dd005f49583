"""EfficientNet-lite0: a small convolutional network for pictures, with the head that names 1,000 ImageNet classes.

Tan and Le, EfficientNet, ICML 2019; the lite variant (Google, 2020) has no squeeze-and-excite, ReLU6 instead of swish,
and keeps the widths of stem and head. Stages (repeats, kernel, stride, expansion, width):

    1 3 1 1 16 | 2 3 2 6 24 | 2 5 2 6 40 | 3 3 2 6 80 | 3 5 1 6 112 | 4 5 2 6 192 | 1 3 1 6 320

Padding is TensorFlow's "same": where it is odd, the larger half lies right and below.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.encoders.packaged.sizes import EFFLITE_HEAD as HEAD
from sensorium.encoders.packaged.sizes import EFFLITE_STAGES as STAGES

STEM, CLASSES = 32, 1000


class SameConv(nn.Conv2d):
    """A convolution without bias whose output has ceil(side / stride) positions, as TensorFlow counts them."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, width, kernel, stride, groups=groups, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pad [n, C, H, W] as needed, and convolve."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        down, across = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in pixels.shape[-2:])
        if down or across:
            pixels = functional.pad(pixels, (across // 2, across - across // 2, down // 2, down - down // 2))
        return functional.conv2d(pixels, self.weight, None, self.stride, 0, 1, self.groups)


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    """Widen by 1 x 1, mix positions per channel, narrow by 1 x 1; with the input added where the shapes agree."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.expand = SameConv(channels, inner, 1) if expansion > 1 else None
        self.expand_norm = _norm(inner) if expansion > 1 else None
        self.depthwise = SameConv(inner, inner, kernel, stride, groups=inner)
        self.depthwise_norm = _norm(inner)
        self.project = SameConv(inner, width, 1)
        self.project_norm = _norm(width)
        self.residual = stride == 1 and channels == width

    def forward(self, states: Tensor) -> Tensor:
        """[n, C, h, w] -> [n, C', h', w']."""
        inner: Tensor = states
        if self.expand is not None and self.expand_norm is not None:
            inner = functional.relu6(self.expand_norm(self.expand(inner)))
        inner = functional.relu6(self.depthwise_norm(self.depthwise(inner)))
        inner = self.project_norm(self.project(inner))
        return states + inner if self.residual else inner


class EfficientNetLite0(nn.Module):
    """The network; its input is (x - 127) / 128 of 8-bit RGB, [n, 3, H, W], made for 224 x 224."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM, 3, 2)
        self.stem_norm = _norm(STEM)
        stages, channels = [], STEM
        for repeats, kernel, stride, expansion, width in STAGES:
            blocks = []
            for repeat in range(repeats):
                blocks.append(Block(channels, width, kernel, stride if repeat == 0 else 1, expansion))
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.head = SameConv(channels, HEAD, 1)
        self.head_norm = _norm(HEAD)
        self.classifier = nn.Linear(HEAD, CLASSES)

    def stage_maps(self, pixels: Tensor) -> Iterator[Tensor]:
        """Yield the output of each stage, [n, width, h, w]."""
        states = functional.relu6(self.stem_norm(self.stem(pixels)))
        for stage in self.stages:
            states = stage(states)
            yield states

    def vector(self, last: Tensor) -> Tensor:
        """From the map of the last stage to the vector that the classifier reads, [n, 1280]."""
        return functional.relu6(self.head_norm(self.head(last))).mean((2, 3))

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the maps of all stages and the vector [n, 1280]."""
        maps = list(self.stage_maps(pixels))
        return maps, self.vector(maps[-1])

    def logits(self, vector: Tensor) -> Tensor:
        """Scores of the 1,000 classes, [n, 1000]."""
        scores: Tensor = self.classifier(vector)
        return scores


def from_published_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of the published file (blocks counted through all stages) to this module's names."""
    places = [(stage, block) for stage, row in enumerate(STAGES) for block in range(row[0])]
    outer = {"_conv_stem": "stem", "_bn0": "stem_norm", "_conv_head": "head", "_bn1": "head_norm", "_fc": "classifier"}
    inner = {
        "_expand_conv": "expand",
        "_bn0": "expand_norm",
        "_depthwise_conv": "depthwise",
        "_bn1": "depthwise_norm",
        "_project_conv": "project",
        "_bn2": "project_norm",
    }
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "_blocks":
            stage, block = places[int(parts[1])]
            renamed[f"stages.{stage}.{block}.{inner[parts[2]]}.{parts[3]}"] = value
        else:
            renamed[f"{outer[parts[0]]}.{parts[1]}"] = value
    return renamed


def random_weights(seed: int) -> EfficientNetLite0:
    """Return an untrained network, for tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EfficientNetLite0()
