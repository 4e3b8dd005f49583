"""Runs with an encoder inside: trained, killed and resumed to the same bits, opened again, asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.core.files import read_safetensors, write_text
from sensorium.data.dataset import Dataset
from sensorium.encoders.cache.job import Options
from sensorium.encoders.encode import encode
from sensorium.experiments.run import load_run, run
from sensorium.serving.items import add_items, with_added_items
from sensorium.serving.recommend import recommend

from ...experiments.test_resume import Server, outcome
from . import world

pytest.importorskip("transformers")

PROGRAM = Path(__file__).parent / "killable.py"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with subprocess.Popen(
        [sys.executable, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Server(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a catalogue and the files of small encoders."""
    folder = tmp_path_factory.mktemp("place")
    world.write_catalogue(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(folder / "cache"))
        yield folder


def run_config(place: Path, model: dict[str, Any], **training: Any) -> dict[str, Any]:
    trains = any(encoder.get("tune", "frozen") != "frozen" for encoder in model.get("encoders", {}).values())
    own = {"phases": {"main": {"groups": {"encoder": {"lr": 1e-3, "weight_decay": 0.0}}}}} if trains else {}
    return {
        "data": {"dataset": str(place / "data"), "split": "leave_last_out"},
        "model": {"name": "sasrec", "dim": 16, "length": 6, "blocks": 1, **model},
        "training": {
            "epochs": 3, "batch_size": 20, "optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
            "device": "cpu", **own, **training,
        },
        "evaluation": {"ks": [1, 10], "metrics": ["hit_rate", "ndcg"]},
        "selection": "hit_rate@10",
    }  # fmt: skip


def inside(place: Path, modality: str = "text", **options: Any) -> dict[str, Any]:
    encoder = {"encoder": world.component(modality, place).tree(), "workers": 0, **options}
    return {"tower": "end_to_end", "encoders": {modality: encoder}}


@pytest.mark.parametrize(("tune", "sync"), [("top_k", 12), pytest.param("lora", 20, marks=pytest.mark.slow)])
def test_killed_and_resumed_to_the_same_bits(
    server: Server,
    place: Path,
    tmp_path: Path,
    tune: str,
    sync: int,
) -> None:
    """What trains of the encoder, the mean and scale of its vectors, and both optimiser groups come back."""
    config = run_config(place, inside(place, tune=tune, top_k=1, scaling="standardise"))
    assert server.do("run", tmp_path / "whole", config) == "done"
    assert server.do("run", tmp_path / "broken", config, sync) == "killed"
    assert not (tmp_path / "broken" / "result.json").exists()
    assert (tmp_path / "broken" / "metrics.jsonl").exists()
    assert server.do("resume", tmp_path / "broken", config) == "done"
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")
    kept = read_safetensors(tmp_path / "whole" / "weights" / "best.safetensors")
    inside_state = [name for name in kept if name.startswith("tower.body.")]
    assert inside_state
    assert all(("lora_" in name) if tune == "lora" else ("layer.2." in name) for name in inside_state)


@pytest.fixture
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensorium.experiments.report.write_report", lambda path: write_text(path / "report.html", ""))


@pytest.mark.usefixtures("no_pages")
@pytest.mark.parametrize("modality", ["image", "video"])
def test_a_run_answers_after_it_is_opened_again(place: Path, tmp_path: Path, modality: str) -> None:
    done = run(run_config(place, inside(place, modality, tune="top_k", top_k=1), epochs=1), out=tmp_path / "run")
    assert done.result["data"]["features"] == {}
    loaded = load_run(tmp_path / "run")
    lists = pl.read_parquet(tmp_path / "run" / "lists.parquet").filter(pl.col("user_id") == "u7", pl.col("rank") <= 5)
    assert lists.height == 5
    again = recommend(loaded, user="u7", k=5, as_evaluated=True).answers[0]
    assert [item.item_id for item in again.items] == lists.sort("rank")["item_id"].to_list()
    assert len(recommend(loaded, history=["i03", "i04"], k=3).answers[0].items) == 3


@pytest.mark.usefixtures("no_pages")
@pytest.mark.parametrize("modality", ["text", "image"])
def test_an_item_that_came_later_is_encoded_by_the_trained_encoder(place: Path, tmp_path: Path, modality: str) -> None:
    """Its vector is that of the item whose content it has; those of other items stay."""
    run(run_config(place, inside(place, modality, tune="top_k", top_k=1), epochs=1), out=tmp_path / "run")
    data, like = Dataset.open(place / "data"), 11
    (tmp_path / "new.png").write_bytes((data.root / "media" / f"{like}.png").read_bytes())
    (tmp_path / "broken.png").write_bytes(b"<html>no picture</html>")
    given = {"text": [data.titles()[like], ""], "image": ["new.png", "broken.png"]}[modality]
    column = {"text": "title", "image": "image"}[modality]
    pl.DataFrame({"item_id": ["new", "nothing"], column: given}).write_csv(tmp_path / "new.csv")
    added = add_items(tmp_path / "run", tmp_path / "new.csv")
    assert (added.added, added.with_content) == (2, {modality: 1})
    grown = with_added_items(load_run(tmp_path / "run"))
    with torch.no_grad():
        before, now = load_run(tmp_path / "run").model.item_vectors(), grown.model.item_vectors()
    torch.testing.assert_close(now[: world.ITEMS], before, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(now[world.ITEMS], before[like], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(now[world.ITEMS + 1], before[world.BARE[modality]], rtol=1e-5, atol=1e-6)
    answer = recommend(tmp_path / "run", history=["i08", "i09"], k=2, only=[f"i{like:02}", "new"]).answers[0]
    assert {item.item_id for item in answer.items} == {f"i{like:02}", "new"}
    assert recommend(tmp_path / "run", history=["new"], k=3).answers[0].items


@pytest.mark.usefixtures("no_pages")
def test_content_that_changed_is_not_answered_with(place: Path, tmp_path: Path) -> None:
    data = world.write_catalogue(tmp_path / "data")
    config = run_config(tmp_path, inside(place, "image"), epochs=1)
    run(config, out=tmp_path / "run")
    (data.root / "media" / "5.png").write_bytes((data.root / "media" / "6.png").read_bytes())
    with pytest.raises(DataError, match="content of the items that the tower 'image' reads are not those"):
        load_run(tmp_path / "run")


@pytest.mark.usefixtures("no_pages")
def test_a_run_on_stored_states_pins_them(place: Path, tmp_path: Path) -> None:
    data = encode(
        world.write_catalogue(tmp_path / "data"),
        world.component("text", place),
        options=Options(workers=0, device="cpu"),
    )
    model = {"tower": "id+states", "features": ["text"], "states": {"layers": [1, 3]}}
    done = run(run_config(tmp_path, model, epochs=1), out=tmp_path / "run")
    info = Dataset.open(data.root).info.features["text"]
    assert done.result["data"]["features"]["text"]["digest"] == info.digest
    assert recommend(load_run(tmp_path / "run"), user="u7", k=5).answers[0].items


@pytest.mark.usefixtures("no_pages")
@pytest.mark.parametrize(("tower", "tokens"), [("states", False), ("id+states", False), ("states", True)])
def test_states_of_an_item_that_came_later_are_stored_and_read(
    place: Path, tmp_path: Path, tower: str, tokens: bool
) -> None:
    """Its vector is that of the item whose content it has, but for an id; nothing is stored of one without content."""
    layers = (1,) if tokens else (1, 3)
    data = encode(
        world.write_catalogue(tmp_path / "data"),
        world.component("text", place),
        options=Options(workers=0, device="cpu", layers=layers, tokens=tokens),
    )
    model = {"tower": tower, "features": ["text"], "states": {"layers": list(layers)}}
    run(run_config(tmp_path, model, epochs=1), out=tmp_path / "run")
    with torch.no_grad():
        own = load_run(tmp_path / "run").model
        before, content = own.item_vectors(), (own.tower.content if tower == "id+states" else own.tower)
        wanted = content(torch.arange(1, world.ITEMS + 1))
    like, first, second = 11, tmp_path / "first.csv", tmp_path / "second.csv"
    pl.DataFrame({"item_id": ["nothing", "other"], "title": ["", data.titles()[5]]}).write_csv(first)
    pl.DataFrame({"item_id": ["new", "i03"], "title": [data.titles()[like], "known"]}).write_csv(second)
    assert add_items(tmp_path / "run", first).with_content == {"text": 1}
    held = with_added_items(load_run(tmp_path / "run"))  # somebody who reads the states meanwhile is not in the way
    added = add_items(tmp_path / "run", second)
    assert (added.added, added.known, added.total, added.with_content) == (1, 1, 3, {"text": 2})
    grown = with_added_items(load_run(tmp_path / "run"))
    with torch.no_grad():
        now = grown.model.item_vectors()
        assert torch.allclose(held.model.item_vectors(), now[: world.ITEMS + 2], atol=1e-3)
    close = {"rtol": 1e-2, "atol": 2e-2}  # each cache has scales of its own for numbers of half precision
    torch.testing.assert_close(now[: world.ITEMS], before, rtol=1e-4, atol=1e-5)
    for place_of, whose in enumerate((world.BARE["text"], 5, like), start=world.ITEMS):
        torch.testing.assert_close(now[place_of], wanted[whose], **close)
    assert not torch.allclose(wanted[5], wanted[like], **close)
    answer = recommend(tmp_path / "run", history=["i08", "i09"], k=2, only=[f"i{like:02}", "new"]).answers[0]
    assert {item.item_id for item in answer.items} == {f"i{like:02}", "new"}
    assert recommend(tmp_path / "run", history=["new"], k=3).answers[0].items
