"""The demo catalogue as a data set: whole, repeatable, and with a signal that each content carries a part of."""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import cross_val_score

from sensorium.core.config import build
from sensorium.core.errors import ConfigError, DataError, ResourceError
from sensorium.data.dataset import Dataset
from sensorium.data.demo import DemoConfig, generate_demo, read_truth
from sensorium.data.demo.world import FACTORS
from sensorium.media.images import read_image

SIZE = {"users": 250, "items": 200}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return generate_demo(tmp_path_factory.mktemp("demo") / "shop", **SIZE)


def fingerprints(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    one = generate_demo(tmp_path / "one", users=30, items=50)
    two = generate_demo(tmp_path / "two", DemoConfig(users=30), items=50)
    assert fingerprints(one.root) == fingerprints(two.root)
    other = generate_demo(tmp_path / "other", users=30, items=50, seed=1)
    assert other.fingerprint() != one.fingerprint()


def test_tables_keep_the_contract(demo: Dataset) -> None:
    interactions, items, users = (frame.collect() for frame in (demo.interactions(), demo.items(), demo.users()))
    assert interactions.schema == {"user": pl.Int32, "item": pl.Int32, "timestamp": pl.Int64, "planted": pl.Boolean}
    assert interactions["timestamp"].is_sorted()
    assert not interactions.select("user", "item").is_duplicated().any()
    assert items["item"].to_list() == list(range(200))
    assert users["user"].to_list() == list(range(250))
    # Dense ids follow the sorted external ids, as on every import.
    assert items["item_id"].is_sorted()
    assert users["user_id"].is_sorted()
    assert users["user_id"][0] == "u0001"
    assert items["title"].n_unique() == 200
    assert (demo.n_users, demo.n_items, demo.n_interactions) == (250, 200, len(interactions))
    assert demo.info.has_time
    assert demo.info.licence
    assert demo.info.sensitive == ["group", "age_band"]


def test_attributes(demo: Dataset) -> None:
    attributes = demo.attributes()
    assert attributes["group"][1] == ["a", "b"]
    assert attributes["age_band"][1] == ["18-24", "25-34", "35-49", "50+"]
    assert (attributes["age_band"][0] == -1).any()  # some do not tell
    assert (attributes["group"][0] >= 0).all()


def test_covers_are_pictures_and_some_are_missing(demo: Dataset) -> None:
    """MM-1: items without one content stay, and say so."""
    items = demo.items().collect()
    named = items["image"].drop_nulls()
    assert 0 < items["image"].null_count() < 20
    assert 0 < items["description"].null_count() < 20
    for relative in named:
        assert read_image(demo.media_path(relative)).size == (96, 128)
    assert len(list((demo.root / "covers").iterdir())) == len(named)


def test_planted_noise_has_its_share_and_follows_popularity(demo: Dataset) -> None:
    planted = demo.interactions().collect()["planted"]
    assert planted.mean() == pytest.approx(0.2, abs=0.005)
    assert demo.info.planted is not None
    assert demo.info.planted["noise_rows"] == planted.sum()
    assert demo.info.planted["noise_share"] == pytest.approx(planted.mean(), abs=1e-4)


def test_truth_is_kept_beside_the_data(demo: Dataset) -> None:
    truth = read_truth(demo.root)
    assert truth.item["topic"].shape == (200, 10)
    assert truth.item["style"].shape == (200, 8)
    assert truth.taste_first["topic"].shape == truth.taste_last["topic"].shape == (250, 10)
    assert truth.items["topic"].to_list() == [FACTORS[0].kinds[kind] for kind in truth.item["topic"].argmax(1)]
    assert truth.users["group"].to_list() == demo.users().collect()["group"].to_list()
    cold = truth.items["cold"].to_numpy()
    assert cold.sum() == 10 == demo.info.planted["cold_items"]
    arrival = truth.items["arrival"].to_numpy()
    rows = demo.interactions().collect()
    assert (rows["timestamp"].to_numpy() >= arrival[rows["item"].to_numpy()] - 1).all()


def test_no_hidden_state_stands_in_the_tables(demo: Dataset) -> None:
    assert set(demo.items().collect_schema()) == {"item", "item_id", "title", "description", "image"}
    assert set(demo.users().collect_schema()) == {"user", "user_id", "group", "age_band"}


def test_each_content_carries_what_the_other_lacks(demo: Dataset) -> None:
    """A probe over the raw content: words tell the topic and not the style, colours the style and not the topic."""
    from sensorium.encoders.encode import encode_all

    encoded = encode_all(demo)
    truth = read_truth(demo.root)
    (words, _), (colours, present) = encoded.features("text"), encoded.features("image")

    def accuracy(x: np.ndarray, factor: str, rows: np.ndarray) -> float:
        x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
        return float(
            cross_val_score(RidgeClassifier(alpha=300.0), x[rows], truth.item[factor][rows].argmax(1), cv=4).mean()
        )

    everyone = np.ones(len(words), dtype=bool)
    assert accuracy(words, "topic", everyone) > 0.8
    assert accuracy(words, "style", everyone) < 0.25  # chance is 1 in 8, with a little in common by design
    assert accuracy(colours, "style", present) > 0.8
    assert accuracy(colours, "topic", present) < 0.25  # chance is 1 in 10
    assert accuracy(words, "circle", everyone) < 0.3  # chance is 1 in 6: neither content shows it
    assert accuracy(colours, "circle", present) < 0.3


def test_group_can_be_read_from_behaviour() -> None:
    """The leak is there to be found, and to be removed by a fair model."""
    from sensorium.data.demo.interactions import sample_rows
    from sensorium.data.demo.world import make_world

    config = DemoConfig(users=800, items=200)
    world = make_world(config)
    rows = sample_rows(world, config)
    held = np.zeros((800, 200))
    held[rows.user, rows.item] = 1
    score = cross_val_score(RidgeClassifier(alpha=100.0), held, world.group, cv=4, scoring="roc_auc").mean()
    assert 0.6 < score < 0.95


def test_existing_folder_is_refused(demo: Dataset) -> None:
    before = fingerprints(demo.root)
    with pytest.raises(DataError, match="is there already"):
        generate_demo(demo.root, **SIZE)
    assert fingerprints(demo.root) == before


def test_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"nois: unknown key; did you mean noise\?"):
        generate_demo("nowhere", nois=0.3)
    with pytest.raises(ConfigError, match="noise"):
        build(DemoConfig, {"noise": 1.0}, source="test")
    assert not Path("nowhere").exists()


def test_a_world_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="a demo catalogue of"):
        generate_demo(tmp_path / "big", users=10**12, items=10**6)
    assert not (tmp_path / "big").exists()


def test_interrupted_generation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sensorium.data.demo.generate.write_truth", interrupt)
    with pytest.raises(KeyboardInterrupt):
        generate_demo(tmp_path / "shop", users=20, items=50)
    assert not (tmp_path / "shop").exists()
    assert not list(tmp_path.glob("*.tmp"))
