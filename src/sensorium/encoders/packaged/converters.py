"""From the files of packages to what a model is loaded from: `model.safetensors`, `config.json`, a tokeniser.

Each recipe gets verified files by their names in the packages and an empty folder. They run in a process of their own
(`prepare.py`), once; what runs later reads safetensors and JSON.
"""

from __future__ import annotations

import csv
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.errors import DataError, require
from sensorium.core.files import write_json, write_safetensors
from sensorium.encoders.packaged import efficientnet_lite, yamnet
from sensorium.encoders.packaged.sizes import YAMNET_CLASSES
from sensorium.encoders.packaged.sources import EFFLITE0, MPNET
from sensorium.encoders.weights.ctranslate2 import as_float32, read_ctranslate2
from sensorium.encoders.weights.e5s1 import read_e5s1
from sensorium.encoders.weights.files import verify
from sensorium.encoders.weights.joined import extract
from sensorium.encoders.weights.legacy_torch import read_state_dict
from sensorium.encoders.weights.onnx_file import OnnxWeights, read_onnx

MODEL, SETTINGS, CLASSES = "model.safetensors", "config.json", "classes.json"
FORMAT = {"format": "pt"}  # as transformers writes it, so that equal tensors give an equal file
YAMNET_DATA = "c6faf7f7dba0d179293fdcc3468a9a10f54ab8fbc1547218880bae79ff9f8126"

Sources = Mapping[str, Path]  # path in the package -> verified file
Recipe = Callable[[Sources, Path], None]


def _named(sources: Sources, name: str) -> Path:
    """Return the one file of that name."""
    return next(path for member, path in sources.items() if member.rsplit("/", 1)[-1] == name)


def copy(sources: Sources, folder: Path) -> None:
    """The files are what they should be already."""
    for member, path in sources.items():
        shutil.copyfile(path, folder / member.rsplit("/", 1)[-1])


def mpnet_zip(sources: Sources, folder: Path) -> None:
    """Five parts of one archive."""
    names = ("config.json", MODEL, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
    extract(list(sources.values()), {f"all-mpnet-base-v2/{name}": name for name in names}, folder)
    verify(folder / MODEL, MPNET.sha256)


def gguf(sources: Sources, folder: Path) -> None:
    """A decoder in 4 bits: transformers maps its names and computes its values."""
    transformers = require("transformers", extra="offline", purpose="reading GGUF weights")
    require("gguf", extra="offline", purpose="reading GGUF weights")
    require("accelerate", extra="offline", purpose="reading GGUF weights")
    (path,) = sources.values()
    with tempfile.TemporaryDirectory() as scratch:
        link = Path(scratch) / "model.gguf"
        link.symlink_to(path.resolve())
        model = transformers.AutoModel.from_pretrained(scratch, gguf_file=link.name, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(scratch, gguf_file=link.name)
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config  # save_pretrained refuses it, and the values are floats by now
        model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    write_safetensors(folder / MODEL, model.state_dict(), FORMAT)


def e5(sources: Sources, folder: Path) -> None:
    """A multilingual BERT in 4 bits, and the tokeniser of its original."""
    weights = read_e5s1(_named(sources, "e5-small-q4.bin"))
    write_json(
        folder / SETTINGS,
        {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_size": weights.hidden,
            "num_hidden_layers": weights.layers,
            "num_attention_heads": weights.heads,
            "intermediate_size": weights.ffn,
            "vocab_size": weights.vocabulary,
            "max_position_embeddings": weights.positions,
            "type_vocab_size": weights.types,
            "layer_norm_eps": float(f"{weights.epsilon:.6g}"),
            "hidden_act": "gelu",
            "pad_token_id": 0,
        },
    )
    names = {
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "ao": "attention.output.dense",
        "aln": "attention.output.LayerNorm",
        "fi": "intermediate.dense",
        "fo": "output.dense",
        "oln": "output.LayerNorm",
    }
    embeddings = {"word": "word_embeddings", "pos": "position_embeddings", "type": "token_type_embeddings"}
    endings = {"w": "weight", "b": "bias"}
    state: dict[str, Tensor] = {}
    for name, values in weights.tensors.items():
        first, second, *rest = name.split(".")
        if first == "emb":
            place = f"embeddings.LayerNorm.{endings[rest[0]]}" if rest else f"embeddings.{embeddings[second]}.weight"
            shape = (-1,) if rest else (-1, weights.hidden)
        else:
            place = f"encoder.layer.{first[1:]}.{names[second]}.{endings[rest[0]]}"
            columns = weights.ffn if second == "fo" else weights.hidden
            shape = (-1, columns) if rest[0] == "w" and second not in ("aln", "oln") else (-1,)
        state[place] = torch.from_numpy(np.array(values)).reshape(shape)
    write_safetensors(folder / MODEL, state, FORMAT)
    shutil.copyfile(_named(sources, "tokenizer.json"), folder / "tokenizer.json")
    write_json(folder / "tokenizer_config.json", {"pad_token": "<pad>"})


def efficientnet_lite0(sources: Sources, folder: Path) -> None:
    """The one legacy torch file."""
    (path,) = sources.values()
    state = efficientnet_lite.from_published_names(read_state_dict(path, EFFLITE0.sha256))
    _require_keys(state, efficientnet_lite.EfficientNetLite0().state_dict(), path)
    write_safetensors(folder / MODEL, state, FORMAT)


def yamnet_onnx(sources: Sources, folder: Path) -> None:
    """An archive with a graph and its arrays; class names from a table beside it."""
    with tempfile.TemporaryDirectory() as scratch:
        inside = "job_jpev7z175_optimized_onnx"
        members = {f"{inside}/model.onnx": "model.onnx", f"{inside}/model.data": "model.data"}
        extract([_named(sources, "YamNet_w8a8.onnx.zip")], members, Path(scratch))
        verify(Path(scratch) / "model.data", YAMNET_DATA)
        state = yamnet.from_onnx(read_onnx(Path(scratch) / "model.onnx"))
    write_safetensors(folder / MODEL, state, FORMAT)
    with _named(sources, "yamnet_class_map.csv").open(newline="", encoding="utf-8") as table:
        names = [row["display_name"] for row in csv.DictReader(table)]
    if len(names) != YAMNET_CLASSES:
        raise DataError(f"YAMNet has {YAMNET_CLASSES} classes, its table {len(names)}")
    write_json(folder / CLASSES, names)


def dinov2_onnx(sources: Sources, folder: Path) -> None:
    """The backbone of a saliency model."""
    (path,) = sources.values()
    state = dinov2_state(read_onnx(path))
    write_safetensors(folder / MODEL, state, FORMAT)
    write_json(
        folder / SETTINGS,
        {
            "architectures": ["Dinov2Model"],
            "model_type": "dinov2",
            "hidden_size": 384,
            "num_hidden_layers": 12,
            "num_attention_heads": 6,
            "mlp_ratio": 4,
            "image_size": 518,
            "patch_size": 14,
        },
    )


_MATMUL = re.compile(r"/backbone/(encoder/layer\.\d+/.+)/MatMul")


def dinov2_state(weights: OnnxWeights) -> dict[str, Tensor]:
    """Return the 223 tensors of a `Dinov2Model` from the graph.

    Biases and norms carry their names. Kernels of linear layers are anonymous: the operation that reads one has the
    module's path as its name. The position of the class token and those of the patches were cut apart by the exporter.
    """
    prefix = "backbone."
    state = {
        name.removeprefix(prefix): np.asarray(value)
        for name, value in weights.arrays.items()
        if name.startswith(prefix)
    }
    for node in weights.nodes:
        found = _MATMUL.fullmatch(node.name) if node.kind == "MatMul" else None
        kernels = [name for name in node.inputs if name in weights.arrays]
        if found and kernels:
            state[found[1].replace("/", ".") + ".weight"] = weights.arrays[kernels[0]].T
    ends = [value for value in weights.arrays.values() if value.shape in ((1, 1, 384), (1, 1369, 384))]
    anonymous = [value for value in ends if not any(value is known for known in state.values())]
    try:
        first = next(value for value in anonymous if value.shape[1] == 1)
        others = next(value for value in anonymous if value.shape[1] == 1369)
    except StopIteration:
        raise DataError("the graph holds no position embeddings of a DINOv2 with 37 x 37 patches") from None
    state["embeddings.position_embeddings"] = np.concatenate([first, others], axis=1)
    state["embeddings.mask_token"] = np.zeros((1, 384), np.float32)
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in state.items()}


def whisper_ctranslate2(sources: Sources, folder: Path) -> None:
    """A Whisper of CTranslate2: its sizes are those of its arrays."""
    variables = read_ctranslate2(_named(sources, "model.bin"), "WhisperSpec")
    state, settings = whisper_state(variables)
    write_json(folder / SETTINGS, settings)
    write_safetensors(folder / MODEL, state, FORMAT)


def whisper_state(variables: Mapping[str, npt.NDArray[Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a `WhisperModel` and its config."""
    known = dict(variables)

    def value(name: str) -> Tensor:
        return torch.from_numpy(np.array(as_float32(known, name)))

    width = value("encoder/layer_norm/gamma").shape[0]
    vocabulary = value("decoder/embeddings/weight").shape[0]
    layers = {
        side: len({name.split("/")[1] for name in known if re.match(rf"{side}/layer_\d+/", name)})
        for side in ("encoder", "decoder")
    }
    state: dict[str, Tensor] = {}
    for convolution in ("conv1", "conv2"):
        for ending in ("weight", "bias"):
            state[f"encoder.{convolution}.{ending}"] = value(f"encoder/{convolution}/{ending}")
    state["decoder.embed_tokens.weight"] = value("decoder/embeddings/weight")
    for side in ("encoder", "decoder"):
        state[f"{side}.embed_positions.weight"] = value(f"{side}/position_encodings/encodings")
        _whisper_norm(state, f"{side}.layer_norm", f"{side}/layer_norm", value)
        for layer in range(layers[side]):
            theirs, ours = f"{side}/layer_{layer}", f"{side}.layers.{layer}"
            for ending in ("weight", "bias"):
                parts = value(f"{theirs}/self_attention/linear_0/{ending}").chunk(3)
                for name, part in zip(("q_proj", "k_proj", "v_proj"), parts, strict=True):
                    state[f"{ours}.self_attn.{name}.{ending}"] = part
                state[f"{ours}.self_attn.out_proj.{ending}"] = value(f"{theirs}/self_attention/linear_1/{ending}")
                for place, name in ((0, "fc1"), (1, "fc2")):
                    state[f"{ours}.{name}.{ending}"] = value(f"{theirs}/ffn/linear_{place}/{ending}")
                if side == "decoder":
                    cross = f"{ours}.encoder_attn"
                    state[f"{cross}.q_proj.{ending}"] = value(f"{theirs}/attention/linear_0/{ending}")
                    keys, values = value(f"{theirs}/attention/linear_1/{ending}").chunk(2)
                    state[f"{cross}.k_proj.{ending}"], state[f"{cross}.v_proj.{ending}"] = keys, values
                    state[f"{cross}.out_proj.{ending}"] = value(f"{theirs}/attention/linear_2/{ending}")
            _whisper_norm(state, f"{ours}.self_attn_layer_norm", f"{theirs}/self_attention/layer_norm", value)
            _whisper_norm(state, f"{ours}.final_layer_norm", f"{theirs}/ffn/layer_norm", value)
            if side == "decoder":
                _whisper_norm(state, f"{ours}.encoder_attn_layer_norm", f"{theirs}/attention/layer_norm", value)
    for name in [name for name in state if name.endswith("k_proj.bias")]:
        if bool(state.pop(name).any()):
            raise DataError("a Whisper's keys have no bias, this one's have")
    end = 50_256 if vocabulary == 51_864 else 50_257  # the English models lack one special token
    settings = {
        "architectures": ["WhisperModel"],
        "model_type": "whisper",
        "d_model": width,
        "encoder_layers": layers["encoder"],
        "decoder_layers": layers["decoder"],
        "encoder_attention_heads": width // 64,
        "decoder_attention_heads": width // 64,
        "encoder_ffn_dim": 4 * width,
        "decoder_ffn_dim": 4 * width,
        "num_mel_bins": state["encoder.conv1.weight"].shape[1],
        "max_source_positions": state["encoder.embed_positions.weight"].shape[0],
        "max_target_positions": state["decoder.embed_positions.weight"].shape[0],
        "vocab_size": vocabulary,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": end + 1,
    }
    return state, settings


def _whisper_norm(state: dict[str, Tensor], ours: str, theirs: str, value: Callable[[str], Tensor]) -> None:
    state[f"{ours}.weight"], state[f"{ours}.bias"] = value(f"{theirs}/gamma"), value(f"{theirs}/beta")


def _require_keys(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that lack a tensor, or have one too many, or one of another shape."""
    wrong = sorted(
        name
        for name in {*state, *expected}
        if name not in state or name not in expected or state[name].shape != expected[name].shape
    )
    if wrong:
        raise DataError(f"{path} does not fit its model: {len(wrong)} tensors differ, among them {wrong[0]}")


RECIPES: dict[str, Recipe] = {
    "copy": copy,
    "mpnet_zip": mpnet_zip,
    "gguf": gguf,
    "e5": e5,
    "efficientnet_lite0": efficientnet_lite0,
    "yamnet_onnx": yamnet_onnx,
    "dinov2_onnx": dinov2_onnx,
    "whisper_ctranslate2": whisper_ctranslate2,
}
