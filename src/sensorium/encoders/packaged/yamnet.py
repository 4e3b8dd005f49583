"""YAMNet: a MobileNet-v1 for sound that names 521 kinds of sound of AudioSet (Google, 2020).

Input are patches of log mel bands, [n, 1, 96, 64]. 14 stages: a 3 x 3 convolution, then 13 pairs of a depthwise 3 x 3
and a pointwise 1 x 1 convolution, each with ReLU; batch norms are folded into the kernels. The packaged file is an
export with quantisers around every operation: the kernels in it are floats, and the quantisers are left out here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.errors import DataError
from sensorium.encoders.packaged.sizes import YAMNET_CLASSES as CLASSES
from sensorium.encoders.packaged.sizes import YAMNET_PAIRS as PAIRS
from sensorium.encoders.packaged.sizes import YAMNET_STEM as STEM
from sensorium.encoders.weights.onnx_file import Node, OnnxWeights


class PaddedConv(nn.Conv2d):
    """A convolution with bias and ReLU, padded as TensorFlow's "same": for stride 2 and even sides right and below."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(channels, width, kernel, stride, groups=groups)

    def forward(self, states: Tensor) -> Tensor:
        """[n, C, h, w] -> [n, C', h', w']."""
        if self.kernel_size[0] > 1:
            before = 1 if self.stride[0] == 1 else 0
            states = functional.pad(states, (before, 1, before, 1))
        return functional.relu(functional.conv2d(states, self.weight, self.bias, self.stride, 0, 1, self.groups))


class YamNet(nn.Module):
    """The network."""

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = [PaddedConv(1, STEM, 3, 2)]
        channels = STEM
        for stride, width in PAIRS:
            stages.append(
                nn.Sequential(
                    PaddedConv(channels, channels, 3, stride, groups=channels), PaddedConv(channels, width, 1, 1)
                )
            )
            channels = width
        self.stages = nn.ModuleList(stages)
        self.classifier = nn.Linear(channels, CLASSES)

    def stage_maps(self, patches: Tensor) -> Iterator[Tensor]:
        """Yield the output of each stage, [n, width, h, w], from patches [n, 1, 96, 64]."""
        states = patches
        for stage in self.stages:
            states = stage(states)
            yield states

    def forward(self, patches: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the maps of all stages and the vector of each patch, [n, 1024]."""
        maps = list(self.stage_maps(patches))
        return maps, maps[-1].mean((2, 3))

    def logits(self, vector: Tensor) -> Tensor:
        """Scores of the 521 kinds of sound, before the sigmoid, [n, 521]."""
        scores: Tensor = self.classifier(vector)
        return scores

    def convolutions(self) -> list[PaddedConv]:
        """The 27 convolutions in order."""
        return [module for module in self.modules() if isinstance(module, PaddedConv)]


def from_onnx(weights: OnnxWeights) -> dict[str, Tensor]:
    """Return the tensors of a `YamNet` from the quantised export.

    Raises:
        DataError: The graph has other operations, strides or pads than the network.
    """
    model = YamNet()
    own = model.convolutions()
    nodes = [node for node in weights.nodes if node.kind == "Conv"]
    ends = [node for node in weights.nodes if node.kind == "Gemm"]
    if len(nodes) != len(own) or len(ends) != 1:
        raise DataError(f"a YAMNet has {len(own)} convolutions and one classifier, not {len(nodes)} and {len(ends)}")
    for module, node in zip(own, nodes, strict=True):
        stride = list(module.stride)
        before = 1 if module.kernel_size[0] == 3 and stride[0] == 1 else 0
        after = 1 if module.kernel_size[0] == 3 else 0
        expected = {"strides": stride, "pads": [before, before, after, after], "group": module.groups}
        told = {key: node.attributes.get(key) for key in expected}
        if told != expected:
            raise DataError(f"the convolution {node.name or node.outputs[0]} has {told}, a YAMNet has {expected} there")
        _fill(module, _array(weights, node, 1), _array(weights, node, 2))
    _fill(model.classifier, _array(weights, ends[0], 1), _array(weights, ends[0], 2))
    return model.state_dict()


def _array(weights: OnnxWeights, node: Node, place: int) -> Tensor:
    """Return a kernel or bias by the name that the node reads, with what the quantiser appended to it dropped."""
    name = node.inputs[place]
    for suffix in ("", "_qdq", "_updated"):
        plain = name.removesuffix(suffix) if suffix else name
        if plain in weights.arrays:
            return torch.from_numpy(np.array(weights.arrays[plain], np.float32))
    raise DataError(f"the graph has no array {name}")


def _fill(module: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor) -> None:
    if weight.shape != module.weight.shape or module.bias is None or bias.shape != module.bias.shape:
        raise DataError(f"a kernel of shape {tuple(weight.shape)} stands where {tuple(module.weight.shape)} belongs")
    with torch.no_grad():
        module.weight.copy_(weight)
        module.bias.copy_(bias)


def random_weights(seed: int) -> YamNet:
    """Return an untrained network, for tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return YamNet()


def top_classes(logits: Tensor, names: Sequence[str], count: int = 3) -> list[list[str]]:
    """Return the names of the highest scores of each row, [n][count]."""
    return [[names[place] for place in row] for row in logits.topk(count, dim=1).indices.tolist()]
