"""Towers carried to another catalogue: weights go, what is of a catalogue stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sensorium.core.config import build
from sensorium.core.errors import ConfigError, DataError
from sensorium.data.dataset import Dataset
from sensorium.encoders.cache.job import Options
from sensorium.encoders.encode import encode
from sensorium.experiments.run import run
from sensorium.experiments.transfer import transfer

from . import world

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from sensorium.recommenders.sequential.sasrec import SASRec  # noqa: E402
from sensorium.recommenders.towers.carrying import carry, portable_state  # noqa: E402
from sensorium.recommenders.towers.encoder import encoder_towers  # noqa: E402

OPTIONS = Options(workers=0, device="cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two catalogues without a common item, whose texts differ, each with vectors, states and states of tokens."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(folder / "cache"))
        world.write_catalogue(folder / "near")
        far = world.write_catalogue(folder / "far")
        items = far.items().collect()
        ids, titles = "far-" + items["item_id"], items["title"].fill_null("").reverse() + " zz"
        items.with_columns(ids.alias("item_id"), titles.alias("title")).write_parquet(far.root / "items.parquet")
        for name in ("near", "far"):
            data = encode(Dataset.open(folder / name), world.component("text", folder), options=OPTIONS)
            tokens = replace(OPTIONS, layers=(1,), tokens=True)
            encode(data, world.component("text", folder), name="tokens", options=tokens)
        yield folder


def model_of(place: Path, kind: str, **states: Any) -> dict[str, Any]:
    small = {"name": "sasrec", "dim": 8, "length": 6, "blocks": 1}
    if kind == "end_to_end":
        tuned = {"tune": "top_k", "top_k": 1, "scaling": "standardise", "workers": 0}
        encoder = {"encoder": world.component("text", place).tree(), **tuned}
        return {**small, "tower": "end_to_end", "encoders": {"text": encoder}}
    tower = "features" if kind == "features" else "states"
    return {**small, "tower": tower, "features": ["tokens" if kind == "tokens" else "text"], "states": states}


def built(place: Path, data: str, kind: str, **states: Any) -> SASRec:
    dataset = Dataset.open(place / data)
    view = world.view_of(dataset)
    view = replace(view, features={name: dataset.features(name) for name in dataset.feature_names})
    tree = {key: value for key, value in model_of(place, kind, **states).items() if key != "name"}
    return SASRec(view, build(SASRec.Config, tree, source="test"))


def changed(model: SASRec) -> SASRec:
    """A model that has learned something: every weight is another one, its mean and scale were measured before."""
    model.tower(torch.arange(1, 3))
    with torch.no_grad():
        for number, value in enumerate(value for value in model.parameters() if value.requires_grad):
            value += 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(number))
    return model


@pytest.mark.parametrize("kind", ["end_to_end", "states", "tokens"])
def test_the_target_measures_by_the_weights_that_came(place: Path, kind: str) -> None:
    """All that trains is the source's; the vectors are its formula, by hand, over the target's own training items."""
    source, target = changed(built(place, "near", kind)), built(place, "far", kind)
    (trained,), (tower,) = encoder_towers(source), encoder_towers(target)
    target.tower(torch.arange(1, 3))  # it has measured by other weights before
    before = tower.mean.clone()
    for name, part in source.components().items():
        carry(part, target.components()[name], name)
    for (name, one), (_, other) in zip(source.named_parameters(), target.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    assert not torch.equal(trained.contents, tower.contents)
    with torch.no_grad():
        found = target.eval().item_vectors()
        z, present = tower.encode(torch.arange(world.ITEMS))
        mine = z[present & torch.from_numpy(target.shown)]
        mean = mine.mean(0)
        sigma = (mine - mean).square().mean().sqrt()
        wanted = tower.linear(((z - mean) / sigma).masked_fill(~present.unsqueeze(1), 0))
        wanted = torch.nn.functional.gelu(wanted) if kind == "end_to_end" else wanted
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(tower.mean, trained.mean, atol=1e-3)
    assert torch.allclose(tower.mean, before, atol=1e-3) == (kind == "states")  # there alone no weight is below it


def test_a_part_can_be_carried_alone(place: Path) -> None:
    """The tower goes and the encoder of histories stays: every parameter of the one, none of the other."""
    source, target = changed(built(place, "near", "end_to_end")), built(place, "far", "end_to_end")
    untouched = {name: value.clone() for name, value in target.encoder.state_dict().items()}
    carry(source.components()["tower"], target.components()["tower"], "tower")
    for name, value in portable_state(source.tower).items():
        assert torch.equal(value, target.tower.state_dict()[name]), name
    for name, value in target.encoder.state_dict().items():
        assert torch.equal(value, untouched[name]), name
    assert {"mean", "sigma", "measured", "contents"}.isdisjoint(portable_state(source.tower))
    assert "weights" in portable_state(source.tower)


def test_a_tower_over_something_else_is_not_carried(place: Path) -> None:
    with pytest.raises(ConfigError, match=r"the tower reads other states .* is layers 2 of hub-text .*layers 1 of"):
        carry(
            built(place, "near", "states", layers=[1]).tower, built(place, "far", "states", layers=[2]).tower, "tower"
        )
    with pytest.raises(ConfigError, match=r"entries of the tower cannot be carried: 'linear.weight' is missing or has"):
        carry(built(place, "near", "states", layers=[1, 2]).tower, built(place, "far", "states").tower, "tower")
    other = built(place, "far", "states")
    other.tower.weights += 1
    with pytest.raises(DataError, match=r"weights of the encoder that the tower 'text' reads are not those"):
        carry(built(place, "near", "states").tower, other.tower, "tower")


@pytest.mark.parametrize("kind", ["features", "end_to_end", "states", "tokens"])
def test_a_run_is_carried_with_every_kind_of_tower(
    place: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From nothing, as it came, and trained further: three different models, none of which is refused."""
    monkeypatch.setattr("sensorium.experiments.report.write_report", lambda path: None)

    def config(data: str) -> dict[str, Any]:
        return {
            "data": {"dataset": str(place / data), "split": "leave_last_out"},
            "model": model_of(place, kind),
            "training": {"epochs": 1, "batch_size": 20, "optimizer": {"lr": 0.01}, "device": "cpu"},
            "evaluation": {"ks": [1, 10], "metrics": ["hit_rate", "ndcg"]},
            "selection": "ndcg@10",
        }

    trained = run(config("near"), out=tmp_path / "run").path
    result = transfer(trained, config("far"), out=tmp_path / "out", shares=(1.0,))
    names = [variant["name"] for variant in result["variants"]]
    assert names == ["from scratch", "zero-shot", "fine-tuned, 100% of users"]
    scratch, carried, tuned = (variant["test"]["ndcg@10"] for variant in result["variants"])
    assert len({scratch, carried, tuned}) == 3
