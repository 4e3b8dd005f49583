"""A small model of every family: 3 layers of width 32, random weights, saved as a repository of the Hub holds them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BASE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
TEXT = {"vocab_size": 64, "max_position_embeddings": 160, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
IMAGE = {"image_size": 32, "patch_size": 8}
ONE_KEY = {"num_key_value_heads": 1}

# name: modality, class of the model, class of its config, options
FAMILIES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "bert": ("text", "BertModel", "BertConfig", {**BASE, **TEXT}),
    "roberta": ("text", "RobertaModel", "RobertaConfig", {**BASE, **TEXT}),
    "xlm-roberta": ("text", "XLMRobertaModel", "XLMRobertaConfig", {**BASE, **TEXT}),
    "electra": ("text", "ElectraModel", "ElectraConfig", {**BASE, **TEXT, "embedding_size": 16}),
    "xlnet": (
        "text",
        "XLNetModel",
        "XLNetConfig",
        {"vocab_size": 64, "d_model": 32, "n_layer": 3, "n_head": 2, "d_inner": 64},
    ),
    "mpnet": ("text", "MPNetModel", "MPNetConfig", {**BASE, **TEXT}),
    "llama": ("text", "LlamaModel", "LlamaConfig", {**BASE, **TEXT}),
    "qwen2": ("text", "Qwen2Model", "Qwen2Config", {**BASE, **TEXT, **ONE_KEY}),
    "mistral": ("text", "MistralModel", "MistralConfig", {**BASE, **TEXT, **ONE_KEY}),
    "gemma": ("text", "GemmaModel", "GemmaConfig", {**BASE, **TEXT, **ONE_KEY, "head_dim": 16}),
    "gemma3": ("text", "Gemma3TextModel", "Gemma3TextConfig", {**BASE, **TEXT, **ONE_KEY, "head_dim": 16}),
    "clip-text": ("text", "CLIPTextModel", "CLIPTextConfig", {**BASE, **TEXT}),
    "siglip-text": ("text", "SiglipTextModel", "SiglipTextConfig", {**BASE, **TEXT}),
    "vit": ("image", "ViTModel", "ViTConfig", {**BASE, **IMAGE}),
    "vit-mae": ("image", "ViTMAEModel", "ViTMAEConfig", {**BASE, **IMAGE}),
    "beit": ("image", "BeitModel", "BeitConfig", {**BASE, **IMAGE}),
    "dinov2": (
        "image",
        "Dinov2Model",
        "Dinov2Config",
        {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "mlp_ratio": 2, **IMAGE},
    ),
    "clip": ("image", "CLIPVisionModel", "CLIPVisionConfig", {**BASE, **IMAGE}),
    "siglip": ("image", "SiglipVisionModel", "SiglipVisionConfig", {**BASE, **IMAGE}),
    "swin": (
        "image",
        "SwinModel",
        "SwinConfig",
        {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    ),
    "resnet": (
        "image",
        "ResNetModel",
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16, 32], "depths": [1, 1, 1], "layer_type": "basic"},
    ),
    "efficientnet": (
        "image",
        "EfficientNetModel",
        "EfficientNetConfig",
        {"image_size": 32, "width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 128},
    ),
    "convnext": (
        "image",
        "ConvNextModel",
        "ConvNextConfig",
        {"hidden_sizes": [8, 16, 32], "depths": [1, 1, 1], "num_stages": 3, "image_size": 32},
    ),
    "videomae": ("video", "VideoMAEModel", "VideoMAEConfig", {**BASE, **IMAGE, "num_frames": 4}),
    "videomae-norm": (
        "video",
        "VideoMAEModel",
        "VideoMAEConfig",
        {**BASE, **IMAGE, "num_frames": 4, "use_mean_pooling": False},
    ),
    "vivit": (
        "video",
        "VivitModel",
        "VivitConfig",
        {**BASE, "image_size": 32, "num_frames": 4, "tubelet_size": [2, 8, 8]},
    ),
    "vjepa2": (
        "video",
        "VJEPA2Model",
        "VJEPA2Config",
        {
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "mlp_ratio": 2,
            "crop_size": 32,
            "patch_size": 8,
            "frames_per_clip": 4,
            "pred_hidden_size": 32,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
            "pred_num_mask_tokens": 2,
        },
    ),
    "ast": (
        "audio",
        "ASTModel",
        "ASTConfig",
        {**BASE, "max_length": 64, "num_mel_bins": 16, "patch_size": 8, "frequency_stride": 8, "time_stride": 8},
    ),
    "whisper": (
        "audio",
        "WhisperModel",
        "WhisperConfig",
        {
            "vocab_size": 64,
            "d_model": 32,
            "encoder_layers": 3,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "num_mel_bins": 16,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
        },
    ),
    "wav2vec2": (
        "audio",
        "Wav2Vec2Model",
        "Wav2Vec2Config",
        {
            **BASE,
            "vocab_size": 64,
            "conv_dim": [16] * 3,
            "conv_kernel": [10, 3, 3],
            "conv_stride": [5, 4, 4],
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 2,
        },
    ),
}

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *[chr(97 + place) * 2 for place in range(26)]]


def save_model(name: str, folder: Path, **changed: Any) -> Path:
    """Write a small model of a family with all its small files."""
    import torch
    import transformers

    modality, model, config, options = FAMILIES[name]
    torch.manual_seed(0)
    built = getattr(transformers, model)(getattr(transformers, config)(**{**options, **changed}))
    with torch.no_grad():
        for values in built.parameters():  # the usual .02 leaves states that hardly differ between items
            if values.dim() > 1:
                values.normal_(0, 3 * values[0].numel() ** -0.5 if values.dim() == 4 else 0.2)
            else:
                values.add_(torch.randn_like(values) * 0.2)
        for part in built.modules():
            if isinstance(part, torch.nn.BatchNorm2d):  # else seven narrow random stages leave nothing of a picture
                part.running_var.fill_(0.01)
    built.save_pretrained(folder)
    if modality == "text":
        save_tokenizer(folder)
    elif modality == "audio":
        write(folder / "preprocessor_config.json", {"do_normalize": True, "mean": -4.0, "std": 4.0})
    else:
        numbers = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.3, 0.2, 0.25], "resample": 3}
        write(folder / "preprocessor_config.json", {**numbers, "size": {"height": 32, "width": 32}})
    return folder


def save_tokenizer(folder: Path) -> None:
    """A word-piece tokeniser of 30 words."""
    import tokenizers

    built = tokenizers.Tokenizer(tokenizers.models.WordPiece({w: n for n, w in enumerate(WORDS)}, unk_token="[UNK]"))
    built.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    built.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    built.save(str(folder / "tokenizer.json"))
    write(folder / "tokenizer_config.json", {"pad_token": "[PAD]", "eos_token": "[SEP]", "model_max_length": 1e30})


def write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content))


def put_in_hub_cache(hub: Path, identity: str, make: Callable[[Path], Any]) -> Path:
    """Lay a model into a Hub cache as the Hub's client does; return its snapshot."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    home = hub / f"models--{identity.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    snapshot.mkdir(parents=True)
    make(snapshot)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    return snapshot


def texts(count: int) -> list[str]:
    """Texts of 1 to 40 words."""
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS[4:], random.integers(1, 40))) for _ in range(count)]


def pictures(count: int) -> list[bytes]:
    from sensorium.media.images import encode_image

    random = np.random.default_rng(1)
    sides = random.integers(20, 60, (count, 2))
    found = []
    for height, width in sides:
        colours = random.integers(0, 255, (2, 2, 3), dtype=np.uint8)
        picture = Image.fromarray(colours).resize((int(width), int(height)), Image.Resampling.BICUBIC)
        noise = random.integers(-20, 20, (height, width, 3))
        found.append(
            encode_image(Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)), "PNG")
        )
    return found


def files(folder: Path, contents: Sequence[bytes]) -> list[Path]:
    """Write contents to files."""
    found = [folder / f"{place}.png" for place in range(len(contents))]
    for path, content in zip(found, contents, strict=True):
        path.write_bytes(content)
    return found


def clips(folder: Path, count: int) -> list[Path]:
    from sensorium.media.video import write_video

    random = np.random.default_rng(2)
    found = []
    for place in range(count):
        base = random.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        write_video(folder / f"{place}.mp4", [np.roll(base, 3 * step, 1) for step in range(random.integers(4, 12))], 8)
        found.append(folder / f"{place}.mp4")
    return found


def sounds(folder: Path, count: int, seconds: Sequence[float] = (0.4, 1.5)) -> list[Path]:
    from sensorium.media.sound import write_sound

    random = np.random.default_rng(3)
    found = []
    for place in range(count):
        length = int(16_000 * random.uniform(*seconds))
        tone = np.sin(np.arange(length) * random.uniform(0.05, 0.8)) * 0.5 + random.normal(0, 0.05, length)
        write_sound(folder / f"{place}.wav", tone.astype(np.float32), 16_000)
        found.append(folder / f"{place}.wav")
    return found
