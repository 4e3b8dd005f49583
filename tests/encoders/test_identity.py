"""Who made a feature set: what leaves an encoder's vectors leaves its identity; another encoder has another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sensorium.core.config import build
from sensorium.core.errors import DataError
from sensorium.core.registry import get
from sensorium.data.appending import append_to_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.features import add_features
from sensorium.data.importing import ImportConfig
from sensorium.data.schema import Source
from sensorium.data.store import write_tables
from sensorium.encoders.cache.job import Options
from sensorium.encoders.encode import encode
from sensorium.encoders.identity import maker_of

WORDS = ["river boat", "engine wheel", "piano violin", "boat wheel", "piano river", "violin engine"]


def catalogue(folder: Path, titles: list[str]) -> Dataset:
    folder.mkdir()
    rows = [(user, item, 1_000 * item) for user in range(3) for item in range(len(titles))]
    schema = {"user": pl.Int32, "item": pl.Int32, "timestamp": pl.Int64}
    ids = [f"i{item}" for item in range(len(titles))]
    return write_tables(
        folder,
        name=folder.name,
        source=Source(reader="test"),
        interactions=pl.DataFrame(rows, schema=schema, orient="row"),
        items=pl.DataFrame(
            {"item": np.arange(len(titles), dtype=np.int32), "item_id": ids, "title": titles, "plot": titles}
        ),
        users=pl.DataFrame({"user": np.arange(3, dtype=np.int32), "user_id": ["u0", "u1", "u2"]}),
    )


def test_a_fitted_encoder_is_what_it_was_fitted_to(tmp_path: Path) -> None:
    one, same = catalogue(tmp_path / "one", WORDS), catalogue(tmp_path / "same", WORDS)
    other = catalogue(tmp_path / "other", [*WORDS[:-1], "river wheel"])
    makers = [maker_of(encode(data, "tfidf-svd"), "text") for data in (one, same, other)]
    assert makers[0] == makers[1]
    assert makers[0].identity != makers[2].identity
    narrow = encode(same, {"name": "tfidf-svd", "dim": 2}, name="narrow")
    assert maker_of(narrow, "narrow").identity != makers[0].identity


def test_an_append_changes_nobody(tmp_path: Path) -> None:
    """New items have no vector yet; who made the others stays known."""
    before = maker_of(encode(catalogue(tmp_path / "one", WORDS), "tfidf-svd"), "text")
    (tmp_path / "new.csv").write_text("user_id,item_id,timestamp\nu0,i99,99000\n")
    grown = append_to_dataset(tmp_path / "new.csv", tmp_path / "one", ImportConfig()).dataset
    assert grown.n_items == len(WORDS) + 1
    assert maker_of(grown, "text") == before


def test_a_given_matrix_is_what_its_source_says(tmp_path: Path) -> None:
    data, x = catalogue(tmp_path / "one", WORDS), np.eye(6)
    owners = add_features(data, "a", x, provenance={"file": "50k.npy", "encoder": "VideoMAE"})
    larger = add_features(data, "b", x, provenance={"file": "100k.npy", "encoder": "VideoMAE"})
    assert maker_of(owners, "a") == maker_of(larger, "b")
    assert "VideoMAE" in maker_of(owners, "a").words
    another = add_features(data, "c", x, provenance={"file": "50k.npy", "encoder": "CLIP"})
    assert maker_of(another, "c").identity != maker_of(owners, "a").identity
    for provenance in ("unknown", {"file": "50k.npy", "encoder": "unknown"}):
        assert maker_of(add_features(data, "d", x, provenance=provenance), "d").identity is None
    with pytest.raises(DataError, match="has no features 'e'"):
        maker_of(data, "e")


def test_weights_options_and_preprocessing_make_an_encoder_columns_and_layers_do_not(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from .hub import tiny

    options = Options(workers=0, device="cpu")
    data = catalogue(tmp_path / "one", WORDS)
    tiny.save_model("bert", tmp_path / "a")
    (tmp_path / "b").mkdir()
    for file in (tmp_path / "a").iterdir():  # the same weights somewhere else
        (tmp_path / "b" / file.name).write_bytes(file.read_bytes())

    def made(name: str, folder: str, fields: list[str] | None = None, options: Options = options, **own: object) -> str:
        target = get("sensorium.encoders", "hub-text")
        config = build(target.Config, {"id": str(tmp_path / folder), **own}, source="test")
        chosen = {"name": "hub-text", **{key: getattr(config, key) for key in ("id", *own)}}
        maker = maker_of(encode(data, chosen, fields=fields, name=name, options=options), name)
        assert maker.identity is not None
        return maker.identity

    first = made("x", "a")
    assert made("moved", "b") == first
    assert made("column", "a", ["plot"]) == first
    assert made("layers", "a", options=replace(options, layers=(1,))) == first
    assert made("tokens", "a", options=replace(options, layers=(1,), tokens=True)) == first
    assert made("pooled", "a", pooling="cls") != first
    assert made("cut", "a", max_tokens=3) != first
