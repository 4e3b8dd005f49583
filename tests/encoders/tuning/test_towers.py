"""Towers train what they say and nothing else, encode an item once, and from a boundary cache learn the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sensorium.core.errors import ConfigError
from sensorium.encoders.hub.base import HubEncoder
from sensorium.encoders.hub.sound import HubSound
from sensorium.encoders.hub.text import HubText
from sensorium.encoders.hub.video import HubVideo
from sensorium.encoders.hub.vision import HubImage
from sensorium.encoders.tuning.boundary import Boundary
from sensorium.encoders.tuning.cost import count_trainable, measure
from sensorium.encoders.tuning.parts import blocks_of, final_norms, targets
from sensorium.encoders.tuning.tower import Tower
from sensorium.encoders.tuning.tuning import tune_module

from ..hub import tiny

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLASSES: dict[str, type[HubEncoder]] = {"text": HubText, "image": HubImage, "video": HubVideo, "audio": HubSound}
TUNES = ["frozen", "top_k", "houlsby", "lora", "bitfit", "full"]
UNIFORM = [name for name in tiny.FAMILIES if name not in ("xlnet", "swin", "resnet", "efficientnet", "convnext")]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., HubEncoder]:
    folder = tmp_path_factory.mktemp("models")
    patch = pytest.MonkeyPatch()
    patch.setenv("SENSORIUM_CACHE", str(folder / "cache"))

    def build(name: str, **options: Any) -> HubEncoder:
        target = folder / name
        if not target.exists():
            tiny.save_model(name, target)
        cls = CLASSES[tiny.FAMILIES[name][0]]
        return cls(cls.Config(id=str(target), **options))

    return build


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    folder = tmp_path_factory.mktemp("contents")
    return {
        "text": tiny.texts(6),
        "image": tiny.pictures(4),
        "video": tiny.clips(folder, 2),
        "audio": tiny.sounds(folder, 2),
    }


def step_of(tower: Tower, items: list[Any]) -> None:
    tower.train()
    tower.zero_grad()
    tower.vectors(items).square().sum().backward()


@pytest.mark.parametrize("tune", TUNES)
@pytest.mark.parametrize("name", ["bert", "mpnet", "llama", "vit", "clip", "siglip", "videomae", "whisper"])
def test_gradients_only_where_promised(
    name: str, tune: str, make: Callable[..., HubEncoder], contents: dict[str, list[Any]]
) -> None:
    encoder = make(name)
    if (name, tune) == ("llama", "bitfit"):
        with pytest.raises(ConfigError, match="nothing that 'bitfit' trains"):
            Tower(encoder, "bitfit", dim=8)
        return
    tower = Tower(encoder, tune, dim=8, top_k=1, bottleneck=4, rank=2)  # type: ignore[arg-type]
    step_of(tower, [encoder.preparer(raw) for raw in contents[encoder.modality]])
    moved = {key for key, value in tower.body.named_parameters() if value.grad is not None and value.grad.any()}
    promised = {key for key, value in tower.body.named_parameters() if value.requires_grad}
    assert moved <= promised
    assert tower.head.weight.grad.any()
    last = blocks_of(tower.body)[-1].name
    if tune == "frozen":
        assert not promised
    elif tune == "top_k":
        assert any(key.startswith(last) for key in moved)
        norms = {id(value) for norm in final_norms(tower.body, blocks_of(tower.body)) for value in norm.parameters()}
        for key, value in tower.body.named_parameters():
            assert value.requires_grad == (key.startswith(f"{last}.") or id(value) in norms), key
    elif tune == "houlsby":
        assert all("adapter" in key for key in promised)
        assert len({key.rsplit(".", 2)[0] for key in promised}) == 2 * 3
    elif tune == "lora":
        assert all("lora_" in key for key in promised)
    elif tune == "bitfit":
        assert all(key.endswith("bias") for key in promised)
        assert moved
    else:
        unmoved = promised - moved
        assert len(unmoved) < 0.2 * len(promised), unmoved


@pytest.mark.parametrize("name", UNIFORM)
def test_lora_starts_bit_equal_and_has_the_promised_size(
    name: str, make: Callable[..., HubEncoder], contents: dict[str, list[Any]]
) -> None:
    encoder = make(name)
    encoder.load()
    items = [encoder.preparer(raw) for raw in contents[encoder.modality]]
    before = encoder.forward(encoder.collate(items))
    tuned = tune_module(encoder.module, "lora", rank=2)
    after = encoder.forward(encoder.collate(items))
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
    expected = sum(
        2 * (part.base_layer.in_features + part.base_layer.out_features)
        for key, part in encoder.module.named_modules()
        if hasattr(part, "lora_A") and hasattr(part, "base_layer")
    )
    assert count_trainable(encoder.module) == expected > 0
    tuned.train(True)
    optimiser = torch.optim.SGD(tuned.parameters(), 0.5)
    encoder.embed(encoder.collate(items)).square().sum().backward()
    optimiser.step()
    tuned.train(False)
    assert not torch.equal(before[1], encoder.forward(encoder.collate(items))[1])


@pytest.mark.parametrize(
    ("name", "tune", "count"),
    [
        ("bert", "full", 108_891_648),
        ("bert", "houlsby", 2_379_264),
        ("bert", "lora", 294_912),
        ("bert", "bitfit", 102_144),
        ("vit", "full", 85_798_656),
        ("vit", "houlsby", 2_379_264),
        ("vit", "lora", 294_912),
        ("vit", "bitfit", 102_912),
    ],
)
def test_parameter_counts_of_base_models(name: str, tune: str, count: int) -> None:
    """IISAN's baselines in a 12-layer encoder of width 768, without memory: BERT-base and ViT-B/16, no pooler."""
    cls, config = {"bert": ("BertModel", "BertConfig"), "vit": ("ViTModel", "ViTConfig")}[name]
    with torch.device("meta"):
        model = getattr(transformers, cls)(getattr(transformers, config)(), add_pooling_layer=False)
    unused = sum(value.numel() for key, value in model.named_parameters() if "mask_token" in key)
    tune_module(model, tune)  # type: ignore[arg-type]
    assert count_trainable(model) == count
    assert unused in (0, 768)


@pytest.mark.parametrize("name", [*UNIFORM, "swin"])
def test_targets_are_found_by_inspection(name: str, make: Callable[..., HubEncoder]) -> None:
    encoder = make(name)
    encoder.load()
    blocks = blocks_of(encoder.module)
    assert len(targets(encoder.module)) == 2 * len(blocks)
    assert len(blocks) == (2 if name == "swin" else 3)
    for block in blocks:
        assert block.attention_out
        assert block.feed_out
        width = block.module.get_submodule(block.query).in_features
        assert block.module.get_submodule(block.attention_out).out_features == width
        assert block.module.get_submodule(block.feed_out).out_features == width


@pytest.mark.parametrize("name", ["xlnet", "resnet", "convnext"])
def test_no_target_is_an_error(name: str, make: Callable[..., HubEncoder]) -> None:
    encoder = make(name)
    encoder.load()
    with pytest.raises(ConfigError, match="no linear query and value"):
        tune_module(encoder.module, "lora")
    with pytest.raises(ConfigError, match="Houlsby adapters have no place"):
        tune_module(encoder.module, "houlsby")
    with pytest.raises(ConfigError, match=r"top_k: .* has \d+ blocks"):
        tune_module(encoder.module, "top_k", top_k=99)


@pytest.mark.parametrize("name", ["resnet", "efficientnet", "convnext", "swin", "xlnet"])
def test_stages_train_from_the_top(name: str, make: Callable[..., HubEncoder], contents: dict[str, list[Any]]) -> None:
    encoder = make(name)
    tower = Tower(encoder, "top_k", dim=4, top_k=1)
    tower.eval()  # a batch norm over four maps of one pixel would leave nothing of so small a model
    tower.vectors([encoder.preparer(raw) for raw in contents[encoder.modality]]).square().sum().backward()
    last = blocks_of(tower.body)[-1].name
    moved = {key for key, value in tower.body.named_parameters() if value.grad is not None and value.grad.any()}
    assert any(key.startswith(last) for key in moved)
    assert not any(key.startswith(blocks_of(tower.body)[0].name) for key in moved)


@pytest.mark.parametrize("tune", TUNES)
def test_dropout_works_only_where_it_should(tune: str, make: Callable[..., HubEncoder]) -> None:
    """Full tuning, and the blocks of top_k: elsewhere a training step sees what evaluation sees."""
    encoder = make("bert")
    tower = Tower(encoder, tune, dim=4, top_k=1, bottleneck=4)  # type: ignore[arg-type]
    items = [encoder.preparer("aa bb cc")]
    tower.eval()
    still = tower.vectors(items)
    assert torch.equal(still, tower.vectors(items))
    tower.train()
    assert torch.equal(still, tower.vectors(items)) == (tune not in ("full", "top_k"))
    dropping = {
        key.split(".")[2] if key.startswith("encoder.layer") else key
        for key, part in tower.body.named_modules()
        if isinstance(part, torch.nn.Dropout) and part.training
    }
    assert dropping == {"top_k": {"2"}, "full": {"embeddings.dropout", "0", "1", "2"}}.get(tune, set())


def test_distinct_items_are_encoded_once(make: Callable[..., HubEncoder], contents: dict[str, list[Any]]) -> None:
    encoder = make("bert")
    tower = Tower(encoder, "lora", dim=4)
    tower.eval()
    prepared = [encoder.preparer(raw) for raw in contents["text"]]
    asked: list[list[int]] = []

    def content_of(items: list[int]) -> list[Any]:
        asked.append(items)
        return [prepared[item] for item in items]

    ran = []
    tower.body.register_forward_hook(lambda module, given, out: ran.append(len(out.last_hidden_state)))
    items = torch.tensor([[5, 2, 5, 2], [0, 5, 2, 0]])
    vectors = tower(items, content_of)
    assert vectors.shape == (2, 4, 4)
    assert asked == [[0, 2, 5]]
    assert tower.encoded == 3 == sum(ran)
    for row in range(2):
        for place in range(4):
            alone = tower.vectors([prepared[int(items[row, place])]])[0]
            assert torch.allclose(vectors[row, place], alone, atol=1e-5)
    vectors.sum().backward()
    together = copy.deepcopy([value.grad for value in tower.trainable()])
    tower.zero_grad()
    counts = torch.tensor([2.0, 3.0, 3.0])  # how often 0, 2 and 5 stand there
    (tower.vectors([prepared[item] for item in (0, 2, 5)]) * counts[:, None]).sum().backward()
    for one, other in zip(together, (value.grad for value in tower.trainable()), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_micro_batches_keep_the_budget(make: Callable[..., HubEncoder], contents: dict[str, list[Any]]) -> None:
    encoder = make("bert")
    encoder.budget = 40
    tower = Tower(encoder, "frozen", dim=4)
    prepared = [encoder.preparer(raw) for raw in contents["text"]]
    sizes = []
    tower.body.register_forward_pre_hook(
        lambda module, given, named: sizes.append(named["input_ids"].numel()), with_kwargs=True
    )
    vectors = tower.vectors(prepared)
    assert len(sizes) > 1
    assert all(size <= max(40, *(item.length for item in prepared)) for size in sizes)
    encoder.budget = 4_096
    assert torch.allclose(vectors, tower.vectors(prepared), atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "bert",
        "roberta",
        "electra",
        "mpnet",
        "llama",
        "gemma3",
        "vit",
        "vit-mae",
        "beit",
        "dinov2",
        "clip",
        "siglip",
    ],
)
def test_training_from_the_boundary_is_the_same(
    name: str, make: Callable[..., HubEncoder], contents: dict[str, list[Any]]
) -> None:
    """Stored states of the frozen blocks give the vectors and gradients of the raw content."""
    encoder = make(name)
    tower = Tower(encoder, "top_k", dim=4, top_k=2)
    tower.eval()
    boundary = Boundary(tower)
    assert boundary.layer == 1
    items = [encoder.preparer(raw) for raw in contents[encoder.modality]]
    batch = encoder.collate(items)
    direct = tower.head(tower.embed(batch))
    direct.square().sum().backward()
    expected = {key: value.grad.clone() for key, value in tower.named_parameters() if value.grad is not None}
    tower.zero_grad()
    states, mask = boundary.capture(batch)
    lower = []
    blocks_of(tower.body)[0].module.register_forward_hook(lambda module, given, out: lower.append(out))
    vectors = boundary.vectors(states, mask)
    assert torch.allclose(vectors, direct, atol=1e-5)
    vectors.square().sum().backward()
    for key, value in tower.named_parameters():
        if value.grad is not None:
            scale = float(expected[key].abs().max())
            assert float((value.grad - expected[key]).abs().max()) <= 1e-4 * max(scale, 1e-3), key
    again = tower.head(tower.embed(batch))
    assert torch.allclose(again, direct, atol=1e-6)  # the blocks are themselves again


def test_boundary_is_for_uniform_top_k_alone(make: Callable[..., HubEncoder]) -> None:
    with pytest.raises(ConfigError, match="top_k"):
        Boundary(Tower(make("bert"), "lora", dim=4))
    with pytest.raises(ConfigError, match="no boundary"):
        Boundary(Tower(make("resnet"), "top_k", dim=4, top_k=1))


@pytest.mark.parametrize(("name", "reason"), [("clip-text", "holds no token ids"), ("siglip-text", "holds no padding")])
def test_boundary_refuses_texts_that_are_read_by_id_or_padding(
    name: str, reason: str, make: Callable[..., HubEncoder]
) -> None:
    for layer in (None, -1):
        with pytest.raises(ConfigError, match=f"{name} cannot be trained from a boundary cache, which {reason}"):
            Boundary(Tower(make(name), "top_k", dim=4, top_k=2, layer=layer))


class Packaged:
    """An encoder as packaged weights have it: no `embed`, and a vector that is read from a lower layer."""

    def __init__(self, encoder: HubEncoder, lower: int) -> None:
        self.own, self.lower = encoder, lower
        encoder.load()
        for name in ("card", "module", "preparer", "layers", "layer_dims", "pooled_dim", "budget", "collate", "tokens"):
            setattr(self, name, getattr(encoder, name))

    def load(self) -> None:
        pass

    def forward(self, batch: dict[str, Any]) -> tuple[Any, Any]:
        output = self.own.run(batch)
        states = torch.stack([self.own.pool(hidden, output.mask) for hidden in output.hidden], 1)
        return states, self.own.pool(output.hidden[self.lower], output.mask)


def test_what_never_learns_is_refused(make: Callable[..., HubEncoder], contents: dict[str, list[Any]]) -> None:
    """A vector of layer 1 does not depend on the last block; the last layer's state does."""
    encoder: Any = Packaged(make("vit"), 1)
    items = [encoder.preparer(raw) for raw in contents["image"]]
    with pytest.raises(ConfigError, match="they would never learn"):
        Tower(encoder, "top_k", dim=4, top_k=1).vectors(items)
    tower = Tower(encoder, "top_k", dim=4, top_k=1, layer=-1)
    step_of(tower, items)
    assert all(value.grad is not None and value.grad.any() for value in tower.trainable())
    hub = Tower(make("vit"), "top_k", dim=4, top_k=1, layer=-1)
    hub.head = tower.head
    tower.eval()
    assert torch.allclose(tower.vectors(items), hub.eval().vectors(items), atol=1e-5)


def test_cost_is_measured(make: Callable[..., HubEncoder], contents: dict[str, list[Any]]) -> None:
    encoder = make("vit")
    tower = Tower(encoder, "lora", dim=4, rank=2)
    items = [encoder.preparer(raw) for raw in contents["image"]]
    ran = []

    def step() -> None:
        ran.append(1)
        step_of(tower, items)

    cost = measure(tower, step, steps=3)
    assert len(ran) == 4
    assert cost.trainable == 3 * 2 * 2 * 64 + 4 * 32 + 4
    assert cost.parameters > cost.trainable
    assert cost.seconds_per_step > 0
    assert cost.peak_bytes > 50e6
    assert "parameters train" in str(cost)
    assert cost.record()["device"] == "cpu"


def test_a_frozen_tower_needs_a_head(make: Callable[..., HubEncoder]) -> None:
    with pytest.raises(ConfigError, match="nothing to train"):
        Tower(make("vit"), "frozen")


def test_a_head_learns_what_separates_two_texts(make: Callable[..., HubEncoder], tmp_path: Path) -> None:
    """Training works end to end: two groups of texts are told apart after a few steps."""
    encoder = make("bert")
    tower = Tower(encoder, "houlsby", dim=1, bottleneck=4)
    items = [encoder.preparer(text) for text in ("aa bb", "aa cc", "zz bb", "zz cc")]
    label = torch.tensor([0.0, 0.0, 1.0, 1.0])
    optimiser = torch.optim.Adam(tower.groups(0.05, 0.01))
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(tower.vectors(items)[:, 0], label)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
