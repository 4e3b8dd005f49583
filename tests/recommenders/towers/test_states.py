"""Stored hidden states as items: what is read, what trains from it, and when it is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sensorium.core.config import build
from sensorium.core.errors import ConfigError, DataError
from sensorium.core.seeds import torch_generator
from sensorium.data.dataset import Dataset
from sensorium.data.item_content import ItemContent
from sensorium.encoders.cache.job import Options
from sensorium.encoders.encode import encode
from sensorium.testing.subject import run_checks

from . import world

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from sensorium.encoders.cache.joined import JoinedStates  # noqa: E402
from sensorium.encoders.cache.states import StaleCache, open_states  # noqa: E402
from sensorium.recommenders.sequential.sasrec import SASRec  # noqa: E402
from sensorium.recommenders.towers.base import Tower  # noqa: E402
from sensorium.recommenders.towers.end_to_end import EndToEndTower  # noqa: E402
from sensorium.recommenders.towers.states import BoundaryTower, StatesConfig, StatesTower, states_tower  # noqa: E402
from sensorium.testing.histories import HISTORY_CHECKS, HistorySubject  # noqa: E402

WIDTH = 8
SHORT = Options(workers=0, device="cpu", layers=(1,), tokens=True)
SHOWN = np.arange(world.ITEMS) < world.ITEMS - 1


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Dataset:
    """Texts with all layers, pictures with two, and the tokens of layer 1 of the texts."""
    data = world.write_catalogue(tmp_path_factory.mktemp("catalogue") / "data")
    options = Options(workers=0, device="cpu")
    data = encode(data, world.component("text", models), options=options)
    data = encode(data, world.component("image", models), options=replace(options, layers=(1, 3)))
    tokens = replace(options, layers=(1,), tokens=True)
    return encode(data, world.component("text", models), name="tokens", options=tokens)


def draw(name: str) -> Any:
    return torch_generator(0, "test", name)


def tower_of(data: Dataset, name: str = "text", **keys: Any) -> Any:
    config = build(StatesConfig, keys, source="test")
    return states_tower(ItemContent.of(data), SHOWN, WIDTH, draw, config, name)


def raw_tower(data: Dataset, models: Path, modality: str, name: str, **options: Any) -> EndToEndTower:
    """The same from raw content, with the same head."""
    config = world.end_to_end(modality, models, activation="none", **options)
    return EndToEndTower(ItemContent.of(data), SHOWN, WIDTH, draw, config, name)


def everyone() -> Any:
    return torch.arange(1, world.ITEMS + 1)


def of_all(tower: Tower) -> Any:
    with torch.no_grad():
        return tower.eval()(everyone())


@pytest.mark.parametrize(("modality", "layer"), [("text", 0), ("text", 2), ("text", 3), ("image", 1)])
def test_stored_states_equal_the_frozen_encoder(encoded: Dataset, models: Path, modality: str, layer: int) -> None:
    """What is stored in half precision gives what the encoder gives, as near as that is."""
    stored = tower_of(encoded, modality, layers=[layer])
    raw = raw_tower(encoded, models, modality, modality, layer=layer, scaling="standardise")
    assert isinstance(stored, StatesTower)
    assert torch.equal(stored.linear.weight, raw.linear.weight)
    found, wanted = of_all(stored), of_all(raw)
    with open_states(modality, dataset=encoded) as states:
        largest = states.take(everyone(), [layer])[0].abs().max() / stored.sigma[0]
    head = stored.linear.weight.detach().abs().sum(1).max()
    rounding = 2.0**-11 * float(largest * head)  # of half precision
    assert 0 < float((found - wanted).abs().max()) < rounding
    other = of_all(tower_of(encoded, modality, layers=[3 if layer != 3 else 1]))
    assert float((found - other).abs().max()) > 20 * rounding
    assert not found[world.BARE[modality]].any()  # the bias alone, which is zero at first


def test_layers_stand_side_by_side_each_with_its_own_scale(encoded: Dataset) -> None:
    tower = tower_of(encoded, layers=[0, 3])
    with open_states("text", dataset=encoded) as states:
        x, present = states.take(everyone(), [0, 3])
    use = present & torch.from_numpy(SHOWN)
    parts = []
    for place in range(2):
        own = x[:, place]
        mean = own[use].mean(0)
        parts.append((own - mean) / (own[use] - mean).square().mean().sqrt())
    wanted = torch.cat(parts, 1).masked_fill(~present[:, None], 0) @ tower.linear.weight.T
    assert torch.allclose(of_all(tower), wanted, atol=1e-4)
    assert torch.equal(of_all(tower_of(encoded)), of_all(tower_of(encoded, layers=[3])))  # the last one is the default


def test_without_scaling_states_enter_as_they_are(encoded: Dataset) -> None:
    tower = tower_of(encoded, scaling="none", layers=[2])
    with open_states("text", dataset=encoded) as states:
        x, _ = states.take(everyone(), [2])
    assert torch.allclose(of_all(tower), x[:, 0] @ tower.linear.weight.T, atol=1e-5)


def test_blocks_above_a_stored_layer_train_as_from_raw_content(encoded: Dataset, models: Path) -> None:
    """Three steps of the two last blocks, without dropout: the same items; the block below never runs."""
    stored = tower_of(encoded, "tokens", scaling="none")
    raw = raw_tower(encoded, models, "text", "tokens", tune="top_k", top_k=2)
    assert isinstance(stored, BoundaryTower)
    ran: list[int] = []
    assert stored.body is not None
    assert raw.body is not None
    for tower, body in ((stored, stored.body), (raw, raw.body)):
        body.encoder.layer[0].intermediate.register_forward_hook(
            lambda *_, own=tower: ran.append(0) if own is stored else None
        )
        tower.eval()  # dropout off, gradients on
        optimizer = torch.optim.SGD([*tower.encoder_parameters(), *tower.linear.parameters()], 0.02)
        before = tower(everyone()).detach()
        for _ in range(3):
            optimizer.zero_grad()
            (tower(everyone()) - torch.arange(WIDTH)).square().mean().backward()
            optimizer.step()
        assert float((tower(everyone()) - before).detach().abs().max()) > 0.05
        for name, value in body.named_parameters():
            assert (value.grad is not None) == name.startswith(("encoder.layer.1.", "encoder.layer.2.")), name
    assert not ran
    assert torch.allclose(of_all(stored), of_all(raw), atol=2e-3)


def test_states_go_with_shuffled_items(encoded: Dataset) -> None:
    order = np.roll(np.arange(world.ITEMS), 5)
    config = StatesConfig(scaling="none")
    content = ItemContent.of(encoded)
    own = states_tower(content, SHOWN, WIDTH, draw, config, "text")
    other = states_tower(content.permuted(order), SHOWN, WIDTH, draw, config, "text")
    assert torch.equal(of_all(other), of_all(own)[torch.from_numpy(order)])
    with pytest.raises(DataError, match="content of the items that the tower 'text' reads"):
        other.load_state_dict(own.state_dict())


def test_states_of_two_catalogues_are_read_as_one(encoded: Dataset, models: Path, tmp_path: Path) -> None:
    """Whatever the order, with repetitions and padding; tokens of unequal length are padded with nothing."""
    data = encode(
        Dataset.open(encoded.root), world.component("text", models, max_tokens=9), name="short", options=SHORT
    )
    with open_states("tokens", dataset=encoded) as own, open_states("short", dataset=data) as short:
        assert own.mask is not None
        assert short.mask is not None
        with pytest.raises(DataError, match=r"was not encoded as .* they differ in preprocessing.max_tokens"):
            JoinedStates(own, short)
        short.manifest["facts"] = own.manifest["facts"]
        for first, second in ((own, short), (short, own)):
            joined = JoinedStates(first, second)
            asked = torch.tensor([world.ITEMS + 3, 2, 0, world.ITEMS + 3, 1, world.ITEMS + 1 + world.BARE["text"]])
            states, present = joined.take(asked)
            mask = joined.token_mask(asked)
            assert present.tolist() == [True, True, False, True, True, False]
            assert states.shape[:2] == mask.shape == (6, max(own.mask.shape[1], short.mask.shape[1]))
            for place, (source, token) in enumerate([(second, 3), (first, 2), (first, 0), (second, 3), (first, 1)]):
                wanted, its_mask = source.take([token])[0][0], source.token_mask([token])[0]
                assert torch.equal(states[place, : len(wanted)], wanted)
                assert torch.equal(mask[place, : len(its_mask)], its_mask)
                assert not states[place, len(wanted) :].any()
                assert not mask[place, len(its_mask) :].any()
            with pytest.raises(DataError, match="tokens are 0 to"):
                joined.take([joined.n_items + 1])
        short.manifest["weights_hash"] = "other"
        with pytest.raises(DataError, match="they differ in weights"):
            JoinedStates(own, short)


def test_added_items_have_their_own_content_beside_shuffled_ones(encoded: Dataset) -> None:
    order = np.roll(np.arange(world.ITEMS), 5)
    content = ItemContent.of(encoded).permuted(order)
    asked = np.array([world.ITEMS, 0, world.ITEMS + 7, 9])
    assert content.rows(asked).tolist() == [world.ITEMS, order[0], world.ITEMS + 7, order[9]]


def test_what_cannot_be_read_is_said(encoded: Dataset, models: Path, tmp_path: Path) -> None:
    view = world.view_of(encoded)
    with pytest.raises(ConfigError, match=r"'image' holds no layer 2 \(it has 1, 3\)"):
        tower_of(encoded, "image", layers=[2])
    with pytest.raises(ConfigError, match="'tokens' holds tokens of layer 1 alone"):
        tower_of(encoded, "tokens", layers=[2])
    with pytest.raises(ConfigError, match="and there are no features"):
        SASRec(replace(view, features={}), SASRec.Config(tower="states"))
    with pytest.raises(ConfigError, match="hold no stored states of items"):
        SASRec(replace(view, content=None), SASRec.Config(tower="states"))
    data = world.write_catalogue(tmp_path / "data")
    fitted = encode(data, "tfidf-svd")
    with pytest.raises(DataError, match="holds one vector per item and no hidden states"):
        tower_of(fitted)
    own = encode(data, world.component("text", models), name="own", options=Options(workers=0, device="cpu"))
    own.items().with_columns(title=own.items().collect()["title"].str.replace("^", "zz ")).collect().write_parquet(
        data.root / "items.parquet"
    )
    with pytest.raises(StaleCache, match="30 items differ"):
        tower_of(Dataset.open(data.root), "own")
    top = encode(
        world.write_catalogue(tmp_path / "top"),
        world.component("text", models),
        options=Options(workers=0, device="cpu", layers=(3,), tokens=True),
    )
    with pytest.raises(ConfigError, match=r"holds tokens of layer 3, above which .* has no block that could train"):
        tower_of(top)


@pytest.mark.parametrize("tower", ["states", "id+states"])
def test_a_whole_catalogue_in_each_step_is_refused_where_blocks_train(
    encoded: Dataset, make_view: Callable[[Dataset], Any], tower: str
) -> None:
    view = make_view(encoded)
    config = {"dim": 16, "length": 6, "blocks": 1, "tower": tower, "objective": "full"}
    with pytest.raises(ConfigError, match=r"model\.objective: full encodes the whole catalogue in each step"):
        SASRec(view, build(SASRec.Config, {**config, "features": ["text", "tokens"]}, source="test"))
    pooled = SASRec(view, build(SASRec.Config, {**config, "features": ["text"]}, source="test"))
    assert pooled.config.objective == "full"  # nothing trains there but the head


@pytest.mark.parametrize("keys", [{"features": ["text"]}, {"features": ["text", "image"]}, {"features": ["tokens"]}])
def test_contract(encoded: Dataset, keys: dict[str, Any], make_view: Callable[[Dataset], Any]) -> None:
    names = (
        ["scores", "state", "loss"] if keys["features"] == ["tokens"] else ["scores", "determinism", "state", "loss"]
    )
    checks = {name: HISTORY_CHECKS[name] for name in names}
    config = build(SASRec.Config, {"dim": 16, "length": 6, "blocks": 1, "tower": "states", **keys}, source="test")
    assert set(run_checks(checks, HistorySubject(SASRec, config, make_view(encoded)), "SASRec").values()) == {"passed"}


@pytest.fixture
def make_view() -> Callable[[Dataset], Any]:
    """The view of the contract tests, with the names of this catalogue's features."""

    def view(data: Dataset) -> Any:
        own = world.view_of(data)
        return replace(own, features={name: data.features(name) for name in data.feature_names})

    return view
