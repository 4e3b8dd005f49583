"""What is refused, and in which words: pickled weights, strange code, unknown families, a Hub out of reach."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sensorium.core.errors import ConfigError, DataError, MissingExtraError
from sensorium.encoders.hub import cards, timm
from sensorium.encoders.hub import weights as hub_weights
from sensorium.encoders.hub.base import HubEncoder
from sensorium.encoders.hub.captions import BLIP, ImageCaptions
from sensorium.encoders.hub.sound import HubSound
from sensorium.encoders.hub.text import HubText
from sensorium.encoders.hub.video import HubVideo
from sensorium.encoders.hub.vision import HubImage

from . import tiny

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

NAMED = [value for value in vars(cards).values() if isinstance(value, type) and getattr(value, "known", None)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in ("bert", "vit", "dinov2", "beit", "videomae", "convnext", "wav2vec2"):
        tiny.save_model(name, folder / name)
    return folder


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "no-hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))


def text_of(folder: Path, **options: Any) -> HubText:
    return HubText(HubText.Config(id=str(folder), **options))


def test_pickled_weights_are_refused(models: Path, tmp_path: Path) -> None:
    """A repository with `.bin` alone; and the file is never opened: it is no pickle at all."""
    folder = shutil.copytree(models / "bert", tmp_path / "old")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"this would run")
    with pytest.raises(DataError, match=r"pytorch_model\.bin and not as safetensors: refused"):
        text_of(folder)
    card = HubText.describe(HubText.Config(id=str(folder)))
    assert not card.runs_now
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(DataError, match=r"holds no model\.safetensors"):
        text_of(folder)


def test_code_of_a_repository_is_refused(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "bert", tmp_path / "strange")
    config = json.loads((folder / "config.json").read_text())
    tiny.write(folder / "config.json", {**config, "model_type": "my_bert", "auto_map": {"AutoModel": "evil.MyBert"}})
    (folder / "evil.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(DataError, match=r"trust_remote_code\): refused"):
        text_of(folder)
    tiny.write(folder / "config.json", {**config, "auto_map": {"AutoModel": "evil.MyBert"}})
    encoder = text_of(folder)  # a family of transformers itself: its own class is taken, the code never
    encoder.load()
    assert type(encoder.module).__module__.startswith("transformers.")


def test_unknown_families_are_named(models: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="family 'vit', it reads image; for text these are known: bert, clip"):
        text_of(models / "vit")
    folder = shutil.copytree(models / "bert", tmp_path / "odd")
    tiny.write(folder / "config.json", {"model_type": "fnet"})
    with pytest.raises(DataError, match="family 'fnet', for text these are known"):
        text_of(folder)
    tiny.write(folder / "config.json", {"hidden_size": 3})
    with pytest.raises(DataError, match="names no model_type"):
        text_of(folder)
    tiny.write(folder / "config.json", {"model_type": "llama"})
    with pytest.raises(DataError, match="lacks what a LlamaModel needs"):
        text_of(folder)


def test_changed_weights_are_refused_before_a_model_is_built(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "bert", tmp_path / "changed")
    encoder = text_of(folder)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"SHA-256 .*, expected "):
        encoder.load()
    assert not hasattr(encoder, "module")
    assert text_of(folder).weights_hash != encoder.weights_hash  # by time of change, the memo notices


def test_missing_parameters_are_refused_not_drawn_at_random(models: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(models / "bert", tmp_path / "gaps")
    values = load_file(folder / "model.safetensors")
    values.pop("encoder.layer.1.output.dense.weight")
    values.pop("pooler.dense.weight")  # this one no state depends on
    save_file(values, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"1 parameters are missing .* encoder\.layer\.1\.output\.dense\.weight"):
        text_of(folder).load()


def test_several_weight_files_have_one_hash(models: Path, tmp_path: Path) -> None:
    model = transformers.BertModel.from_pretrained(models / "bert")
    model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    tiny.save_tokenizer(tmp_path / "parts")
    encoder = text_of(tmp_path / "parts")
    assert len(encoder.found.files) > 2
    whole = text_of(models / "bert")
    encoder.load()
    whole.load()
    batch = whole.collate([whole.preparer("aa bb")])
    assert torch.equal(encoder.forward(batch)[0], whole.forward(batch)[0])
    encoder.found.files[0].unlink()
    with pytest.raises(DataError, match=r"lacks .*, which model"):
        text_of(tmp_path / "parts")
    index = tmp_path / "parts" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/model.safetensors"}}))
    with pytest.raises(DataError, match="does not list files of weights"):
        text_of(tmp_path / "parts")


def test_random_weights_say_so(models: Path) -> None:
    encoder = text_of(models / "bert", weights="random")
    encoder.load()
    other = text_of(models / "bert", weights="random")
    other.load()
    assert encoder.card.weights is not None
    assert encoder.card.weights.source == "random"
    assert encoder.weights_hash != text_of(models / "bert").weights_hash
    batch = encoder.collate([encoder.preparer("aa bb")])
    assert torch.equal(encoder.forward(batch)[0], other.forward(batch)[0])


@pytest.mark.parametrize("encoder", NAMED, ids=lambda encoder: encoder.known.name)
def test_named_cards_are_complete_and_say_how_to_get_them(encoder: type[HubEncoder]) -> None:
    config = encoder.Config()
    card = encoder.describe(config)
    assert card.name == encoder.known.name  # type: ignore[union-attr]
    assert len(card.layers) == len(card.layer_dims) >= 5
    assert card.params
    assert card.download_mb
    assert card.licence is not None
    assert card.licence.weights
    assert card.trust
    assert card.preprocessing
    assert (card.max_tokens or card.modality != "text") or card.name == "xlnet-base"
    assert (card.resolution is not None) == (card.modality in ("image", "video"))
    assert (card.frames is not None) == (card.modality == "video")
    assert not card.runs_now
    assert f"needs weights of {config.id}" in card.why_not
    with pytest.raises(DataError, match=f"needs weights of {config.id}, not in the Hub cache; run once online or pass"):
        encoder(config)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("bert-base", "BertConfig"),
        ("vit-base", "ViTConfig"),
        ("beit-base", "BeitConfig"),
        ("clip-b32", "CLIPVisionConfig"),
        ("siglip-base", "SiglipVisionConfig"),
        ("swin-tiny", "SwinConfig"),
        ("resnet-50", "ResNetConfig"),
        ("convnext-tiny", "ConvNextConfig"),
        pytest.param("videomae-base", "VideoMAEConfig", marks=pytest.mark.slow),  # it builds its table of positions
        ("vivit-base", "VivitConfig"),
        ("ast", "ASTConfig"),
        ("wav2vec2-base", "Wav2Vec2Config"),
    ],
)
def test_cards_of_base_models_tell_their_true_size(name: str, config: str, tmp_path: Path) -> None:
    """Where a base model is its config's default: layers, widths, and parameters to two per cent, without memory."""
    from sensorium.encoders.hub.families import FAMILIES, shape_of

    encoder = next(one for one in NAMED if one.known.name == name)
    built = getattr(transformers, config)()
    family = FAMILIES[(encoder.family_modality, built.model_type)]
    shape = shape_of(family, built.to_dict(), name)
    assert shape.dims == encoder.known.dims
    assert shape.vector == encoder.known.vector
    with torch.device("meta"):
        model = getattr(transformers, family.cls)(built)
    pooler = 0 if family.pooler else sum(value.numel() for key, value in model.named_parameters() if "pooler" in key)
    count = sum(value.numel() for value in model.parameters()) - pooler
    assert count == pytest.approx(encoder.known.params, rel=0.02)


def test_efficientnet_b0_has_the_promised_shape() -> None:
    from sensorium.encoders.hub.families import FAMILIES, shape_of

    config = transformers.EfficientNetConfig(width_coefficient=1.0, depth_coefficient=1.0, image_size=224)
    shape = shape_of(FAMILIES["image", "efficientnet"], config.to_dict(), "b0")
    assert shape.dims == cards.efficientnet_b0.known.dims
    assert shape.vector == 1_280


def test_impossible_options_are_refused(models: Path) -> None:
    def image(name: str, **options: Any) -> HubImage:
        return HubImage(HubImage.Config(id=str(models / name), **options))

    with pytest.raises(ConfigError, match="at most 160 tokens"):
        text_of(models / "bert", max_tokens=161)
    assert text_of(models / "bert", max_tokens=160).preparer.facts["max_tokens"] == 160
    with pytest.raises(ConfigError, match="no class token"):
        image("convnext", pooling="cls")
    with pytest.raises(ConfigError, match="'last' is for texts"):
        image("vit", pooling="last")
    with pytest.raises(ConfigError, match="multiples of 8"):
        image("dinov2", size=(30, 32))
    with pytest.raises(ConfigError, match="no other size"):
        image("beit", size=(64, 64))
    video = partial(HubVideo.Config, id=str(models / "videomae"))
    with pytest.raises(ConfigError, match="made for 4 frames"):
        HubVideo(video(frames=6))
    with pytest.raises(DataError, match="neither a folder nor an id"):
        HubText(HubText.Config(id="../up and away"))
    with pytest.raises(DataError, match="is no folder of weights"):
        HubText(HubText.Config(id="tiny/bert", weights=str(models / "nowhere")))


def test_sentence_models_read_as_much_as_they_were_trained_on(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "bert", tmp_path / "sentence")
    tiny.write(folder / "sentence_bert_config.json", {"max_seq_length": 24})
    assert text_of(folder).preparer.facts["max_tokens"] == 24


def test_numbers_of_image_processors_are_read(models: Path, tmp_path: Path) -> None:
    """Mean and standard deviation as they are of values in 0..1, whatever range the JSON speaks of."""
    folder = shutil.copytree(models / "vit", tmp_path / "vit")

    def facts(**told: Any) -> dict[str, Any]:
        tiny.write(folder / "preprocessor_config.json", told)
        return HubImage(HubImage.Config(id=str(folder))).preparer.facts

    half = facts(image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=2)
    assert (half["mean"], half["std"], half["interpolation"]) == ([0.5] * 3, [0.5] * 3, "bilinear")
    offset = facts(image_mean=[0.0] * 3, image_std=[1.0] * 3, rescale_factor=1 / 127.5, offset=True)
    assert offset["mean"] == pytest.approx([0.5] * 3)
    assert offset["std"] == pytest.approx([0.5] * 3)
    plain = facts(image_mean=[0.5] * 3, image_std=[0.5] * 3, do_normalize=False)
    assert (plain["mean"], plain["std"]) == ([0.0] * 3, [1.0] * 3)
    with pytest.raises(DataError, match="does not say how pictures are normalised"):
        facts(size=224)


# --- a mirror of the Hub --------------------------------------------------------------------------------------------


class _Mirror(BaseHTTPRequestHandler):
    """As much of the Hub's protocol as its client asks for: one repository, tiny/bert, in a folder."""

    folder: Path
    commit = "89abcdef0123456789abcdef0123456789abcdef"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/tiny/bert"):
            files = [{"rfilename": file.name} for file in self.folder.iterdir()]
            return self._send(json.dumps({"id": "tiny/bert", "sha": self.commit, "siblings": files}).encode(), body, {})
        head, _, name = path.partition(f"/resolve/{self.commit}/")
        file = self.folder / name
        if head != "/tiny/bert" or not name or not file.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        content = file.read_bytes()
        tag = sha256(content).hexdigest()
        headers = {"X-Repo-Commit": self.commit, "ETag": f'"{tag}"', "X-Linked-Etag": f'"{tag}"'}
        return self._send(content, body, headers)

    def _send(self, content: bytes, body: bool, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *given: Any) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]


@pytest.fixture
def mirror(models: Path, tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    folder = shutil.copytree(models / "bert", tmp_path / "mirror")
    (folder / "pytorch_model.bin").write_bytes(b"never fetched")
    (folder / "modeling.py").write_text("raise SystemExit('never fetched')")
    handler = type("Mirror", (_Mirror,), {"folder": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.seen = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ask(code: str, endpoint: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with a Hub endpoint: the client reads it when it is imported."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path / "home"),
            "SENSORIUM_CACHE": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "5",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


CODE = """
from sensorium.encoders.hub.text import HubText
from sensorium.encoders.hub.weights import verify
encoder = HubText(HubText.Config(id="tiny/bert"))
verify(encoder.found, encoder.weights_hash)
print(encoder.card.weights.source, encoder.card.weights.version, encoder.weights_hash)
"""


def test_a_mirror_serves_and_a_second_run_needs_none(mirror: ThreadingHTTPServer, models: Path, tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{mirror.server_port}"
    first = ask(CODE, endpoint, tmp_path)
    expected = sha256((models / "bert" / "model.safetensors").read_bytes()).hexdigest()
    assert first.stdout.split() == ["hub", _Mirror.commit, expected], first.stderr
    seen = mirror.seen  # type: ignore[attr-defined]
    assert any("model.safetensors" in path for path in seen)
    assert not any(".bin" in path or ".py" in path for path in seen)
    count = len(seen)
    second = ask(CODE, endpoint, tmp_path)
    assert second.stdout == first.stdout, second.stderr
    assert len(seen) == count  # what is in the cache is not asked for again
    offline = ask(CODE, "http://127.0.0.1:9", tmp_path, HF_HUB_OFFLINE="1")
    assert offline.stdout == first.stdout, offline.stderr


def test_a_hub_out_of_reach_is_one_line(tmp_path: Path) -> None:
    """No server at the endpoint; then the client told to stay offline."""
    code = """
from sensorium.core.errors import DataError
from sensorium.encoders.hub.text import HubText
try:
    HubText(HubText.Config(id="tiny/bert"))
except DataError as error:
    print(error)
"""
    for environment in ({}, {"HF_HUB_OFFLINE": "1"}):
        found = ask(code, "http://127.0.0.1:9", tmp_path, **environment)
        assert "needs weights of tiny/bert, not in the Hub cache; run once online or pass a path" in found.stdout
        assert found.stdout.count("\n") == 1


def test_an_id_that_the_hub_does_not_know(mirror: ThreadingHTTPServer, tmp_path: Path) -> None:
    code = CODE.replace("tiny/bert", "tiny/nobody")
    found = ask(code, f"http://127.0.0.1:{mirror.server_port}", tmp_path)
    assert "DataError" in found.stderr
    assert "the Hub knows no tiny/nobody" in found.stderr


# --- captions, timm -------------------------------------------------------------------------------------------------


def captioner(folder: Path) -> Path:
    common = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    ids = {"bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    words = {"vocab_size": len(tiny.WORDS), "max_position_embeddings": 64, "encoder_hidden_size": 32}
    torch.manual_seed(0)
    model = transformers.BlipForConditionalGeneration(
        transformers.BlipConfig(
            text_config={**common, **ids, **words},
            vision_config={**common, "image_size": 32, "patch_size": 8},
            projection_dim=16,
        )
    )
    with torch.no_grad():
        for values in model.parameters():
            if values.dim() > 1:
                values.normal_(0, 0.5)
    model.save_pretrained(folder)
    tiny.save_tokenizer(folder)
    numbers = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 32, "width": 32}}
    tiny.write(folder / "preprocessor_config.json", numbers)
    return folder


def test_captions_are_read_as_text(models: Path, tmp_path: Path) -> None:
    from sensorium.core import registry

    folder = captioner(tmp_path / "blip")
    with registry.registered("sensorium.encoders", "tiny-text", HubText):
        config = ImageCaptions.Config(
            id=str(folder), max_new_tokens=6, text={"name": "tiny-text", "id": str(models / "bert")}
        )
        encoder = ImageCaptions(config)
        encoder.load()
    items = [encoder.preparer(raw) for raw in tiny.pictures(4)]
    batch = encoder.collate(items)
    sentences = encoder.captions(batch)
    assert len(sentences) == 4
    assert all(word in tiny.WORDS for sentence in sentences for word in sentence.split())
    assert len(set(sentences)) > 1  # it looks at the picture
    assert sentences == encoder.captions(batch)
    states, vectors = encoder.forward(batch)
    text = text_of(models / "bert")
    text.load()
    expected = text.forward(text.collate([text.preparer(sentence or "picture") for sentence in sentences]))
    assert torch.allclose(states, expected[0], atol=1e-5)
    assert torch.allclose(vectors, expected[1], atol=1e-5)
    assert encoder.card.modality == "image"
    assert "captions" in encoder.preparer.facts


def test_captions_without_weights_are_refused_in_one_line(models: Path) -> None:
    from sensorium.core import registry

    with registry.registered("sensorium.encoders", "tiny-text", HubText):
        config = ImageCaptions.Config(text={"name": "tiny-text", "id": str(models / "bert")})
        sentence = f"needs weights of {BLIP}.*, not in the Hub cache; run once online or pass a path"
        card = ImageCaptions.describe(config)
        assert not card.runs_now
        with pytest.raises(DataError, match=sentence):
            ImageCaptions(config)
        wrong = ImageCaptions.Config(id=str(models / "vit"), text={"name": "tiny-text", "id": str(models / "bert")})
        with pytest.raises(DataError, match="family 'vit', captions are written by 'blip'"):
            ImageCaptions(wrong)


def test_timm_says_what_it_needs() -> None:
    reason = timm.why_not()
    card = timm.TimmImage.describe(timm.TimmImage.Config(id="timm/resnet18.a1_in1k"))
    assert "timm" not in sys.modules
    if not reason:
        pytest.skip("timm and torchvision are here")
    assert card.why_not == reason
    assert "needs a torchvision that matches your torch" in reason
    with pytest.raises(MissingExtraError, match="needs a torchvision that matches your torch"):
        timm.TimmImage(timm.TimmImage.Config(id="timm/resnet18.a1_in1k"))


def test_timm_models_give_their_stages(tmp_path: Path) -> None:
    if reason := timm.why_not():
        pytest.skip(f"timm {reason}")
    from safetensors.torch import save_file

    own = timm.timm()
    torch.manual_seed(0)
    model = own.create_model("resnet18", pretrained=False, num_classes=0).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    numbers = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 64, 64], "interpolation": "bilinear"}
    tiny.write(tmp_path / "config.json", {"architecture": "resnet18", "pretrained_cfg": numbers})
    encoder = timm.TimmImage(timm.TimmImage.Config(id=str(tmp_path)))
    encoder.load()
    batch = encoder.collate([encoder.preparer(raw) for raw in tiny.pictures(3)])
    with torch.inference_mode():
        states, vectors = encoder.forward(batch)
        assert torch.allclose(vectors, model(batch["pixels"]), atol=1e-4)
        tokens, mask = encoder.tokens(batch, 4)
    assert states.shape == (3, 5, 512)
    assert encoder.layer_dims == (64, 64, 128, 256, 512)
    assert torch.allclose(states[:, 4], tokens.mean(1), atol=1e-5)
    assert mask.all()


# --- preprocessing of sound beside the published extractors -----------------------------------------------------------


def test_filter_banks_are_those_of_the_published_extractor(tmp_path: Path) -> None:
    from sensorium.encoders.preparing.speech import FilterbankPreparer, WavePreparer
    from sensorium.media.sound import read_sound

    file = tiny.sounds(tmp_path, 1, (2, 2.5))[0]
    samples = read_sound(file).segments[0].samples
    theirs = transformers.ASTFeatureExtractor()(samples, sampling_rate=16_000, return_tensors="np")["input_values"]
    ours = FilterbankPreparer()(file).arrays["bands"]
    assert ours.shape == theirs.shape == (1, 1_024, 128)
    assert abs(ours - theirs).max() < 2e-3
    waves = transformers.Wav2Vec2FeatureExtractor()(samples, sampling_rate=16_000, return_tensors="np")["input_values"]
    assert abs(WavePreparer()(file).arrays["waves"] - waves).max() < 1e-4
    with pytest.raises(DataError, match=r"shorter than 0\.1 seconds"):
        WavePreparer()(tiny.sounds(tmp_path, 1, (0.02, 0.03))[0])


def test_long_sound_is_cut_into_windows(tmp_path: Path, models: Path) -> None:
    file = tiny.sounds(tmp_path, 1, (24, 24.5))[0]
    encoder = HubSound(HubSound.Config(id=str(models / "wav2vec2")))
    assert encoder.preparer(file).pieces == 3
    assert not encoder.preparer(file).notes
    short = HubSound(HubSound.Config(id=str(models / "wav2vec2"), max_seconds=20))
    item = short.preparer(file)
    assert (item.pieces, item.notes) == (6, frozenset({"truncated"}))


def test_hashes_are_combined_in_order() -> None:
    assert hub_weights.combined(["ab"]) == "ab"
    assert hub_weights.combined(["ab", "cd"]) == sha256(b"abcd").hexdigest()
