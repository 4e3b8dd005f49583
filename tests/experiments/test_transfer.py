"""A model of content carried to a data set without a common item: what it knew helps there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sensorium.cli import main
from sensorium.core.config import to_yaml
from sensorium.core.errors import ConfigError, DataError, RunError
from sensorium.core.files import read_json
from sensorium.data.dataset import Dataset
from sensorium.data.features import add_features
from sensorium.data.schema import Source
from sensorium.data.store import write_tables
from sensorium.encoders.encode import encode
from sensorium.experiments.run import run
from sensorium.experiments.transfer import transfer, write_transfer_page

RING, WIDTH = 24, 8


def chain(folder: Path, name: str, users: int, shift: float) -> Dataset:
    """Items on a ring whose place their features tell; a user goes on to the next one. The ids are the set's own."""
    draw = np.random.default_rng(len(name))
    rows = [
        (user, (start + place) % RING, 1_000 * place + user)
        for user, start in enumerate(draw.integers(RING, size=users))
        for place in range(7)
    ]
    folder.mkdir(parents=True)
    dataset = write_tables(
        folder,
        name=name,
        source=Source(reader="test"),
        interactions=pl.DataFrame(
            rows, schema={"user": pl.Int32, "item": pl.Int32, "timestamp": pl.Int64}, orient="row"
        ),
        items=pl.DataFrame(
            {"item": np.arange(RING, dtype=np.int32), "item_id": [f"{name}-{item}" for item in range(RING)]}
        ),
        users=pl.DataFrame(
            {"user": np.arange(users, dtype=np.int32), "user_id": [f"u{user}" for user in range(users)]}
        ),
    )
    angle = 2 * np.pi * (np.arange(RING) + shift) / RING
    x = np.stack([wave(angle * k) for k in range(1, WIDTH // 2 + 1) for wave in (np.sin, np.cos)], axis=1)
    return add_features(dataset, "place", x)


def config(dataset: Dataset, epochs: int = 30, batch_size: int = 32, **model: object) -> dict[str, object]:
    return {
        "data": {"dataset": str(dataset.root), "split": "leave_last_out"},
        "model": {"name": "sasrec", "dim": 16, "length": 5, "tower": "features", **model},
        "training": {
            "epochs": epochs,
            "batch_size": batch_size,
            "optimizer": {"lr": 0.01},
            "patience": 0,
            "device": "cpu",
        },
        "evaluation": {"ks": [1, 5], "metrics": ["hit_rate"]},
        "selection": "hit_rate@1",
    }


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset, Path]:
    folder = tmp_path_factory.mktemp("worlds")
    source, target = chain(folder / "a", "near", 200, 0.0), chain(folder / "b", "far", 60, 0.5)
    return source, target, run(config(source), out=folder / "run").path


def test_what_was_learned_elsewhere_helps(
    worlds: tuple[Dataset, Dataset, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, target, trained = worlds
    (tmp_path / "target.yaml").write_text(to_yaml(config(target, epochs=1, batch_size=64)))
    assert main(["transfer", str(trained), str(tmp_path / "target.yaml"), "--out", str(tmp_path / "out")]) == 0
    assert "zero-shot" in capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") == 2  # the matrix, and the curves
    write_transfer_page([tmp_path / "out", tmp_path / "out"], tmp_path / "both.html")
    with pytest.raises(RunError, match=r"already|holds"):
        transfer(trained, config(target), out=tmp_path / "out")

    result = transfer(trained, config(target, epochs=1, batch_size=64), out=tmp_path / "again")
    found = {variant["name"]: variant for variant in result["variants"]}
    assert list(found) == [
        "from scratch", "zero-shot", "fine-tuned, 1% of users", "fine-tuned, 10% of users", "fine-tuned, 100% of users",
    ]  # fmt: skip
    assert found["zero-shot"]["test"]["hit_rate@1"] > found["from scratch"]["test"]["hit_rate@1"] + 0.2
    assert found["fine-tuned, 100% of users"]["epochs_to_scratch"] == 1
    assert [found[name]["users"] for name in found] == [60, 0, 2, 6, 60]


def described(dataset: Dataset, folder: Path, name: str = "words", **config: object) -> Dataset:
    """The data set in another folder with titles of its own and their vectors by a fitted encoder, as wide as asked."""
    place = folder / dataset.name
    shutil.copytree(dataset.root, place)
    titles = [f"{'abcdefgh'[item % 8] * 3} {'klmnopqr'[item // 3] * 4} {dataset.name}" for item in range(RING)]
    items = Dataset.open(place).items().collect().with_columns(title=pl.Series(titles))
    items.write_parquet(place / "items.parquet")
    return encode(Dataset.open(place), {"name": "tfidf-svd", "dim": WIDTH, **config}, name=name)


def test_features_of_another_encoder_are_refused_whatever_their_width(
    worlds: tuple[Dataset, Dataset, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fitted encoder is another one on each catalogue; who says that they are alike is believed, in writing."""
    here, there = described(worlds[0], tmp_path / "here"), described(worlds[1], tmp_path / "there")
    assert here.features("words").x.shape[1] == there.features("words").x.shape[1]
    trained = run(config(here, epochs=1, features=["words"]), out=tmp_path / "run").path
    target = tmp_path / "target.yaml"
    target.write_text(to_yaml(config(there, epochs=1)))
    command = ["transfer", str(trained), str(target), "--out", str(tmp_path / "out")]
    assert main(command) != 0
    said = capsys.readouterr().err
    assert "features are not by one encoder" in said
    assert said.count("tfidf-svd as it was fitted (") == 2  # both are named
    assert "--same-features" in said
    assert not (tmp_path / "out").exists()
    assert main([*command, "--same-features"]) == 0
    result = read_json(tmp_path / "out" / "result.json")
    assert result["notices"][0].startswith("features were said to be by one encoder: 'words' of 'near' is by tfidf-svd")
    assert "said to be by one encoder" in (tmp_path / "out" / "report.html").read_text()
    given = add_features(Dataset.open(there.root), "words", there.features("words").x + 1)
    with pytest.raises(DataError, match=r"is by tfidf-svd as it was fitted .* and 'words' of 'far' by unknown"):
        transfer(trained, config(given, epochs=1), out=tmp_path / "given")


def test_what_nobody_knows_is_said(worlds: tuple[Dataset, Dataset, Path], tmp_path: Path) -> None:
    _, target, trained = worlds
    result = transfer(trained, config(target, epochs=1), out=tmp_path / "out", shares=())
    assert result["notices"] == [
        "nobody knows whether one encoder made the features: 'place' of 'near' is by unknown and 'place' of 'far' by "
        "unknown"
    ]
    place = tmp_path / "more"
    shutil.copytree(target.root, place)
    more = add_features(Dataset.open(place), "other", np.ones((RING, 1)))
    with pytest.raises(ConfigError, match=r"reads 1 features \(place\) and the target's run reads 2 \(place, other\)"):
        transfer(trained, config(more, epochs=1), out=tmp_path / "never")


def test_what_cannot_be_carried_is_refused(worlds: tuple[Dataset, Dataset, Path], tmp_path: Path) -> None:
    source, target, trained = worlds
    for shares in ((0.0,), (1.5,), (0.011, 0.012)):
        with pytest.raises(ConfigError, match="each is above 0, at most 1"):
            transfer(trained, config(target), out=tmp_path / "shares", shares=shares)
    with pytest.raises(DataError, match="share 24 items"):
        transfer(trained, config(source), out=tmp_path / "same")
    ids = run(config(source, epochs=1, tower="id"), out=tmp_path / "ids").path
    other = chain(tmp_path / "c", "other", 60, 0.5)
    wider = add_features(other, "place", np.random.default_rng(0).normal(size=(RING, WIDTH + 1)))
    with pytest.raises(ConfigError, match="features of another width"):
        transfer(trained, config(wider), out=tmp_path / "wide")
    assert target.n_items == source.n_items  # shapes alone would not tell that rows are of items
    with pytest.raises(ConfigError, match="of single items"):
        transfer(ids, config(target), out=tmp_path / "x")
