"""The named encoders of the Hub: the usual base model of each family.

What stands here is as published with the models. The ids were not fetched when this was written: the path that loads
them is tested with small models of each family, the ids are not. Any other id of a known family is given to `hub-text`,
`hub-image`, `hub-video`, `hub-frames` or `hub-audio`.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sensorium.encoders.hub.base import HubEncoder, Known
from sensorium.encoders.hub.frames import HubFrames
from sensorium.encoders.hub.sound import HubSound
from sensorium.encoders.hub.text import HubText
from sensorium.encoders.hub.video import HubVideo
from sensorium.encoders.hub.vision import HubImage


def named(base: type[HubEncoder], known: Known) -> Any:
    """Return the encoder class of a named card: `base` with another default id."""
    stem = "".join(part.title() for part in known.name.replace(".", "-").split("-"))
    config = type(
        f"{stem}Config",
        (base.Config,),
        {
            "__doc__": f"Options of {known.name}.",
            "__module__": __name__,
            "__annotations__": {"id": str},
            "id": Field(known.id, description="Hub id, or a folder that holds the model"),
        },
    )
    return type(stem, (base,), {"__doc__": f"{known.id}.", "__module__": __name__, "Config": config, "known": known})


def _even(layers: int, width: int) -> tuple[int, ...]:
    return (width,) * (layers + 1)


def _text(
    name: str,
    identity: str,
    layers: int,
    width: int,
    params: float,
    licence: str,
    trust: str,
    *,
    max_tokens: int | None = 512,
    languages: str = "English",
    mb: float | None = None,
) -> Any:
    size = mb if mb is not None else params * 4 / 1e6
    return named(
        HubText,
        Known(
            name,
            identity,
            _even(layers, width),
            width,
            int(params),
            licence,
            round(size),
            trust,
            max_tokens=max_tokens,
            languages=languages,
        ),
    )


def _image(
    name: str,
    identity: str,
    dims: tuple[int, ...],
    params: float,
    licence: str,
    trust: str,
    *,
    vector: int | None = None,
    side: int = 224,
    base: type[HubEncoder] = HubImage,
    frames: int | None = None,
    mb: float | None = None,
) -> Any:
    size = mb if mb is not None else params * 4 / 1e6
    return named(
        base,
        Known(
            name,
            identity,
            dims,
            vector or dims[-1],
            int(params),
            licence,
            round(size),
            trust,
            resolution=(side, side),
            frames=frames,
        ),
    )


def _sound(name: str, identity: str, layers: int, width: int, params: float, licence: str, trust: str) -> Any:
    mb = round(params * 4 / 1e6)
    return named(HubSound, Known(name, identity, _even(layers, width), width, int(params), licence, mb, trust))


_MANY = "about 100 languages"

bert_base = _text("bert-base", "google-bert/bert-base-uncased", 12, 768, 109.5e6, "Apache-2.0", "Google")
roberta_base = _text("roberta-base", "FacebookAI/roberta-base", 12, 768, 124.6e6, "MIT", "Meta")
xlm_roberta_base = _text(
    "xlm-roberta-base", "FacebookAI/xlm-roberta-base", 12, 768, 278e6, "MIT", "Meta", languages=_MANY
)
electra_small = _text("electra-small", "google/electra-small-discriminator", 12, 256, 13.5e6, "Apache-2.0", "Google")
xlnet_base = _text("xlnet-base", "xlnet/xlnet-base-cased", 12, 768, 116.7e6, "MIT", "CMU and Google", max_tokens=None)
clip_b32_text = _text(
    "clip-b32-text", "openai/clip-vit-base-patch32", 12, 512, 63.2e6, "MIT", "OpenAI", max_tokens=77, mb=605
)
qwen2_half_b = _text(
    "qwen2-0.5b",
    "Qwen/Qwen2-0.5B",
    24,
    896,
    494e6,
    "Apache-2.0",
    "Alibaba",
    max_tokens=131_072,
    languages="27 and more",
    mb=988,
)
mistral_7b = _text(
    "mistral-7b",
    "mistralai/Mistral-7B-v0.1",
    32,
    4_096,
    7.11e9,
    "Apache-2.0",
    "Mistral AI",
    max_tokens=32_768,
    mb=14_484,
)
gemma_3_270m = _text(
    "gemma-3-270m",
    "google/gemma-3-270m",
    18,
    640,
    268e6,
    "Gemma terms: accepted on the Hub first",
    "Google",
    max_tokens=32_768,
    languages="140 and more",
    mb=536,
)

vit_base = _image("vit-base", "google/vit-base-patch16-224", _even(12, 768), 86.4e6, "Apache-2.0", "Google")
vit_mae_base = _image("vit-mae-base", "facebook/vit-mae-base", _even(12, 768), 85.8e6, "Apache-2.0", "Meta", mb=448)
beit_base = _image("beit-base", "microsoft/beit-base-patch16-224", _even(12, 768), 86.5e6, "Apache-2.0", "Microsoft")
dinov2_small = _image("dinov2-small", "facebook/dinov2-small", _even(12, 384), 22.1e6, "Apache-2.0", "Meta")
clip_b32 = _image("clip-b32", "openai/clip-vit-base-patch32", _even(12, 768), 87.5e6, "MIT", "OpenAI", mb=605)
siglip_base = _image(
    "siglip-base", "google/siglip-base-patch16-224", _even(12, 768), 92.9e6, "Apache-2.0", "Google", mb=813
)
swin_tiny = _image(
    "swin-tiny",
    "microsoft/swin-tiny-patch4-window7-224",
    (96, 192, 384, 768, 768),
    27.5e6,
    "Apache-2.0",
    "Microsoft",
)
resnet_50 = _image(
    "resnet-50",
    "microsoft/resnet-50",
    (64, 256, 512, 1_024, 2_048),
    23.5e6,
    "Apache-2.0",
    "Microsoft's copy of He et al.",
)
efficientnet_b0 = _image(
    "efficientnet-b0",
    "google/efficientnet-b0",
    (32, 16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320),
    4.0e6,
    "Apache-2.0",
    "Google",
    vector=1_280,
    mb=21,
)
convnext_tiny = _image(
    "convnext-tiny", "facebook/convnext-tiny-224", (96, 96, 192, 384, 768), 27.8e6, "Apache-2.0", "Meta"
)

videomae_base = _image(
    "videomae-base",
    "MCG-NJU/videomae-base",
    _even(12, 768),
    86.2e6,
    "CC-BY-NC-4.0",
    "Nanjing University; not for commercial use",
    base=HubVideo,
    frames=16,
    mb=377,
)
vivit_base = _image(
    "vivit-base",
    "google/vivit-b-16x2-kinetics400",
    _even(12, 768),
    88.6e6,
    "MIT",
    "Google",
    base=HubVideo,
    frames=32,
)
vjepa2_large = _image(
    "vjepa2-large",
    "facebook/vjepa2-vitl-fpc64-256",
    _even(24, 1_024),
    304e6,
    "MIT",
    "Meta",
    base=HubVideo,
    side=256,
    frames=64,
    mb=1_305,
)
frames_vit_base = _image(
    "frames-vit-base",
    "google/vit-base-patch16-224",
    _even(12, 768),
    86.4e6,
    "Apache-2.0",
    "Google",
    base=HubFrames,
    frames=8,
)
frames_clip_b32 = _image(
    "frames-clip-b32",
    "openai/clip-vit-base-patch32",
    _even(12, 768),
    87.5e6,
    "MIT",
    "OpenAI",
    base=HubFrames,
    frames=8,
    mb=605,
)

ast = _sound("ast", "MIT/ast-finetuned-audioset-10-10-0.4593", 12, 768, 86.2e6, "BSD-3-Clause", "MIT")
whisper_base = _sound("whisper-base", "openai/whisper-base", 6, 512, 72.6e6, "Apache-2.0", "OpenAI")
wav2vec2_base = _sound("wav2vec2-base", "facebook/wav2vec2-base", 12, 768, 94.4e6, "Apache-2.0", "Meta")
