"""Encoders inside a model: what trains, what is encoded and how often, what is kept, what equals stored vectors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sensorium.core.config import build
from sensorium.core.errors import ConfigError, DataError, ResourceError
from sensorium.core.seeds import torch_generator
from sensorium.data.dataset import Dataset, Features
from sensorium.data.item_content import ItemContent
from sensorium.data.view import TrainView, permuted_features

from . import world

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from sensorium.recommenders.collaborative.two_tower import DSSM  # noqa: E402
from sensorium.recommenders.sequential.sasrec import SASRec  # noqa: E402
from sensorium.recommenders.towers import content  # noqa: E402
from sensorium.recommenders.towers.building import TowerConfig, build_tower  # noqa: E402
from sensorium.recommenders.towers.encoder import GROUP, EncoderTower, encoder_towers  # noqa: E402
from sensorium.recommenders.towers.end_to_end import EndToEndTower  # noqa: E402
from sensorium.recommenders.towers.features import FeatureTower  # noqa: E402
from sensorium.testing.histories import HISTORY_CHECKS, HistorySubject  # noqa: E402
from sensorium.testing.subject import run_checks  # noqa: E402
from sensorium.training.config import TrainingConfig  # noqa: E402
from sensorium.training.device import make_fabric  # noqa: E402
from sensorium.training.optimizers import activate  # noqa: E402

WIDTH = 8
SHOWN = np.arange(world.ITEMS) < world.ITEMS - 1
TUNES = ["frozen", "top_k", "houlsby", "lora", "bitfit", "full"]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return world.write_catalogue(tmp_path_factory.mktemp("catalogue") / "data")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def draw(name: str) -> Any:
    return torch_generator(0, "test", name)


@pytest.fixture(scope="module")
def make(catalogue: Dataset, models: Path) -> Callable[..., EndToEndTower]:
    def built(modality: str = "text", tune: str = "frozen", **options: object) -> EndToEndTower:
        options = {"top_k": 1, "bottleneck": 4, "rank": 2, **options}
        config = world.end_to_end(modality, models, tune=tune, **options)
        return EndToEndTower(ItemContent.of(catalogue), SHOWN, WIDTH, draw, config, modality)

    return built


def everyone() -> Any:
    return torch.arange(1, world.ITEMS + 1)


def exact_vectors(tower: EndToEndTower) -> Features:
    """What the encoder of a tower says of each item, from the encoder's own call, one by one: not the tower's path."""
    x = np.zeros((world.ITEMS, len(tower.mean)), np.float32)
    prepared = tower.items.take(range(world.ITEMS))
    for item, entry in enumerate(prepared):
        if entry is not None:
            x[item] = tower.tuned.encoder.forward(tower.tuned.encoder.collate([entry]))[1].numpy()
    return Features(x, np.array([entry is not None for entry in prepared]))


@pytest.mark.parametrize("modality", ["text", "image", "video"])
def test_a_frozen_encoder_equals_stored_vectors(make: Callable[..., EndToEndTower], modality: str) -> None:
    """The same head on the vectors of the encoder gives the same items, with mean and scale taken out as it does."""
    tower = make(modality, activation="none", scaling="standardise").eval()
    stored = FeatureTower([exact_vectors(tower)], SHOWN, WIDTH, draw, modality)
    assert torch.equal(stored.linear.weight, tower.linear.weight)  # the same draw
    with torch.no_grad():
        stored.linear.bias += 0.5
        tower.linear.bias += 0.5
        found, wanted = tower(everyone()), stored(everyone())
    assert torch.allclose(found, wanted, atol=1e-5)
    for bare in {world.BARE[modality], *([world.BROKEN] if modality == "image" else [])}:
        assert torch.allclose(found[bare], torch.full((WIDTH,), 0.5))  # without content: the bias alone
    assert not tower(torch.tensor([0])).any()


@pytest.mark.parametrize("modality", ["text", "image"])
def test_heads_of_the_published_code(make: Callable[..., EndToEndTower], modality: str) -> None:
    """GELU(W z + b) for texts and clips, W z + b for pictures, without scaling."""
    tower = make(modality).eval()
    z = torch.from_numpy(exact_vectors(tower).x)
    wanted = torch.nn.functional.linear(z, tower.linear.weight, tower.linear.bias)
    wanted = torch.nn.functional.gelu(wanted) if modality == "text" else wanted
    assert torch.allclose(tower(everyone()), wanted, atol=1e-5)


@pytest.mark.parametrize("tune", TUNES)
def test_gradients_reach_what_trains_and_nothing_else(make: Callable[..., EndToEndTower], tune: str) -> None:
    tower = make("text", tune).train()
    tower(everyone()).square().sum().backward()
    assert tower.body is not None
    chosen = {name for name, value in tower.body.named_parameters() if value.requires_grad}
    reached = {name for name, value in tower.body.named_parameters() if value.grad is not None}
    assert reached <= chosen
    assert tower.linear.weight.grad.any()
    own = {
        "frozen": lambda name: False,
        "top_k": lambda name: name.startswith("encoder.layer.2."),
        "houlsby": lambda name: ".adapter." in name,
        "lora": lambda name: "lora_" in name,
        "bitfit": lambda name: name.endswith("bias"),
        "full": lambda name: True,
    }[tune]
    assert chosen == {name for name, _ in tower.body.named_parameters() if own(name)}
    assert bool(chosen) == (tune != "frozen") == (not tower.frozen)
    if tune == "top_k":  # of three blocks the last one
        assert reached == chosen
    assert {id(value) for value in tower.encoder_parameters()} == {
        id(value) for name, value in tower.body.named_parameters() if name in chosen
    }


@pytest.mark.parametrize("tune", ["frozen", "lora"])
def test_each_distinct_item_is_encoded_once(make: Callable[..., EndToEndTower], tune: str) -> None:
    """Counted at the encoder itself: items of a batch, however often they stand in it, and no others."""
    tower = make("text", tune).train()
    rows: list[int] = []
    assert tower.body is not None
    tower.body.register_forward_hook(lambda module, given, out: rows.append(len(out.last_hidden_state)))
    tokens = torch.tensor([6, 2, 0, 6, 2, 2, 9])
    vectors = tower(tokens)
    assert torch.equal(vectors[0], vectors[3])
    if tune == "lora":
        assert sum(rows) == 3 == tower.tuned.encoded
        tower(tokens)
        assert sum(rows) == 6  # what trains is another in each step
    else:  # nothing changes: the whole group of neighbours is encoded, and never again
        assert GROUP > world.ITEMS
        assert sum(rows) == world.ITEMS - 1
        tower(tokens)
        tower.eval()(everyone())
        tower.train()(everyone())
        assert sum(rows) == world.ITEMS - 1


def test_a_step_of_the_whole_model_encodes_each_item_once(catalogue: Dataset, models: Path) -> None:
    view = world.view_of(catalogue)
    config = model_config(models, "text", "top_k", objective="sampled")
    model = SASRec(view, config).train()
    batch = model.make_batches(16, 2).batch(step())
    items = set(batch.items.unique().tolist()) | set(batch.neg[batch.items[:, :-1] >= 0].unique().tolist())
    model.loss(batch)
    tower = encoder_towers(model)[0]
    assert isinstance(tower, EndToEndTower)
    assert tower.tuned.encoded == len(items - {-1, world.BARE["text"]})


def test_evaluation_remembers_until_weights_change(make: Callable[..., EndToEndTower]) -> None:
    tower = make("text", "top_k").eval()
    with torch.no_grad():
        before = tower(everyone())
        encoded = tower.tuned.encoded
        assert torch.equal(tower(everyone().flip(0)), before.flip(0))
        tower.eval()
        tower(everyone()[:3])
        assert tower.tuned.encoded == encoded
        for value in tower.encoder_parameters():
            value += 0.1
        after = tower(everyone())
    assert tower.tuned.encoded == 2 * encoded
    assert not torch.allclose(before, after, atol=1e-3)


def test_which_items_are_asked_first_changes_no_bit(make: Callable[..., EndToEndTower]) -> None:
    """A run that goes on meets items in another order than one that was never stopped."""
    one, other = make("text", scaling="standardise"), make("text", scaling="standardise")
    with torch.no_grad():
        for item in (7, 20, 3):
            one(torch.tensor([item]))
        assert torch.equal(one(everyone()), other(everyone().flip(0)).flip(0))


@pytest.mark.parametrize("tune", TUNES)
def test_the_state_is_what_trains_and_the_head(make: Callable[..., EndToEndTower], tune: str) -> None:
    tower = make("text", tune, scaling="standardise")
    tower(everyone())
    state = tower.state_dict()
    assert tower.body is not None
    trains = {f"body.{name}" for name, value in tower.body.named_parameters() if value.requires_grad}
    head = {"linear.weight", "linear.bias", "mean", "sigma", "measured", "weights", "contents"}
    assert set(state) == trains | head
    with torch.no_grad():
        for value in (*tower.encoder_parameters(), *tower.linear.parameters()):
            value += 0.05
        tower.mean += 0.1
        wanted = tower.eval()(everyone())
    fresh = make("text", tune, scaling="standardise").eval()
    assert fresh.load_state_dict({name: value.clone() for name, value in tower.state_dict().items()}) is not None
    with torch.no_grad():
        assert torch.equal(fresh(everyone()), wanted)


def test_a_state_of_other_weights_or_content_is_refused(
    make: Callable[..., EndToEndTower], models: Path, tmp_path: Path
) -> None:
    state = make("text").state_dict()
    with pytest.raises(DataError, match=r"content of the items that the tower 'text' reads"):
        make("text", fields=["item_id"]).load_state_dict(state)
    other = world.component("text", tmp_path, weights="random")
    config = world.end_to_end("text", models).model_copy(update={"encoder": other})
    assert not torch.equal(state["weights"], tower_of(config, tmp_path).weights)
    with pytest.raises(DataError, match=r"weights of the encoder that the tower 'text' reads"):
        tower_of(config, tmp_path).load_state_dict(state)


def tower_of(config: Any, folder: Path) -> EndToEndTower:
    if not (folder / "data").exists():
        world.write_catalogue(folder / "data")
    return EndToEndTower(ItemContent.of(Dataset.open(folder / "data")), SHOWN, WIDTH, draw, config, "text")


def test_activations_that_are_computed_again_give_the_same_gradient(make: Callable[..., EndToEndTower]) -> None:
    plain, again = make("text", "full"), make("text", "full", recompute=True)
    rows: list[int] = []
    assert plain.body is not None
    assert again.body is not None
    again.body.register_forward_hook(lambda module, given, out: rows.append(1))
    for tower in (plain, again):
        torch.manual_seed(0)  # the dropout of the encoder
        tower.train()(everyone()).square().sum().backward()
    for one, other in zip(plain.body.parameters(), again.body.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-6)
    assert len(rows) >= 2


@pytest.mark.parametrize("modality", ["image", "video"])
def test_pictures_are_kept_small_and_come_back_bit_for_bit(make: Callable[..., EndToEndTower], modality: str) -> None:
    kept, asked = make(modality, prepared="memory"), make(modality, prepared="demand")
    one, other = kept.items.take(range(world.ITEMS)), asked.items.take(range(world.ITEMS))
    assert (kept.items.keeps, asked.items.keeps) == (True, False)
    assert kept.items.present.tolist() == asked.items.present.tolist()
    for mine, theirs in zip(one, other, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            assert np.array_equal(mine.arrays["pixels"], theirs.arrays["pixels"])
    assert {value.arrays["pixels"].dtype for value in kept.items._kept.values()} == {np.dtype(np.uint8)}
    assert set(kept.items.refused) == ({world.BROKEN} if modality == "image" else set())


def test_decoding_processes_give_what_this_process_gives(make: Callable[..., EndToEndTower]) -> None:
    here, there = make("image"), make("image", workers=2)
    for one, other in zip(here.items.take(range(6)), there.items.take(range(6)), strict=True):
        assert (one is None) == (other is None)
        assert one is None or other is None or np.array_equal(one.arrays["pixels"], other.arrays["pixels"])
    assert there.items.refused.keys() == {world.BROKEN}


def test_content_that_does_not_fit_is_decoded_when_asked(
    make: Callable[..., EndToEndTower], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(content, "available_memory", lambda: 1000)
    tower = make("image", "top_k")
    with caplog.at_level(logging.INFO):
        tower.items.take([1, 2])
    assert tower.items.keeps is False
    assert "decoded again in each step" in caplog.text
    monkeypatch.setattr("sensorium.core.resources.available_memory", lambda: 1000)
    with pytest.raises(ResourceError, match="the image of 30 items, decoded, needs about"):
        make("image", "top_k", prepared="memory").items.take([1])


def test_what_cannot_work_is_said(catalogue: Dataset, models: Path, tmp_path: Path) -> None:
    view = world.view_of(catalogue)
    with pytest.raises(ConfigError, match="hold no raw content of items"):
        SASRec(replace(view, content=None), model_config(models, "text", "lora"))
    with pytest.raises(DataError, match="no column nothing to encode as text"):
        SASRec(view, model_config(models, "text", "lora", fields=["nothing"]))
    with pytest.raises(ConfigError, match="layer is 9, and 'hub-text' has 4 layers"):
        SASRec(view, model_config(models, "text", "top_k", layer=9))
    with pytest.raises(ConfigError, match="'tfidf-svd' is fitted to a catalogue and has no weights to train"):
        build_tower(tower_config({"text": {"encoder": "tfidf-svd"}}), view, SHOWN, draw)
    gone = {"encoder": {"name": "hub-text", "weights": str(tmp_path / "gone")}}
    with pytest.raises(DataError, match="is no folder of weights"):
        build_tower(tower_config({"text": gone}), view, SHOWN, draw)
    with pytest.raises(ConfigError, match="tower end_to_end needs an encoder"):
        build(TowerConfig, {"tower": "end_to_end"}, source="test")
    with pytest.raises(ConfigError, match="encoders are for the tower end_to_end"):
        build(TowerConfig, {"encoders": {"text": {"encoder": "minilm-l6"}}}, source="test")
    with pytest.raises(ConfigError, match=r"objective.* full .*encodes the whole catalogue in each step"):
        model_config(models, "text", "lora", objective="full")
    bare = world.write_catalogue(tmp_path / "bare")
    untitled = bare.items().with_columns(title=pl.lit(None, pl.String)).collect()
    untitled.write_parquet(bare.root / "items.parquet")
    with pytest.raises(DataError, match="has no text to encode: title is empty for all of its 31 items"):
        SASRec(world.view_of(bare), model_config(models, "text", "lora"))


def tower_config(encoders: dict[str, Any]) -> TowerConfig:
    return build(TowerConfig, {"tower": "end_to_end", "dim": WIDTH, "encoders": encoders}, source="test")


def test_a_model_reads_no_row_of_the_data_set(catalogue: Dataset) -> None:
    alone = ItemContent.of(catalogue).dataset
    assert alone.items().collect().height == world.ITEMS
    for read in (alone.interactions, alone.users, alone.rejected):
        with pytest.raises(DataError, match="a model reads the items of 'data' and never"):
            read()


def test_shuffled_content_reaches_the_encoder(catalogue: Dataset, models: Path) -> None:
    view = world.view_of(catalogue)
    shuffled = permuted_features(view)
    assert shuffled.content is not None
    order = shuffled.content.row
    assert order is not None
    config = tower_config({"text": world.end_to_end("text", models)})
    own, other = (build_tower(config, each, np.ones(world.ITEMS, bool), draw) for each in (view, shuffled))
    with torch.no_grad():
        assert torch.allclose(other(everyone()), own(torch.from_numpy(order) + 1), atol=1e-5)
    assert isinstance(own, EncoderTower)
    assert isinstance(other, EncoderTower)
    assert not torch.equal(own.contents, other.contents)


# --- whole models -----------------------------------------------------------------------------------------------------


def step() -> Any:
    from sensorium.data.batches import Step

    return Step(0, "main", 0, 0)


def model_config(models: Path, modality: str, tune: str, **options: Any) -> SASRec.Config:
    own = {key: options.pop(key) for key in ("fields", "layer") if key in options}
    encoder = world.end_to_end(modality, models, tune=tune, top_k=1, rank=2, bottleneck=4, **own)
    tree = {"dim": 16, "length": 6, "blocks": 1, "tower": "end_to_end", "encoders": {modality: encoder}, **options}
    return build(SASRec.Config, tree, source="test")


@pytest.mark.parametrize(
    ("modality", "tune", "tower"),
    [("text", "frozen", "end_to_end"), ("text", "top_k", "id+end_to_end"), ("image", "full", "end_to_end")],
)
def test_contract(catalogue: Dataset, models: Path, modality: str, tune: str, tower: str) -> None:
    """Scores, determinism, state and loss as of every model that a history asks."""
    checks = {name: check for name, check in HISTORY_CHECKS.items() if name != "order"}  # untrained encoders of chance
    config = model_config(models, modality, tune, tower=tower)
    subject = HistorySubject(SASRec, config, world.view_of(catalogue))
    assert set(run_checks(checks, subject, "SASRec").values()) == {"passed"}


def test_several_encoders_are_mixed(catalogue: Dataset, models: Path) -> None:
    view: TrainView = world.view_of(catalogue)
    encoders = {kind: world.end_to_end(kind, models, tune="top_k", top_k=1) for kind in ("text", "image", "video")}
    model = SASRec(view, SASRec.Config(dim=16, length=6, tower="end_to_end", encoders=encoders)).train()
    model.loss(model.make_batches(8, 1).batch(step()))["ranking"].backward()
    for tower in encoder_towers(model):
        assert any(value.grad is not None and value.grad.any() for value in tower.encoder_parameters()), tower.name
    groups = model.phases()[0].groups
    assert {id(value) for value in groups["encoder"]} == {
        id(value) for tower in encoder_towers(model) for value in tower.encoder_parameters()
    }


@pytest.mark.parametrize(
    ("model", "said", "wanted"), [(SASRec, {}, 0.0), (DSSM, {}, 0.0), (SASRec, {"weight_decay": 0.2}, 0.2)]
)
def test_weight_decay_is_for_the_recommender_unless_it_is_said_of_the_encoder(
    catalogue: Dataset, models: Path, model: Any, said: dict[str, float], wanted: float
) -> None:
    config = model.Config(
        dim=16, tower="end_to_end", encoders={"text": world.end_to_end("text", models, tune="top_k", top_k=1)}
    )
    built = model(world.view_of(catalogue), config)
    training = build(
        TrainingConfig,
        {
            "device": "cpu",
            "optimizer": {"name": "adamw", "weight_decay": 0.1},
            "phases": {"main": {"groups": {"encoder": said}}},
        },
        source="test",
    )
    active = activate(built.phases(), built, [None], training, make_fabric(training))[0]
    inside = {id(value) for tower in encoder_towers(built) for value in tower.encoder_parameters()}
    assert inside
    for group in active.optimizer.param_groups:
        of_encoder = {id(value) in inside for value in group["params"]}
        assert len(of_encoder) == 1
        assert group["weight_decay"] == (wanted if of_encoder == {True} else 0.1)
