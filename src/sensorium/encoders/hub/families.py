"""The known families: which class reads them, how they are pooled, and what their config says of their shape.

Shapes are read from `config.json` alone, in microseconds: an older file may leave out what equals a default, so each
family names its defaults. The last entry of transformers' hidden states stands after the final norm in some families
and before it in others (5.23); `normed` says which, and a test reads it off the models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sensorium.core.errors import DataError
from sensorium.encoders.base import Modality

Layout = Literal["encoder", "decoder", "patches", "stages", "efficientnet", "clip", "sound"]
Pooling = Literal["mean", "cls", "last"]
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """One family of models.

    Attributes:
        cls: Class of transformers.
        modality: What it reads.
        layout: How its hidden states lie and its config speaks.
        pooling: How its tokens become one vector unless the config says otherwise.
        normed: Whether the last hidden state stands after the final norm; None: by the config.
        leading: Tokens before the patches: 1 CLS, 2 CLS and distillation.
        pooler: Whether its vector is what its own pooler returns, and not its pooled last state.
        positions: How many of the config's positions hold no token (RoBERTa counts from its padding id).
        part: Name of the part of a two-tower config.
        defaults: What the config may leave out.
    """

    cls: str
    modality: Modality
    layout: Layout
    pooling: Pooling
    normed: bool | None
    leading: int = 0
    pooler: bool = False
    positions: int = 0
    part: str = ""
    defaults: Facts = field(default_factory=dict)


@dataclass(frozen=True)
class Shape:
    """What a config says.

    Attributes:
        dims: Width of each hidden state, embedding output first.
        vector: Width of the vector.
        max_tokens: Ceiling of tokens; None: none.
        image: Side of its pictures or of its frames, in pixels.
        frames: Frames of a clip.
    """

    dims: tuple[int, ...]
    vector: int
    max_tokens: int | None = None
    image: tuple[int, int] | None = None
    frames: int | None = None


_BASE = {"hidden_size": 768, "num_hidden_layers": 12}
_VIT = {**_BASE, "image_size": 224, "patch_size": 16}


def _text(cls: str, *, positions: int = 0, **defaults: Any) -> Family:
    return Family(cls, "text", "encoder", "mean", True, positions=positions, defaults={**_BASE, **defaults})


def _decoder(cls: str) -> Family:
    return Family(cls, "text", "decoder", "mean", True)


def _image(cls: str, pooling: Pooling, *, normed: bool, leading: int, **more: Any) -> Family:
    return Family(cls, "image", "patches", pooling, normed, leading=leading, defaults=_VIT, **more)


_CLIP_TEXT = Family(
    "CLIPTextModel",
    "text",
    "encoder",
    "mean",
    False,
    pooler=True,
    part="text_config",
    defaults={"hidden_size": 512, "num_hidden_layers": 12, "max_position_embeddings": 77},
)
_SIGLIP_TEXT = Family(
    "SiglipTextModel",
    "text",
    "encoder",
    "mean",
    False,
    pooler=True,
    part="text_config",
    defaults={**_BASE, "max_position_embeddings": 64},
)
_CLIP = _image("CLIPVisionModel", "cls", normed=True, leading=1, pooler=True, part="vision_config")
_SIGLIP = _image("SiglipVisionModel", "mean", normed=False, leading=0, pooler=True, part="vision_config")

FAMILIES: dict[tuple[Modality, str], Family] = {
    ("text", "bert"): _text("BertModel", max_position_embeddings=512),
    ("text", "roberta"): _text("RobertaModel", positions=2, max_position_embeddings=514),
    ("text", "xlm-roberta"): _text("XLMRobertaModel", positions=2, max_position_embeddings=514),
    ("text", "electra"): _text("ElectraModel", max_position_embeddings=512, hidden_size=256),
    ("text", "mpnet"): _text("MPNetModel", positions=2, max_position_embeddings=514),
    ("text", "xlnet"): _text("XLNetModel"),
    ("text", "llama"): _decoder("LlamaModel"),
    ("text", "qwen2"): _decoder("Qwen2Model"),
    ("text", "mistral"): _decoder("MistralModel"),
    ("text", "gemma"): _decoder("GemmaModel"),
    ("text", "gemma3_text"): _decoder("Gemma3TextModel"),
    ("text", "clip"): _CLIP_TEXT,
    ("text", "clip_text_model"): _CLIP_TEXT,
    ("text", "siglip"): _SIGLIP_TEXT,
    ("text", "siglip_text_model"): _SIGLIP_TEXT,
    ("image", "vit"): _image("ViTModel", "cls", normed=False, leading=1),
    ("image", "vit_mae"): _image("ViTMAEModel", "cls", normed=False, leading=1),
    ("image", "beit"): _image("BeitModel", "mean", normed=True, leading=1),
    ("image", "dinov2"): _image("Dinov2Model", "cls", normed=False, leading=1),
    ("image", "clip"): _CLIP,
    ("image", "clip_vision_model"): _CLIP,
    ("image", "siglip"): _SIGLIP,
    ("image", "siglip_vision_model"): _SIGLIP,
    ("image", "swin"): Family(
        "SwinModel",
        "image",
        "stages",
        "mean",
        False,
        defaults={"embed_dim": 96, "depths": [2, 2, 6, 2], "image_size": 224},
    ),
    ("image", "resnet"): Family(
        "ResNetModel",
        "image",
        "stages",
        "mean",
        True,
        defaults={"embedding_size": 64, "hidden_sizes": [256, 512, 1024, 2048]},
    ),
    ("image", "convnext"): Family(
        "ConvNextModel", "image", "stages", "mean", True, pooler=True, defaults={"hidden_sizes": [96, 192, 384, 768]}
    ),
    ("image", "efficientnet"): Family("EfficientNetModel", "image", "efficientnet", "mean", None),
    ("video", "videomae"): Family(
        "VideoMAEModel", "video", "clip", "mean", None, defaults={**_VIT, "num_frames": 16, "tubelet_size": 2}
    ),
    ("video", "vivit"): Family(
        "VivitModel", "video", "clip", "cls", False, leading=1, defaults={**_VIT, "num_frames": 32, "tubelet_size": 2}
    ),
    ("video", "vjepa2"): Family(
        "VJEPA2Model",
        "video",
        "clip",
        "mean",
        False,
        defaults={
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "crop_size": 256,
            "frames_per_clip": 64,
            "tubelet_size": 2,
        },
    ),
    ("audio", "audio-spectrogram-transformer"): Family(
        "ASTModel",
        "audio",
        "sound",
        "cls",
        False,
        leading=2,
        defaults={**_BASE, "num_mel_bins": 128, "max_length": 1024},
    ),
    ("audio", "whisper"): Family(
        "WhisperModel",
        "audio",
        "sound",
        "mean",
        True,
        defaults={"d_model": 512, "encoder_layers": 6, "num_mel_bins": 80},
    ),
    ("audio", "wav2vec2"): Family("Wav2Vec2Model", "audio", "sound", "mean", True, defaults=_BASE),
}


def family_of(modality: Modality, config: Facts, where: str) -> Family:
    """Return the family of a config.

    Raises:
        DataError: It is none of the known ones, or wants its own code to be run.
    """
    kind = str(config["model_type"])
    found = FAMILIES.get((modality, kind))
    if found is not None:
        return found
    if config.get("auto_map"):
        raise DataError(
            f"{where} ('{kind}') wants code of its repository to be run (trust_remote_code): refused; "
            "take a model whose code is in transformers itself"
        )
    known = sorted({name for own, name in FAMILIES if own == modality})
    elsewhere = [own for own, name in FAMILIES if name == kind]
    hint = f"it reads {elsewhere[0]}; " if elsewhere else ""
    raise DataError(f"{where} is of the family '{kind}', {hint}for {modality} these are known: {', '.join(known)}")


def facts_of(family: Family, config: Facts) -> dict[str, Any]:
    """Return the config of the tower that is used, with what it leaves out."""
    own = config.get(family.part) if family.part and family.part in config else config
    return {**family.defaults, **{key: value for key, value in dict(own or {}).items() if value is not None}}


def normed_last(family: Family, config: Facts) -> bool:
    """Return whether the last hidden state needs no final norm: it stands behind it, or there is none."""
    if family.normed is not None:
        return family.normed
    return family.layout == "efficientnet" or bool(facts_of(family, config).get("use_mean_pooling", True))


def shape_of(family: Family, config: Facts, where: str) -> Shape:
    """Return the shape of a model.

    Raises:
        DataError: The config lacks a number.
    """
    facts = facts_of(family, config)
    try:
        return _shape(family, facts)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the config of {where} lacks what a {family.cls} needs: {error}") from None


def _shape(family: Family, facts: Facts) -> Shape:
    if family.layout == "efficientnet":
        return _efficientnet(facts)
    if family.layout == "stages":
        if "embed_dim" in facts:  # Swin: its width doubles after each stage but the last
            count = len(facts["depths"])
            dims = tuple(int(facts["embed_dim"]) * 2 ** min(stage, count - 1) for stage in range(count + 1))
        else:
            widths = tuple(map(int, facts["hidden_sizes"]))
            dims = (int(facts.get("embedding_size", widths[0])), *widths)
        return Shape(dims, dims[-1], image=_side(facts.get("image_size", 224)))
    width = int(facts.get("hidden_size") or facts["d_model"])
    layers = next(int(facts[key]) for key in ("encoder_layers", "n_layer", "num_hidden_layers") if key in facts)
    if "n_layer" in facts:  # XLNet
        width = int(facts["d_model"])
    dims = (width,) * (layers + 1)
    if family.modality == "text":
        positions = facts.get("max_position_embeddings")
        return Shape(dims, width, max_tokens=int(positions) - family.positions if positions else None)
    if family.modality == "audio":
        return Shape(dims, width)
    frames = facts.get("frames_per_clip", facts.get("num_frames")) if family.layout == "clip" else None
    side = _side(facts.get("crop_size") or facts["image_size"])
    return Shape(dims, width, image=side, frames=None if frames is None else int(frames))


def _side(value: Any) -> tuple[int, int]:
    return (int(value[0]), int(value[1])) if isinstance(value, list | tuple) else (int(value), int(value))


def _efficientnet(facts: Facts) -> Shape:
    """Tan and Le 2019: widths are rounded to multiples of 8 and never lose more than a tenth, depths are rounded up."""
    width = float(facts.get("width_coefficient", 2.0))
    depth = float(facts.get("depth_coefficient", 3.1))
    divisor = int(facts.get("depth_divisor", 8))
    outs = facts.get("out_channels", [16, 24, 40, 80, 112, 192, 320])
    repeats = facts.get("num_block_repeats", [1, 2, 2, 3, 3, 4, 1])

    def rounded(channels: int) -> int:
        scaled = channels * width
        near = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
        return near + divisor if near < 0.9 * scaled else near

    blocks = [rounded(out) for out, times in zip(outs, repeats, strict=True) for _ in range(math.ceil(depth * times))]
    return Shape((rounded(32), *blocks), rounded(1280), image=_side(facts.get("image_size", 600)))
