"""The two networks that are defined here, against independent references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from sensorium.core.errors import DataError
from sensorium.encoders.packaged import efficientnet_lite, yamnet
from sensorium.encoders.packaged.converters import dinov2_state, whisper_state
from sensorium.encoders.packaged.efficientnet_lite import Block, EfficientNetLite0, SameConv, from_published_names
from sensorium.encoders.packaged.sizes import (
    EFFLITE_STAGES,
)
from sensorium.encoders.packaged.sizes import (
    YAMNET_PAIRS as PAIRS,
)
from sensorium.encoders.packaged.sizes import (
    YAMNET_STEM as STEM,
)
from sensorium.encoders.packaged.sizes import (
    YAMNET_WIDTHS as WIDTHS,
)
from sensorium.encoders.packaged.yamnet import YamNet, from_onnx
from sensorium.encoders.weights.onnx_file import Node, OnnxWeights, read_onnx


@pytest.mark.parametrize(("side", "kernel", "stride"), [(8, 3, 2), (7, 3, 2), (9, 5, 2), (8, 5, 1), (10, 5, 2)])
def test_same_padding_counts_positions_as_tensorflow_does(side: int, kernel: int, stride: int) -> None:
    """Each output position is written out: start = position * stride - total // 2."""
    torch.manual_seed(0)
    conv = SameConv(1, 1, kernel, stride)
    pixels = torch.randn(1, 1, side, side)
    with torch.no_grad():
        found = conv(pixels)[0, 0]
    places = -(-side // stride)
    total = max((places - 1) * stride + kernel - side, 0)
    assert found.shape == (places, places)
    weight = conv.weight[0, 0].detach()
    for row in range(places):
        for column in range(places):
            value = 0.0
            for down in range(kernel):
                for across in range(kernel):
                    y, x = row * stride - total // 2 + down, column * stride - total // 2 + across
                    if 0 <= y < side and 0 <= x < side:
                        value += float(weight[down, across] * pixels[0, 0, y, x])
            assert float(found[row, column]) == pytest.approx(value, abs=1e-5)


def test_the_input_of_a_block_is_added_only_where_shapes_agree() -> None:
    states = torch.randn(2, 8, 6, 6)
    for block, adds in ((Block(8, 8, 3, 1, 6), True), (Block(8, 16, 3, 1, 6), False), (Block(8, 8, 3, 2, 6), False)):
        block.eval()
        torch.nn.init.zeros_(block.project.weight)
        out = block(states)
        assert torch.equal(out, states) is adds
        if not adds:
            assert not out.any()


def test_efficientnet_lite0_has_its_published_size_and_stages() -> None:
    model = efficientnet_lite.random_weights(0).eval()
    assert sum(p.numel() for p in model.parameters()) == 4_652_008
    with torch.inference_mode():
        maps, vector = model(torch.zeros(1, 3, 224, 224))
        logits = model.logits(vector)
    assert [tuple(stage.shape[1:]) for stage in maps] == [
        (16, 112, 112),
        (24, 56, 56),
        (40, 28, 28),
        (80, 14, 14),
        (112, 14, 14),
        (192, 7, 7),
        (320, 7, 7),
    ]
    assert vector.shape == (1, 1280)
    assert logits.shape == (1, 1000)


def test_published_names_cover_every_tensor_once() -> None:
    own = EfficientNetLite0().state_dict()
    back = {"stem": "_conv_stem", "stem_norm": "_bn0", "head": "_conv_head", "head_norm": "_bn1", "classifier": "_fc"}
    inner = {
        "expand": "_expand_conv",
        "expand_norm": "_bn0",
        "depthwise": "_depthwise_conv",
        "depthwise_norm": "_bn1",
        "project": "_project_conv",
        "project_norm": "_bn2",
    }
    starts = np.cumsum([0, *(row[0] for row in EFFLITE_STAGES)])
    published = {}
    for name, value in own.items():
        parts = name.split(".")
        if parts[0] == "stages":
            place = starts[int(parts[1])] + int(parts[2])
            published[f"_blocks.{place}.{inner[parts[3]]}.{parts[4]}"] = value
        else:
            published[f"{back[parts[0]]}.{parts[1]}"] = value
    assert len(published) == len(own) == 296
    renamed = from_published_names(published)
    assert set(renamed) == set(own)
    assert all(torch.equal(renamed[name], own[name]) for name in own)


def quantised_graph(model: YamNet) -> OnnxWeights:
    """A graph as the export has it: kernels behind quantisers, whose names carry suffixes."""
    arrays, nodes = {}, []
    for place, conv in enumerate(model.convolutions()):
        arrays[f"onnx::Conv_{place}"] = conv.weight.detach().numpy()
        arrays[f"bias_{place}"] = conv.bias.detach().numpy()
        stride, kernel = conv.stride[0], conv.kernel_size[0]
        before, after = (1 if kernel == 3 and stride == 1 else 0), (1 if kernel == 3 else 0)
        nodes.append(
            Node(
                "",
                "Conv",
                ("states_updated", f"onnx::Conv_{place}_qdq", f"bias_{place}"),
                (f"out_{place}",),
                {"strides": [stride, stride], "pads": [before, before, after, after], "group": conv.groups},
            )
        )
    arrays["head"], arrays["head_bias"] = (
        model.classifier.weight.detach().numpy(),
        model.classifier.bias.detach().numpy(),
    )
    nodes.append(Node("", "Gemm", ("x", "head_qdq", "head_bias"), ("scores",), {}))
    return OnnxWeights(arrays, tuple(nodes))


def test_yamnet_is_rebuilt_from_a_quantised_graph() -> None:
    model = yamnet.random_weights(3)
    graph = quantised_graph(model)
    rebuilt = YamNet()
    rebuilt.load_state_dict(from_onnx(graph))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), rebuilt.parameters(), strict=True))
    for change in ({"strides": [2, 2]}, {"pads": [1, 1, 0, 0]}):
        node = graph.nodes[1]
        wrong = (graph.nodes[0], Node("c1", node.kind, node.inputs, node.outputs, {**node.attributes, **change}))
        with pytest.raises(DataError, match="c1"):
            from_onnx(OnnxWeights(graph.arrays, wrong + graph.nodes[2:]))
    with pytest.raises(DataError, match="27 convolutions"):
        from_onnx(OnnxWeights(graph.arrays, graph.nodes[1:]))


def test_yamnet_is_a_mobilenet() -> None:
    """The same network in PyTorch's own modules, written out."""
    model = yamnet.random_weights(1).eval()
    convs = model.convolutions()
    patches = torch.randn(2, 1, 96, 64)
    states = functional.relu(
        functional.conv2d(functional.pad(patches, (0, 1, 0, 1)), convs[0].weight, convs[0].bias, 2)
    )
    assert states.shape[1] == STEM
    for place, (stride, _) in enumerate(PAIRS):
        depthwise, pointwise = convs[1 + 2 * place], convs[2 + 2 * place]
        pads = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)
        states = functional.pad(states, pads)
        states = functional.relu(
            functional.conv2d(states, depthwise.weight, depthwise.bias, stride, groups=states.shape[1])
        )
        states = functional.relu(functional.conv2d(states, pointwise.weight, pointwise.bias))
    with torch.inference_mode():
        maps, vector = model(patches)
    torch.testing.assert_close(maps[-1], states)
    torch.testing.assert_close(vector, states.mean((2, 3)))
    assert tuple(stage.shape[1] for stage in maps) == WIDTHS
    assert maps[-1].shape[2:] == (3, 2)


def test_onnx_files_are_read_with_their_nodes(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="/a/MatMul")],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, [1, 2])],
        [onnx.helper.make_tensor_value_info("y", 1, [1, 3])],
        [onnx.numpy_helper.from_array(kernel, "w")],
    )
    path = tmp_path / "a.onnx"
    onnx.save(onnx.helper.make_model(graph), str(path))
    weights = read_onnx(path)
    np.testing.assert_array_equal(weights.arrays["w"], kernel)
    assert (weights.nodes[0].name, weights.nodes[0].inputs) == ("/a/MatMul", ("x", "w"))
    path.write_bytes(b"no model at all")
    with pytest.raises(DataError, match="cannot be read as ONNX"):
        read_onnx(path)


def test_dinov2_kernels_get_their_names_from_the_operations_that_read_them() -> None:
    kernel = np.arange(384 * 384, dtype=np.float32).reshape(384, 384)
    arrays = {
        "backbone.embeddings.cls_token": np.ones((1, 1, 384), np.float32),
        "onnx::MatMul_1": kernel,
        "onnx::Concat_2": np.full((1, 1, 384), 2, np.float32),
        "onnx::Reshape_3": np.full((1, 1369, 384), 3, np.float32),
        "decoder.bias": np.zeros(3, np.float32),
    }
    path = "/backbone/encoder/layer.0/mlp/fc1/MatMul"
    nodes = (
        Node(path, "MatMul", ("states", "onnx::MatMul_1"), ("out",), {}),
        Node("/backbone/encoder/layer.0/attention/MatMul", "MatMul", ("q", "k"), ("s",), {}),
    )
    state = dinov2_state(OnnxWeights(arrays, nodes))
    np.testing.assert_array_equal(state["encoder.layer.0.mlp.fc1.weight"].numpy(), kernel.T)
    positions = state["embeddings.position_embeddings"]
    assert positions.shape == (1, 1370, 384)
    assert positions[0, 0, 0] == 2
    assert bool((positions[0, 1:] == 3).all())
    assert set(state) == {
        "embeddings.cls_token",
        "embeddings.mask_token",
        "embeddings.position_embeddings",
        "encoder.layer.0.mlp.fc1.weight",
    }
    with pytest.raises(DataError, match="position"):
        dinov2_state(OnnxWeights({"onnx::MatMul_1": kernel}, nodes))


def whisper_variables(width: int = 64, layers: int = 2, bands: int = 80, vocabulary: int = 51_864) -> dict:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype("<f2")

    found = {
        "encoder/conv1/weight": draw(width, bands, 3),
        "encoder/conv1/bias": draw(width),
        "encoder/conv2/weight": draw(width, width, 3),
        "encoder/conv2/bias": draw(width),
        "decoder/embeddings/weight": draw(vocabulary, width),
        "encoder/position_encodings/encodings": draw(1500, width),
        "decoder/position_encodings/encodings": draw(448, width),
    }

    def linear(place: str, out: int, into: int, keys: slice | None = None) -> None:
        found[f"{place}/weight"], bias = draw(out, into), draw(out)
        if keys is not None:
            bias[keys] = 0
        found[f"{place}/bias"] = bias

    def norm(place: str) -> None:
        found[f"{place}/gamma"], found[f"{place}/beta"] = draw(width), draw(width)

    for side in ("encoder", "decoder"):
        norm(f"{side}/layer_norm")
        for layer in range(layers):
            place = f"{side}/layer_{layer}"
            linear(f"{place}/self_attention/linear_0", 3 * width, width, slice(width, 2 * width))
            linear(f"{place}/self_attention/linear_1", width, width)
            linear(f"{place}/ffn/linear_0", 4 * width, width)
            linear(f"{place}/ffn/linear_1", width, 4 * width)
            norm(f"{place}/self_attention/layer_norm")
            norm(f"{place}/ffn/layer_norm")
            if side == "decoder":
                linear(f"{place}/attention/linear_0", width, width)
                linear(f"{place}/attention/linear_1", 2 * width, width, slice(0, width))
                linear(f"{place}/attention/linear_2", width, width)
                norm(f"{place}/attention/layer_norm")
    return found


def test_whisper_of_ctranslate2_fits_the_model_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    variables = whisper_variables()
    state, settings = whisper_state(variables)
    model = transformers.WhisperModel(transformers.WhisperConfig(**settings))
    report = model.load_state_dict(state, strict=True)
    assert not report.missing_keys
    assert not report.unexpected_keys
    stacked = variables["encoder/layer_1/self_attention/linear_0/weight"].astype(np.float32)
    np.testing.assert_array_equal(state["encoder.layers.1.self_attn.v_proj.weight"].numpy(), stacked[128:])
    variables["encoder/layer_0/self_attention/linear_0/bias"][70] = 1
    with pytest.raises(DataError, match="keys have no bias"):
        whisper_state(variables)
