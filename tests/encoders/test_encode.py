"""`encode`: what is written, under which key, and what happens to content that is absent, broken or changed."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from sensorium.core.config import Component
from sensorium.core.errors import ConfigError, DataError
from sensorium.core.files import read_json, read_parquet
from sensorium.core.registry import registered
from sensorium.data.dataset import Dataset
from sensorium.data.demo import generate_demo
from sensorium.data.schema import Source
from sensorium.data.splits import TEST, TRAIN, Split, make_split
from sensorium.data.store import write_tables
from sensorium.encoders import encode as encode_module
from sensorium.encoders.encode import encode, encode_all
from sensorium.encoders.store import open_encoder
from sensorium.encoders.tfidf import TfidfSvd
from sensorium.media.images import encode_image, write_image

Catalogue = Callable[..., Dataset]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return generate_demo(tmp_path_factory.mktemp("encode") / "shop", users=60, items=150)


@pytest.fixture
def demo(generated: Dataset, tmp_path: Path) -> Dataset:
    """A fresh copy, which a test may change."""
    return Dataset.open(shutil.copytree(generated.root, tmp_path / "shop"))


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """A data set of the given item columns, with one user who has seen all of them."""

    def make(**columns: list[Any]) -> Dataset:
        n = len(next(iter(columns.values())))
        root = tmp_path / "catalogue"
        root.mkdir(exist_ok=True)
        ids = np.arange(n, dtype=np.int32)
        return write_tables(
            root,
            name="catalogue",
            source=Source(reader="test"),
            interactions=pl.DataFrame({"user": np.zeros(n, dtype=np.int32), "item": ids}),
            items=pl.DataFrame({"item": ids, "item_id": [f"i{item}" for item in ids]}).with_columns(
                pl.Series(name, values, dtype=pl.String) for name, values in columns.items()
            ),
            users=pl.DataFrame({"user": np.zeros(1, dtype=np.int32), "user_id": ["u"]}),
        )

    return make


def picture(colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (20, 30), colour)


def manifest_of(dataset: Dataset, name: str) -> dict[str, Any]:
    result: dict[str, Any] = read_json(dataset.root / dataset.info.features[name].folder / "manifest.json")
    return result


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- what is written -------------------------------------------------------------------------------------------------


def test_encode_all_makes_text_and_image(demo: Dataset) -> None:
    """MM-1: every item keeps its place, the mask says what is missing."""
    encoded = encode_all(demo)
    assert encoded.feature_names == ["text", "image"]
    items = demo.items().collect()
    text, image = encoded.features("text"), encoded.features("image")
    assert text.x.shape == (150, 128)
    assert image.x.shape == (150, 416)
    assert text.x.dtype == image.x.dtype == np.float32
    assert text.present.all()
    assert (image.present == items["image"].is_not_null().to_numpy()).all()
    assert (image.x[~image.present] == 0).all()
    assert Dataset.open(demo.root).feature_names == ["text", "image"]


def test_manifest_tells_where_vectors_come_from(demo: Dataset) -> None:
    """MM-6: encoder, options, fields and fitted items are in dataset.json and in the manifest."""
    encoded = encode(demo, "tfidf-svd")
    provenance = encoded.info.features["text"].provenance
    assert isinstance(provenance, dict)
    assert provenance["encoder"] == "tfidf-svd"
    assert provenance["fields"] == ["title", "description"]
    assert provenance["config"] == {"dim": 128, "min_texts": 2}
    assert provenance["fitted_on"] == {"rule": "all items with content: no split was given", "items": 150}
    manifest = manifest_of(encoded, "text")
    assert manifest["card"]["weights"] is None
    assert manifest["key"].startswith(encoded.info.features["text"].folder.rpartition("-")[2])
    for name, file in manifest["files"].items():
        content = (demo.root / encoded.info.features["text"].folder / name).read_bytes()
        assert len(content) == file["bytes"]
        assert hashlib.sha256(content).hexdigest() == file["sha256"]


def test_two_runs_give_the_same_bytes(demo: Dataset) -> None:
    encoded = encode_all(demo)
    before = {name: hashes(demo.root / info.folder) for name, info in encoded.info.features.items()}
    shutil.rmtree(demo.root / "features")
    again = encode_all(demo)
    assert {name: hashes(again.root / info.folder) for name, info in again.info.features.items()} == before


def test_second_call_is_up_to_date(demo: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    encode_all(demo)

    def never(*_: object) -> None:
        pytest.fail("encoded again")

    monkeypatch.setattr(encode_module, "_encode", never)
    before = hashes(demo.root)
    assert encode_all(demo).feature_names == ["text", "image"]
    assert hashes(demo.root) == before


# --- keys ------------------------------------------------------------------------------------------------------------


def test_changed_title_never_meets_an_old_vector(catalogue: Catalogue) -> None:
    titles = ["red boat", "red boat", "blue tree", "blue tree", "red tree"]
    first = encode(catalogue(title=titles), "tfidf-svd")
    second = encode(catalogue(title=[*titles[:4], "red boat"]), "tfidf-svd")
    assert second.info.features["text"].folder != first.info.features["text"].folder
    before, after = first.features("text").x, second.features("text").x
    assert not np.allclose(before[4], before[0])
    assert (after[4] == after[0]).all()


def test_changed_cover_option_and_encoder_change_the_key(demo: Dataset) -> None:
    folders = {encode(demo, "colour-histogram").info.features["image"].folder}
    path = demo.root / demo.items().collect()["image"].drop_nulls()[0]
    write_image(path, picture((1, 200, 3)))
    folders.add(encode(demo, "colour-histogram").info.features["image"].folder)
    assert len(folders) == 2
    texts = {encode(demo, "tfidf-svd").info.features["text"].folder}
    texts.add(encode(demo, "tfidf-svd", fields=["title"]).info.features["text"].folder)
    small = Component("sensorium.encoders", "tfidf-svd", TfidfSvd.Config(dim=8))
    reduced = encode(demo, small)
    texts.add(reduced.info.features["text"].folder)
    assert len(texts) == 3
    assert reduced.features("text").x.shape == (150, 8)


def test_damaged_result_is_made_again(demo: Dataset) -> None:
    folder = demo.root / encode(demo, "tfidf-svd").info.features["text"].folder
    whole = hashes(folder)
    content = (folder / "pooled.npy").read_bytes()
    (folder / "pooled.npy").write_bytes(content[: len(content) // 2])
    encode(demo, "tfidf-svd")
    assert hashes(folder) == whole


def test_interrupted_encoding_leaves_the_old_state(demo: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hashes(demo.root)

    def interrupt(self: TfidfSvd, folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TfidfSvd, "save", interrupt)
        with pytest.raises(KeyboardInterrupt):
            encode(demo, "tfidf-svd")
    assert hashes(demo.root) == before
    assert encode(demo, "tfidf-svd").feature_names == ["text"]


def test_file_that_changes_meanwhile_stops(demo: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    real = encode_module.read_contents

    def then_change(*arguments: Any) -> Any:
        contents = real(*arguments)
        write_image(demo.root / next(filter(None, contents.values)), picture((1, 2, 3)))
        return contents

    monkeypatch.setattr(encode_module, "read_contents", then_change)
    with pytest.raises(DataError, match=r"\.jpg has changed while it was being encoded"):
        encode(demo, "colour-histogram")


# --- fitting ---------------------------------------------------------------------------------------------------------


def test_only_items_with_a_train_row_are_learned_from(catalogue: Catalogue) -> None:
    """Words that only a held-out item holds are unknown: its text cannot shape the vectors."""
    titles = ["red boat", "red boat tree", "blue tree", "blue boat", "zebra zebra", "zebra boat"]
    dataset = catalogue(title=titles)
    rows = np.arange(6)
    split = Split(
        name="held-out", config={}, seed=0, n_users=1, n_items=6, row=rows, user=rows * 0, item=rows,
        label=np.array([TRAIN] * 4 + [TEST] * 2, dtype=np.int8),
    )  # fmt: skip
    encoded = encode(dataset, "tfidf-svd", split=split)
    encoder = open_encoder(dataset.root / encoded.info.features["text"].folder)
    assert "zebra" not in encoder.words  # type: ignore[attr-defined]
    x, present = encoded.features("text")
    assert present.tolist() == [True, True, True, True, False, True]  # nothing known in "zebra zebra"
    assert manifest_of(encoded, "text")["counts"]["nothing_known"] == 1
    assert manifest_of(encoded, "text")["fitted_on"]["items"] == 4
    assert "train row of the split 'held-out'" in manifest_of(encoded, "text")["fitted_on"]["rule"]

    changed = catalogue(title=[*titles[:4], "other words", "red boat"])
    other = encode(changed, "tfidf-svd", split=split).features("text").x
    assert (other[:4] == x[:4]).all()  # what is held out has no say in the others' vectors

    everything = encode(catalogue(title=titles), "tfidf-svd")
    assert everything.features("text").present.all()


def test_cold_items_of_a_real_split_are_encoded(demo: Dataset) -> None:
    split = make_split(demo, {"name": "cold_items", "ratio": 0.1}, seed=0)
    encoded = encode(demo, "colour-histogram", split=split)
    assert split.cold_items is not None
    covered = demo.items().collect()["image"].is_not_null().to_numpy()
    assert (encoded.features("image").present == covered).all()
    fitted = manifest_of(encoded, "image")["fitted_on"]["items"]
    assert 0 < fitted <= (covered & ~split.cold_items).sum()


def test_split_of_other_data_is_refused(demo: Dataset) -> None:
    split = make_split(demo, "random_per_user", seed=0)
    with pytest.raises(DataError, match="is of 149 items"):
        encode(demo, "tfidf-svd", split=replace(split, n_items=149))


def test_saved_encoder_gives_a_new_item_the_vector_of_its_twin(demo: Dataset) -> None:
    encoded = encode_all(demo)
    items = demo.items().collect()
    words = open_encoder(demo.root / encoded.info.features["text"].folder)
    twin = f"{items['title'][3]}. {items['description'][3]}"
    assert np.allclose(words.forward([words.prepare(twin)])[0], encoded.features("text").x[3], atol=1e-6)
    item = int(np.flatnonzero(encoded.features("image").present)[5])
    colours = open_encoder(demo.root / encoded.info.features["image"].folder)
    cover = (demo.root / items["image"][item]).read_bytes()
    assert np.allclose(colours.forward([colours.prepare(cover)])[0], encoded.features("image").x[item], atol=1e-6)


# --- absent and broken -----------------------------------------------------------------------------------------------


def test_broken_files_among_good_ones(catalogue: Catalogue) -> None:
    """EN-3, EN-2: the run ends, each broken file is named with its item and reason, the others are unharmed."""
    names: list[str | None] = [f"media/{item}.jpg" for item in range(20)]
    dataset = catalogue(image=[*names[:18], None, ""])
    (dataset.root / "media").mkdir()
    for item in range(18):
        write_image(dataset.root / f"media/{item}.jpg", picture((item * 10, 100, 200 - item * 10)))
    good = encode(dataset, "colour-histogram").features("image").x

    content = (dataset.root / "media/3.jpg").read_bytes()
    (dataset.root / "media/3.jpg").write_bytes(content[: int(len(content) * 0.6)])
    (dataset.root / "media/5.jpg").write_bytes(b"")
    (dataset.root / "media/7.jpg").write_text("<html>not found</html>")
    (dataset.root / "media/9.jpg").unlink()
    (dataset.root / "media/11.jpg").write_bytes(encode_image(picture((7, 7, 7)).convert("RGBA"), "PNG"))
    encoded = encode(dataset, "colour-histogram")
    x, present = encoded.features("image")
    broken = {3: "truncated", 5: "undecodable", 7: "undecodable", 9: "missing_file"}
    assert np.flatnonzero(~present).tolist() == [*broken, 18, 19]
    assert (x[~present] == 0).all()

    counts = manifest_of(encoded, "image")["counts"]
    assert counts["present"] == 14
    assert counts["absent"] == 2
    assert counts["rejected"] == 4
    assert counts["rejected_undecodable"] == 2
    rejected = read_parquet(dataset.root / encoded.info.features["image"].folder / "rejected.parquet")
    assert dict(zip(rejected["item"], rejected["reason"], strict=True)) == broken
    assert rejected["item_id"].to_list() == ["i3", "i5", "i7", "i9"]
    assert rejected["path"][0] == "media/3.jpg"
    assert all(rejected["detail"])

    # Up to the two fitted scales, the good ones are what they were.
    kept = [0, 1, 2, 4, 6, 8]
    assert np.allclose(x[kept, :384] / x[0, :384].max(), good[kept, :384] / good[0, :384].max(), atol=1e-6)


def test_repaired_file_is_encoded(catalogue: Catalogue) -> None:
    """A missing file that appears, or a broken one that is mended, changes the key."""
    dataset = catalogue(image=["a.png", "b.png"])
    write_image(dataset.root / "a.png", picture((200, 0, 0)))
    assert encode(dataset, "colour-histogram").features("image").present.tolist() == [True, False]
    write_image(dataset.root / "b.png", picture((0, 200, 0)))
    assert encode(dataset, "colour-histogram").features("image").present.tolist() == [True, True]


def test_path_that_leads_out_is_no_file_of_the_data_set(catalogue: Catalogue, tmp_path: Path) -> None:
    write_image(tmp_path / "secret.png", picture((1, 1, 1)))
    dataset = catalogue(image=["a.png", "../secret.png", str(tmp_path / "secret.png")])
    write_image(dataset.root / "a.png", picture((200, 0, 0)))
    encoded = encode(dataset, "colour-histogram")
    assert encoded.features("image").present.tolist() == [True, False, False]
    assert manifest_of(encoded, "image")["counts"]["rejected_missing_file"] == 2


def test_empty_texts_are_absent(catalogue: Catalogue) -> None:
    """EN-9: null, spaces and bare tags are missing content, not content that says nothing."""
    dataset = catalogue(
        title=["Men&#39;s boat", None, "  ", "boat <br> harbour", None],
        description=["harbour", "boat", "<p></p>", None, None],
    )
    encoded = encode(dataset, "tfidf-svd")
    assert encoded.features("text").present.tolist() == [True, True, False, True, False]
    assert manifest_of(encoded, "text")["counts"] == {"present": 3, "absent": 2, "rejected": 0, "nothing_known": 0}


def test_nothing_usable_is_said(catalogue: Catalogue) -> None:
    with pytest.raises(DataError, match=r"none of them has usable image \(0 of 2 items have some"):
        encode(catalogue(image=[None, ""]), "colour-histogram")


# --- wrong calls -----------------------------------------------------------------------------------------------------


def test_wrong_calls_say_what_is_right(catalogue: Catalogue) -> None:
    dataset = catalogue(title=["red boat", "red tree"])
    with pytest.raises(ConfigError, match=r"did you mean 'tfidf-svd'\?"):
        encode(dataset, "tfidf-sdv")
    with pytest.raises(ConfigError, match=r"encoder.dims: unknown key; did you mean encoder.dim\?"):
        encode(dataset, {"name": "tfidf-svd", "dims": 3})
    with pytest.raises(ConfigError, match="'tfidf-svd' reads text, not image"):
        encode(dataset, "tfidf-svd", modality="image")
    with pytest.raises(DataError, match=r"no column image to encode as image \(they have item, item_id, title\)"):
        encode(dataset, "colour-histogram")
    with pytest.raises(DataError, match="no column plot"):
        encode(dataset, "tfidf-svd", fields=["title", "plot"])
    with pytest.raises(DataError, match="one column"):
        encode(dataset, "colour-histogram", fields=["title", "item_id"])
    assert not (dataset.root / "features").exists()


def test_encode_all_without_content(catalogue: Catalogue) -> None:
    with pytest.raises(DataError, match="nothing to encode"):
        encode_all(catalogue(price=["1", "2"]))


def test_encode_all_passes_an_empty_column_by(catalogue: Catalogue) -> None:
    """A catalogue whose picture column is there and holds nothing is one of texts."""
    dataset = catalogue(title=["red boat", "red tree"], image=[None, None])
    assert encode_all(dataset).feature_names == ["text"]


def test_short_name_and_third_party_encoder(catalogue: Catalogue) -> None:
    """Anybody's encoder registers like the built-in ones, and two results can stand side by side."""

    class Lengths(TfidfSvd):
        card = TfidfSvd.card.model_copy(update={"name": "lengths", "pooled_dim": 1})

        def fit(self, prepared: Any) -> None:
            pass

        def forward(self, prepared: Any) -> Any:
            return np.array([[len(text)] for text in prepared], dtype=np.float32)

    dataset = encode(catalogue(title=["red boat", "red tree house"]), "tfidf-svd")
    with registered("sensorium.encoders", "lengths", Lengths):
        encoded = encode(dataset, "lengths", name="length")
    assert encoded.feature_names == ["text", "length"]
    assert encoded.features("length").x.tolist() == [[8.0], [14.0]]
