"""Hub encoders through the whole of `encode`: cache, states, boundary cache; nothing loaded where nothing changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sensorium.core.config import Component
from sensorium.data.dataset import Dataset
from sensorium.data.schema import Source
from sensorium.data.store import write_tables
from sensorium.encoders.cache.job import Options
from sensorium.encoders.cache.states import open_states
from sensorium.encoders.encode import encode
from sensorium.encoders.hub.text import HubText
from sensorium.encoders.hub.vision import HubImage
from sensorium.encoders.tuning.boundary import Boundary
from sensorium.encoders.tuning.tower import Tower

from . import tiny

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

GROUP = "sensorium.encoders"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Twelve items with titles and covers; one has no title."""
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "shop"
    (root / "covers").mkdir(parents=True)
    paths = tiny.files(root / "covers", tiny.pictures(12))
    titles = [None if place == 3 else text for place, text in enumerate(tiny.texts(12))]
    ids = np.arange(12, dtype=np.int32)
    return write_tables(
        root,
        name="shop",
        source=Source(reader="test"),
        interactions=pl.DataFrame({"user": np.zeros(12, dtype=np.int32), "item": ids}),
        users=pl.DataFrame({"user": np.zeros(1, dtype=np.int32), "user_id": ["u"]}),
        items=pl.DataFrame(
            {
                "item": ids,
                "item_id": [f"i{place}" for place in ids],
                "title": pl.Series(titles, dtype=pl.String),
                "image": [str(path.relative_to(root)) for path in paths],
            }
        ),
    )


def test_texts_and_pictures_through_encode(shop: Dataset, tmp_path: Path) -> None:
    bert, vit = tiny.save_model("bert", tmp_path / "bert"), tiny.save_model("vit", tmp_path / "vit")
    text, image = HubText.Config(id=str(bert)), HubImage.Config(id=str(vit))
    shop = encode(shop, Component(GROUP, "hub-text", text), options=Options(workers=0))
    shop = encode(shop, Component(GROUP, "hub-image", image), options=Options(workers=1))
    for name, cls, config in (("text", HubText, text), ("image", HubImage, image)):
        states = open_states(name, dataset=shop)
        found, present = states.take(torch.arange(1, 13))
        encoder = cls(config)
        encoder.load()
        assert present.sum() == (11 if name == "text" else 12)
        raw = tiny.texts(12)[5] if name == "text" else tiny.pictures(12)[5]
        expected, vector = encoder.forward(encoder.collate([encoder.preparer(raw)]))
        assert torch.allclose(torch.as_tensor(found[5]), expected[0], atol=5e-3 * float(expected.abs().max()))
        x, has = shop.features(name)
        assert has[5]
        assert np.allclose(np.asarray(x[5]), vector[0].numpy(), atol=5e-3 * float(vector.abs().max()))


def test_up_to_date_without_transformers(shop: Dataset, tmp_path: Path) -> None:
    """A second call finds everything in place before a model, or the library that would build it, is loaded."""
    bert = tiny.save_model("bert", tmp_path / "bert")
    config = HubText.Config(id=str(bert))
    encode(shop, Component(GROUP, "hub-text", config), options=Options(workers=0))
    code = f"""
import sys
from sensorium.core.config import Component
from sensorium.data.dataset import Dataset
from sensorium.encoders.encode import encode
from sensorium.encoders.cache.job import Options
from sensorium.encoders.hub.text import HubText
config = HubText.Config(id={str(bert)!r})
chosen = Component("sensorium.encoders", "hub-text", config)
encode(Dataset.open({str(shop.root)!r}), chosen, options=Options(workers=0))
assert "transformers" not in sys.modules, "transformers was imported"
"""
    environment = {**os.environ, "SENSORIUM_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)


@pytest.mark.parametrize("name", ["bert", "vit"])
def test_training_starts_from_the_stored_boundary(name: str, shop: Dataset, tmp_path: Path) -> None:
    """`encode` stores the tokens below the blocks that train; a tower reads them back, to the rounding of fp16."""
    folder = tiny.save_model(name, tmp_path / name)
    cls = HubText if name == "bert" else HubImage
    config = cls.Config(id=str(folder))
    tower = Tower(cls(config), "top_k", dim=4, top_k=2)
    tower.eval()
    boundary = Boundary(tower)
    options = Options(workers=0, layers=(boundary.layer,), tokens=True)
    shop = encode(shop, Component(GROUP, f"hub-{cls.modality}", config), options=options, name="below")
    states = open_states("below", dataset=shop)
    rows = [0, 5, 7]
    tokens = torch.tensor(rows) + 1
    stored, mask = states.take(tokens)[0], states.token_mask(tokens)
    contents = tiny.texts(12) if name == "bert" else tiny.pictures(12)
    direct = tower.vectors([tower.encoder.preparer(contents[row]) for row in rows])
    found = boundary.vectors(stored, mask)
    assert torch.allclose(found, direct, atol=1e-2 * float(direct.detach().abs().max()))
    found.sum().backward()
    moved = [value for value in tower.body.parameters() if value.grad is not None and value.grad.any()]
    assert moved
