"""Every family, from a repository's files to states: built small, saved, and loaded as a Hub id is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sensorium.encoders.hub.base import HubEncoder
from sensorium.encoders.hub.frames import HubFrames
from sensorium.encoders.hub.sound import HubSound
from sensorium.encoders.hub.text import HubText
from sensorium.encoders.hub.video import HubVideo
from sensorium.encoders.hub.vision import HubImage
from sensorium.encoders.protocol import FoundationEncoder, Prepared
from sensorium.testing.encoders import check_encoder

from . import tiny

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLASSES: dict[str, type[HubEncoder]] = {"text": HubText, "image": HubImage, "video": HubVideo, "audio": HubSound}
NAMES = list(tiny.FAMILIES)
TEXTS = [name for name in NAMES if tiny.FAMILIES[name][0] == "text"]
DECODERS = ["llama", "qwen2", "mistral", "gemma", "gemma3"]

# transformers 5.23: the last hidden state stands before the final norm
BEFORE_NORM = {"vit", "vit-mae", "dinov2", "clip-text", "siglip", "siglip-text", "ast", "swin", "vivit", "vjepa2"}
BEFORE_NORM |= {"videomae-norm"}


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hub cache that holds a small model of every family."""
    folder = tmp_path_factory.mktemp("hub")
    for name in NAMES:
        tiny.put_in_hub_cache(folder, f"tiny/{name}", lambda target, name=name: tiny.save_model(name, target))
    return folder


@pytest.fixture(autouse=True)
def only_the_cache(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    folder = tmp_path_factory.mktemp("contents")
    return {
        "text": tiny.texts(32),
        "image": tiny.pictures(32),
        "video": tiny.clips(folder, 8),
        "audio": tiny.sounds(folder, 8),
        "folder": [folder],
    }


def loaded(name: str, **options: Any) -> HubEncoder:
    cls = CLASSES[tiny.FAMILIES[name][0]]
    encoder = cls(cls.Config(id=f"tiny/{name}", **options))
    encoder.load()
    return encoder


def prepared(encoder: HubEncoder, contents: dict[str, list[Any]]) -> list[Prepared]:
    return [encoder.preparer(raw) for raw in contents[encoder.modality]]


def all_states(encoder: HubEncoder, items: list[Prepared], size: int) -> tuple[Any, Any]:
    found = [encoder.forward(encoder.collate(items[start : start + size])) for start in range(0, len(items), size)]
    return torch.cat([states for states, _ in found]), torch.cat([vector for _, vector in found])


def worst(states: Any, others: Any) -> float:
    """The largest difference in any layer, as a share of the layer's max abs."""
    scale = states.abs().amax((0, 2)).clamp(min=1e-6)
    return float(((states - others).abs().amax((0, 2)) / scale).max())


@pytest.mark.parametrize("name", NAMES)
def test_from_files_to_states(name: str, contents: dict[str, list[Any]]) -> None:
    """What is promised before loading is what comes out, and a batch changes nothing: 1, 7, 32, shuffled."""
    cls = CLASSES[tiny.FAMILIES[name][0]]
    encoder = cls(cls.Config(id=f"tiny/{name}"))
    assert isinstance(encoder, FoundationEncoder) or not hasattr(encoder, "module")
    assert not hasattr(encoder, "module")
    assert encoder.card.weights is not None
    assert (encoder.card.weights.source, encoder.card.weights.package) == ("hub", f"tiny/{name}")
    assert encoder.card.weights.sha256 == encoder.weights_hash
    encoder.load()
    assert isinstance(encoder, FoundationEncoder)
    assert not encoder.module.training
    items = prepared(encoder, contents)
    states, vectors = all_states(encoder, items, 1)
    assert states.shape == (len(items), len(encoder.layers), max(encoder.layer_dims))
    assert vectors.shape == (len(items), encoder.pooled_dim)
    assert states.dtype == vectors.dtype == torch.float32
    assert states.isfinite().all()
    for layer, width in enumerate(encoder.layer_dims):
        assert (states[:, layer, width:] == 0).all()
        if not (layer == 0 and encoder.pooling == "cls"):  # before the first layer, a class token is one constant
            assert states[:, layer, :width].std(0).max() > 1e-3
    for size in (7, 32):
        again, other_vectors = all_states(encoder, items, size)
        assert worst(states, again) <= 1e-4
        assert worst(vectors[:, None], other_vectors[:, None]) <= 1e-4
    order = np.random.default_rng(5).permutation(len(items))
    shuffled, _ = all_states(encoder, [items[place] for place in order], 5)
    assert worst(states[torch.from_numpy(order)], shuffled) <= 1e-4


@pytest.mark.parametrize("name", ["bert", "llama", "vit", "convnext", "videomae", "ast", "whisper", "wav2vec2"])
def test_the_contract_of_encoders(name: str, contents: dict[str, list[Any]]) -> None:
    """What a third party's encoder must pass, these pass."""
    cls = CLASSES[tiny.FAMILIES[name][0]]
    config = cls.Config(id=f"tiny/{name}")
    samples = [raw for raw in contents[cls.modality][:4] if not isinstance(raw, bytes)] or None
    if samples is None:
        samples = tiny.files(contents["folder"][0], contents[cls.modality][:4])
    check_encoder(cls, config, samples)
    if cls.modality == "image":
        check_encoder(
            HubFrames, HubFrames.Config(id=f"tiny/{name}", frames=3, video_pool="mean_diff"), contents["video"][:3]
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_final_norm_table(name: str, contents: dict[str, list[Any]]) -> None:
    """Which last hidden states stand before the final norm, read off the models; `final_norm` stores the other."""
    encoder = loaded(name)
    items = prepared(encoder, contents)[:4]
    seen: list[Any] = []
    keep = encoder.states_of

    def look(outputs: Any) -> list[Any]:
        seen.append(outputs)
        return keep(outputs)

    encoder.states_of = look  # type: ignore[method-assign]
    batch = encoder.collate(items)
    with torch.inference_mode():
        normed = encoder.run(batch).hidden[-1]
    outputs = seen[0]
    last, final = outputs.hidden_states[-1], outputs.last_hidden_state
    raw = loaded(name, final_norm=False)
    with torch.inference_mode():
        unnormed = raw.run(batch).hidden[-1]
    if name == "efficientnet":  # a convolution follows the last stage, no norm
        assert last.shape != final.shape
        return
    assert torch.equal(last, final) == (name not in BEFORE_NORM)
    assert torch.equal(normed, unnormed) == (name not in BEFORE_NORM)
    if name in BEFORE_NORM:
        norms = [module for module in encoder.module.modules() if "Norm" in type(module).__name__]
        with torch.inference_mode():
            assert any(
                module(last).shape == final.shape and torch.allclose(module(last), final, atol=1e-5)
                for module in norms
                if getattr(module, "normalized_shape", (0,))[-1] == last.shape[-1]
            )
    assert encoder.final_norm
    assert raw.final_norm == (name not in BEFORE_NORM)


@pytest.mark.parametrize("name", TEXTS)
def test_padding_changes_nothing_and_dropping_the_mask_does(name: str, contents: dict[str, list[Any]]) -> None:
    encoder = loaded(name)
    items = prepared(encoder, contents)[:16]
    assert isinstance(encoder, HubText)
    batch = encoder.collate(items)
    states, vectors = encoder.forward(batch)
    wide = encoder.collate(items, width=128)
    assert wide["input_ids"].shape[1] >= 128
    again, other = encoder.forward(wide)
    assert worst(states, again) <= 1e-4
    assert worst(vectors[:, None], other[:, None]) <= 1e-4
    blind, _ = encoder.forward({**wide, "attention_mask": torch.ones_like(wide["attention_mask"])})
    assert worst(states, blind) > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_what_the_states_are_pooled_from(name: str, contents: dict[str, list[Any]]) -> None:
    encoder = loaded(name)
    items = prepared(encoder, contents)[:5]
    batch = encoder.collate(items)
    states, _ = encoder.forward(batch)
    layer = encoder.layers[-1]
    tokens, mask = encoder.tokens(batch, layer)
    width = encoder.layer_dims[-1]
    assert tokens.shape[0] == mask.shape[0] == len(items)
    assert mask.shape == tokens.shape[:2]
    assert tokens.shape[2] == width
    leading = encoder.family.leading
    for item in range(len(items)):
        content = tokens[item][mask[item]]
        if encoder.pooling == "cls":
            expected = content[:leading].mean(0)
        elif encoder.modality == "audio":  # windows are averaged, each by its own content
            continue
        else:
            expected = content[leading + (1 if "skip" in encoder.pooling else 0) :].mean(0)
        assert torch.allclose(states[item, -1, :width], expected, atol=1e-4)
    again, _ = encoder.tokens(encoder.collate(items), layer)
    assert torch.equal(tokens, again)  # ViT-MAE would shuffle its patches


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_leave_the_first_position_out(name: str) -> None:
    encoder, whole = loaded(name), loaded(name, pool_skip=0)
    items = [encoder.preparer("aa bb cc"), encoder.preparer("dd")]
    batch = encoder.collate(items)
    tokens, mask = encoder.tokens(batch, 2)
    assert torch.allclose(encoder.forward(batch)[0][0, 2], tokens[0, 1 : int(mask[0].sum())].mean(0), atol=1e-5)
    assert torch.allclose(whole.forward(batch)[0][0, 2], tokens[0, : int(mask[0].sum())].mean(0), atol=1e-5)
    last = loaded(name, pooling="last").forward(batch)[0]
    assert torch.allclose(last[1, 2], tokens[1, int(mask[1].sum()) - 1], atol=1e-5)
    single = Prepared({"input_ids": np.array([7]), "token_type_ids": np.array([0])}, length=1)
    states, _ = encoder.forward(encoder.collate([single, items[0]]))
    assert (states[0].abs().amax(1) > 0).all()  # one token: it keeps what it has


def test_wav2vec_would_change_if_it_were_padded(contents: dict[str, list[Any]]) -> None:
    """Its first layer normalises over time: equal lengths only."""
    encoder = loaded("wav2vec2")
    item = prepared(encoder, contents)[0]
    batch = encoder.collate([item])
    states, _ = encoder.forward(batch)
    n = int(batch["samples"][0])
    padded = {
        "waves": torch.nn.functional.pad(batch["waves"][:, :n], (0, n)),
        "samples": batch["samples"] * 2,
        "pieces": batch["pieces"],
    }
    assert worst(states, encoder.forward(padded)[0]) > 0.01


def test_whisper_pools_where_there_is_sound(contents: dict[str, list[Any]]) -> None:
    encoder = loaded("whisper")
    item = prepared(encoder, contents)[0]
    batch = encoder.collate([item])
    tokens, mask = encoder.tokens(batch, 3)
    heard = int(batch["positions"][0])
    assert int(mask.sum()) == heard < 100
    assert tokens.shape[1] == 1_500
    states, _ = encoder.forward(batch)
    assert torch.allclose(states[0, 3], tokens[0, :heard].mean(0), atol=1e-5)
    assert not torch.allclose(states[0, 3], tokens[0].mean(0), atol=1e-2)


def test_windows_of_a_sound_are_averaged(tmp_path: Path) -> None:
    encoder = loaded("wav2vec2")
    long = tiny.sounds(tmp_path, 1, (21, 21.5))[0]
    item = encoder.preparer(long)
    assert item.pieces == 3
    together, _ = encoder.forward(encoder.collate([item]))
    windows = [
        Prepared(
            {
                "waves": item.arrays["waves"][place : place + 1, :size],
                "samples": item.arrays["samples"][place : place + 1],
            },
            1,
        )
        for place, size in enumerate(item.arrays["samples"])
    ]
    apart, _ = encoder.forward(encoder.collate(windows))
    assert torch.allclose(together[0], apart.mean(0), atol=1e-4)


@pytest.mark.parametrize("name", ["vit", "convnext"])
def test_frames_by_an_image_encoder(name: str, contents: dict[str, list[Any]]) -> None:
    encoder = HubFrames(HubFrames.Config(id=f"tiny/{name}", frames=4, video_pool="mean_diff"))
    encoder.load()
    items = [encoder.preparer(path) for path in contents["video"][:3]]
    states, vectors = encoder.forward(encoder.collate(items))
    assert vectors.shape == (3, 2 * encoder.layer_dims[-1]) == (3, encoder.pooled_dim)
    image = loaded(name)
    frames = [Prepared({"pixels": picture}, 1) for picture in items[1].arrays["pixels"]]
    alone, vector = image.forward(image.collate(frames))
    assert worst(states[1:2], alone.mean(0, keepdim=True)) < 1e-4
    expected = torch.cat([vector.mean(0), (vector[1:] - vector[:-1]).abs().mean(0)])
    assert torch.allclose(vectors[1], expected, atol=1e-4)
    assert encoder.card.modality == "video"
    assert encoder.preparer.facts["frames"] == 4


@pytest.mark.parametrize("name", ["vit", "clip", "siglip", "dinov2", "swin", "convnext"])
def test_another_size_of_pictures(name: str, contents: dict[str, list[Any]]) -> None:
    encoder = loaded(name, size=(48, 32))
    items = prepared(encoder, contents)[:3]
    assert items[0].arrays["pixels"].shape == (3, 48, 32)
    states, _ = encoder.forward(encoder.collate(items))
    assert states.isfinite().all()
    assert encoder.card.resolution == (48, 32)
