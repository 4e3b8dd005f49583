"""Items that came after training: encoded, ranked beside the others, and nothing else changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from sensorium.cli import main
from sensorium.core.errors import ConfigError, DataError
from sensorium.data.contents import bring_media
from sensorium.data.dataset import Dataset
from sensorium.data.features import add_features
from sensorium.data.schema import Source
from sensorium.data.store import write_tables
from sensorium.encoders.encode import encode
from sensorium.experiments.loading import load_run
from sensorium.experiments.run import run
from sensorium.serving.export import recommend_all
from sensorium.serving.items import add_items, with_added_items
from sensorium.serving.recommend import recommend

THEMES = ("river boat water", "engine wheel road", "piano violin song")
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Thirty titled items of three themes; a user stays with one theme."""
    folder = tmp_path_factory.mktemp("shop") / "made"
    folder.mkdir()
    draw = np.random.default_rng(0)
    rows = [
        (user, 3 * int(item) + user % 3, 10_000 * place + user)
        for user in range(60)
        for place, item in enumerate(draw.permutation(10)[:7])
    ]
    dataset = write_tables(
        folder,
        name="shop",
        source=Source(reader="test"),
        interactions=pl.DataFrame(
            rows, schema={"user": pl.Int32, "item": pl.Int32, "timestamp": pl.Int64}, orient="row"
        ),
        items=pl.DataFrame(
            {
                "item": np.arange(30, dtype=np.int32),
                "item_id": [f"i{item}" for item in range(30)],
                "title": [f"{THEMES[item % 3]} {WORDS[item // 3]}" for item in range(30)],
            }
        ),
        users=pl.DataFrame({"user": np.arange(60, dtype=np.int32), "user_id": [f"u{user}" for user in range(60)]}),
    )
    return encode(dataset, "tfidf-svd", name="text")


def trained(shop: Dataset, out: Path, model: dict[str, object], split: str = "leave_last_out") -> Path:
    config = {
        "data": {"dataset": str(shop.root), "split": split},
        "model": model,
        "training": {"epochs": 15, "batch_size": 32, "optimizer": {"lr": 0.01}, "device": "cpu"},
        "evaluation": {"ks": [5], "metrics": ["recall", "hit_rate"]},
        "selection": "recall@5",
    }
    return run(config, out=out).path


@pytest.fixture(scope="module")
def sasrec(shop: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = {"name": "sasrec", "dim": 16, "length": 6, "tower": "features"}
    return trained(shop, tmp_path_factory.mktemp("runs") / "sasrec", model)


def write_new(path: Path, rows: list[tuple[str, str]]) -> Path:
    pl.DataFrame(rows, schema=["item_id", "title"], orient="row").write_csv(path)
    return path


def test_new_items_are_recommended_by_what_they_are(
    sasrec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_run(sasrec)
    with torch.no_grad():
        vectors = before.model.item_vectors()
    file = write_new(tmp_path / "new.csv", [("boat", THEMES[0]), ("piano", THEMES[2]), ("i3", "known"), ("blank", "")])
    assert main(["items", "add", str(sasrec), str(file)]) == 0
    said = capsys.readouterr().out
    assert "3 items added; 1 were known; 3 in all, 2 with text" in said
    grown = with_added_items(load_run(sasrec))
    with torch.no_grad():
        now = grown.model.item_vectors()
    assert torch.equal(now[: len(vectors)], vectors)  # whoever was trained stays
    assert grown.dataset.n_items == 33
    found = recommend(sasrec, history=["i0", "i6", "i9"], k=3, only=["boat", "piano", "blank"]).answers[0]
    assert found.items[0].item_id == "boat"
    assert found.items[0].title == THEMES[0]
    songs = recommend(sasrec, history=["i2", "i8", "i11"], k=1, only=["boat", "piano"]).answers[0]
    assert songs.items[0].item_id == "piano"
    assert recommend(sasrec, history=["boat"], k=3).answers[0].items  # a new item in a history is read, too
    assert "boat" in [item.item_id for item in recommend(sasrec, user="u0", k=33).answers[0].items]
    # What was evaluated does not know them, and its lists are those of the run.
    assert "boat" not in [
        item.item_id for item in recommend(sasrec, user="u0", k=33, as_evaluated=True).answers[0].items
    ]
    recommend_all(sasrec, tmp_path / "lists.parquet", k=33)
    assert "boat" in pl.read_parquet(tmp_path / "lists.parquet")["item_id"].to_list()
    # A second call adds to them.
    again = add_items(sasrec, write_new(tmp_path / "more.csv", [("boat", "again"), ("wheel", THEMES[1])]))
    assert (again.added, again.known, again.total) == (1, 1, 4)
    assert recommend(sasrec, history=["i1", "i4"], k=1, only=["wheel", "piano"]).answers[0].items[0].item_id == "wheel"


def test_models_of_user_ids_know_new_items_by_their_content(shop: Dataset, tmp_path: Path) -> None:
    path = trained(shop, tmp_path / "vbpr", {"name": "vbpr", "dim": 8}, split="random_per_user")
    with torch.no_grad():
        before = load_run(path).model.item_vectors()
    add_items(path, write_new(tmp_path / "new.csv", [("boat", THEMES[0]), ("piano", THEMES[2])]))
    with torch.no_grad():
        now = with_added_items(load_run(path)).model.item_vectors()
    assert torch.allclose(now[: len(before)], before, atol=1e-6)
    answer = recommend(path, user="u0", k=2, only=["boat", "piano"]).answers[0]
    assert [item.item_id for item in answer.items] == ["boat", "piano"]


def with_pictures(shop: Dataset, folder: Path) -> tuple[Dataset, Path]:
    """The shop with a picture of each item, of its theme's colour and a shade of its own; and where the files lie."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for item in range(30):
        shade = np.zeros((16, 16, 3), dtype=np.uint8)
        shade[..., item % 3] = 90 + 15 * (item // 3)
        Image.fromarray(shade).save(pictures / f"{item}.png")
    root = folder / "pictured"
    root.mkdir()
    items = shop.items().collect().with_columns(image=pl.format("{}.png", "item"))
    brought, lost = bring_media(items.select("item", pl.exclude("item")), pictures, root)
    assert not lost.height
    rows, users = shop.interactions().collect(), shop.users().collect()
    dataset = write_tables(
        root, name="pictured", source=Source(reader="test"), interactions=rows, items=brought, users=users
    )
    return encode(encode(dataset, "tfidf-svd", name="text"), "colour-histogram", name="image"), pictures


def test_a_new_item_stands_beside_the_known_one_whose_content_it_has(
    shop: Dataset, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """CS-3: with title and picture of a known item, models of content alone rank a new one within 20 places of it.

    With ids beside content the difference is reported; ids alone refuse the item in words.
    """
    dataset, pictures = with_pictures(shop, tmp_path)
    twins = dataset.items().select("item_id", "title", "item").collect()
    new = pictures / "new.csv"
    twins.select(
        pl.format("new {}", "item_id").alias("item_id"), "title", pl.format("{}.png", "item").alias("image")
    ).write_csv(new)
    sequence = {"name": "sasrec", "dim": 16, "length": 6}
    models = {
        "content alone": {**sequence, "tower": "features"},
        "ids beside content": {**sequence, "tower": "id+features"},
        "vbpr": {"name": "vbpr", "dim": 8},
    }
    for name, model in models.items():
        path = trained(dataset, tmp_path / name, model)
        assert add_items(path, new).with_content == {"text": 30, "image": 30}
        found = recommend(path, users=dataset.user_ids().to_list(), k=60).answers
        places = [{item.item_id: item.rank for item in answer.items} for answer in found]
        apart = [
            abs(place[f"new {item}"] - rank)
            for place in places
            for item, rank in place.items()
            if rank <= 10 and not item.startswith("new ")
        ]
        assert len(apart) > 60  # known items are in the first ten of most users
        record_property(f"{name}: places between a known item and its twin, mean", float(np.mean(apart)))
        if name == "content alone":
            assert max(apart) <= 20
            assert np.mean(apart) < 1.5  # the same content is the same vector: next to each other
    for number, model in enumerate((sequence, {"name": "bpr", "dim": 8})):
        with pytest.raises(ConfigError, match="by their ids alone: it can say nothing about new ones"):
            add_items(trained(dataset, tmp_path / str(number), model), new)


def test_vectors_that_were_given_have_none_of_new_items(shop: Dataset, tmp_path: Path) -> None:
    """Also where their source names an encoder, as readers of published matrices do: it is not here to ask."""
    shutil.copytree(shop.root, tmp_path / "given")
    x = np.random.default_rng(0).normal(size=(30, 4))
    given = add_features(
        Dataset.open(tmp_path / "given"), "video", x, provenance={"file": "video.npy", "encoder": "VideoMAE"}
    )
    model = {"name": "sasrec", "dim": 8, "length": 6, "tower": "features", "features": ["video"]}
    with pytest.raises(ConfigError, match="features 'video' that 'sasrec' reads were given and not encoded here"):
        add_items(trained(given, tmp_path / "run", model), write_new(tmp_path / "new.csv", [("x", "river")]))


def test_what_cannot_be_added_is_refused(shop: Dataset, sasrec: Path, tmp_path: Path) -> None:
    ids_alone = trained(shop, tmp_path / "ids", {"name": "sasrec", "dim": 8, "length": 6})
    new = write_new(tmp_path / "new.csv", [("x", "river")])
    with pytest.raises(ConfigError, match="by their ids alone"):
        add_items(ids_alone, new)
    with pytest.raises(DataError, match="known to this run already"):
        add_items(sasrec, write_new(tmp_path / "old.csv", [("i1", "river")]))
    with pytest.raises(DataError, match="item_id 'x' stands twice"):
        add_items(sasrec, write_new(tmp_path / "twice.csv", [("x", "river"), ("x", "road")]))
    (tmp_path / "none.csv").write_text("id,title\n1,river\n")
    with pytest.raises(DataError, match="no column item_id"):
        add_items(sasrec, tmp_path / "none.csv")
