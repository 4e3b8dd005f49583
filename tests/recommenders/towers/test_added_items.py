"""Items that come after training to towers over text and pictures, with both, with one of them, or with nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from sensorium.cli import main  # noqa: E402
from sensorium.core.errors import DataError  # noqa: E402
from sensorium.core.files import write_text  # noqa: E402
from sensorium.data.dataset import Dataset  # noqa: E402
from sensorium.encoders.cache.job import Options  # noqa: E402
from sensorium.encoders.encode import encode  # noqa: E402
from sensorium.experiments.loading import load_run  # noqa: E402
from sensorium.experiments.run import run  # noqa: E402
from sensorium.nn.tokens import to_tokens  # noqa: E402
from sensorium.serving.items import AddedItems, add_items, with_added_items  # noqa: E402
from sensorium.serving.recommend import recommend  # noqa: E402

from . import world  # noqa: E402

LIKE = 11
"""The item whose text and picture the new ones have."""
CASES = {"both": (True, True), "text alone": (True, False), "picture alone": (False, True), "nothing": (False, False)}


MODELS: dict[str, dict[str, Any]] = {
    "fitted features": {"tower": "features", "features": ["words", "colours"]},
    "features": {"tower": "features", "features": ["text", "image"]},
    "fusion": {"tower": "fusion", "features": ["text", "image"]},
    "states": {"tower": "states", "features": ["text", "image"]},
    "tokens": {"tower": "states", "features": ["text-tokens", "image-tokens"]},
    "end_to_end": {"tower": "end_to_end"},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """From a kind of tower over text and pictures to a run of it, briefly trained when it is first asked for."""
    folder = tmp_path_factory.mktemp("runs")
    encoders = {modality: world.component(modality, folder) for modality in ("text", "image")}
    world.write_catalogue(folder / "data")

    @cache
    def made(kind: str) -> Path:
        data, model = Dataset.open(folder / "data"), {"name": "sasrec", "dim": 8, "length": 6, **MODELS[kind]}
        options = Options(workers=0, device="cpu")
        if kind == "fitted features":
            encode(encode(data, "tfidf-svd", name="words"), "colour-histogram", name="colours")
        for modality, encoder in encoders.items() if kind not in ("fitted features", "end_to_end") else ():
            of_tokens = replace(options, layers=(1,), tokens=True) if kind == "tokens" else options
            encode(data, encoder, name=f"{modality}-tokens" if kind == "tokens" else modality, options=of_tokens)
        if kind == "end_to_end":
            trains = {"tune": "top_k", "top_k": 1, "workers": 0}
            model["encoders"] = {name: {"encoder": encoder.tree(), **trains} for name, encoder in encoders.items()}
        config = {
            "data": {"dataset": str(data.root), "split": "leave_last_out"},
            "model": {**model, "blocks": 1},
            "training": {"epochs": 1, "batch_size": 20, "optimizer": {"lr": 0.01}, "device": "cpu"},
            "evaluation": {"ks": [10], "metrics": ["ndcg"]},
            "selection": "ndcg@10",
        }
        return run(config, out=folder / kind).path

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(folder / "cache"))
        patch.setattr("sensorium.experiments.report.write_report", lambda path: write_text(path / "report.html", ""))
        yield made


def copy_of(path: Path, folder: Path) -> Path:
    """The same run in a folder of its own: items stay with a run."""
    own = folder / path.name
    own.mkdir()
    for file in path.iterdir():
        (own / file.name).symlink_to(file)
    return own


def add(path: Path, folder: Path, rows: dict[str, tuple[bool, bool]], columns: tuple[str, ...]) -> AddedItems:
    """Add items with the text and the picture of `LIKE`, or without one of them, from a file with these columns."""
    data = load_run(path).dataset
    picture = folder / "picture.png"
    picture.write_bytes((data.root / "media" / f"{LIKE}.png").read_bytes())
    title = data.titles()[LIKE]
    table = {
        "item_id": [f"{path.name} {name}" for name in rows],
        "title": [title if text else None for text, _ in rows.values()],
        "image": [picture.name if shown else None for _, shown in rows.values()],
    }
    pl.DataFrame({name: table[name] for name in ("item_id", *columns)}).write_csv(folder / "new.csv")
    return add_items(path, folder / "new.csv")


def by_hand(path: Path, text: bool, shown: bool) -> Any:
    """The vector that training would have given an item with the content of `LIKE`, masked where it lacks some."""
    loaded = load_run(path)
    model, view = loaded.model, loaded.view
    missing = {world.BARE[m] for m, there in (("text", text), ("image", shown)) if not there}
    kind, token = path.name, to_tokens(torch.tensor([LIKE]))
    with torch.no_grad():
        if kind in ("fitted features", "features", "fusion"):
            towers = list(model.tower.towers) if kind == "fusion" else [model.tower]
            rows = [tower.table[token].clone() for tower in towers]
            if kind == "fusion":
                for row, there in zip(rows, (text, shown), strict=True):
                    row *= there
            else:
                width = view.features[model.config.features[0]].x.shape[1]
                rows[0][:, :width] *= text
                rows[0][:, width:] *= shown
            parts = [tower.linear(row) for tower, row in zip(towers, rows, strict=True)]
        else:
            parts = []
            for tower, there in zip(model.tower.towers, (text, shown), strict=True):
                bare = [item for item in missing if world.BARE[tower_modality(tower)] == item]
                parts.append(tower(token if there else to_tokens(torch.tensor(bare))))
        return parts[0][0] if len(parts) == 1 else model.tower.out(model.tower.mix(torch.cat(parts, dim=-1)))[0]


def tower_modality(tower: Any) -> str:
    return str(tower.name).removesuffix("-tokens")


BOTH = ("title", "image")
SLOW = [
    ("features", ("title",)),
    ("features", BOTH),
    ("fusion", BOTH),
    ("tokens", BOTH),
    ("end_to_end", BOTH),
    ("end_to_end", ("image",)),
]


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("fitted features", BOTH), ("fitted features", ("title",)), ("fitted features", ("image",)),
        ("states", BOTH), ("end_to_end", ("title",)),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW),
    ],
)  # fmt: skip
def test_an_item_without_content_of_a_kind_is_masked_as_in_training(
    runs: Callable[[str], Path], tmp_path: Path, kind: str, columns: tuple[str, ...]
) -> None:
    """Each vector is that of its formula, also where no added item has anything of one of the encoders."""
    path = copy_of(runs(kind), tmp_path)
    here = {columns[0]: ("title" in columns, "image" in columns), "blank": (False, False)}
    rows = CASES if columns == BOTH else here
    added = add(path, tmp_path, rows, columns)
    counts = [sum(part) for part in zip(*rows.values(), strict=True)]
    assert list(added.with_content.values()) == counts
    assert any("have no content that this run reads" in notice for notice in added.notices)
    assert sum("no item has anything in" in notice for notice in added.notices) == counts.count(0)
    grown = with_added_items(load_run(path))
    with torch.no_grad():
        before, now = load_run(path).model.item_vectors(), grown.model.item_vectors()
    torch.testing.assert_close(now[: world.ITEMS], before, rtol=1e-4, atol=1e-5)
    close = {"rtol": 2e-2, "atol": 2e-2} if kind in ("features", "fusion", "states", "tokens") else {}
    for place, (text, shown) in enumerate(rows.values(), start=world.ITEMS):
        torch.testing.assert_close(now[place], by_hand(path, text, shown), **(close or {"rtol": 1e-4, "atol": 1e-4}))
    wanted = f"{kind} {next(iter(rows))}"
    assert recommend(path, history=["i08", wanted], k=1, only=[f"{kind} {list(rows)[-1]}"]).answers[0].items


def test_more_items_may_bring_what_the_first_lacked(runs: Callable[[str], Path], tmp_path: Path) -> None:
    """Texts first, pictures later, in files of other columns: one catalogue, in which nobody lost anything."""
    path = copy_of(runs("states"), tmp_path)
    first = add(path, tmp_path, {"text alone": (True, False)}, ("title",))
    assert first.with_content == {"text": 1, "image": 0}
    second = add(path, tmp_path, {"picture alone": (False, True)}, ("image",))
    assert (second.total, second.with_content) == (2, {"text": 1, "image": 1})
    with torch.no_grad():
        now = with_added_items(load_run(path)).model.item_vectors()
    torch.testing.assert_close(now[world.ITEMS], by_hand(path, True, False), rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(now[world.ITEMS + 1], by_hand(path, False, True), rtol=2e-2, atol=2e-2)


def test_a_file_without_any_column_that_is_read_is_refused(
    runs: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy_of(runs("fitted features"), tmp_path)
    (tmp_path / "new.csv").write_text("item_id,titel\nx,river\n")
    with pytest.raises(DataError, match=r"'sasrec' reads title, image of its items, and there is no such column"):
        add_items(path, tmp_path / "new.csv")
    assert not (path / "items").exists()
    (tmp_path / "new.csv").write_text("item_id,title,image\nx,river,gone.png\n")
    with pytest.raises(DataError, match=r"item 'x': there is no file gone\.png"):
        add_items(path, tmp_path / "new.csv")
    (tmp_path / "bad.png").write_bytes(b"<html>")
    title = load_run(path).dataset.titles()[LIKE]
    (tmp_path / "new.csv").write_text(f"item_id,title,image\nx,{title},bad.png\ny,{title},\n")
    assert main(["items", "add", str(path), str(tmp_path / "new.csv")]) == 0  # what cannot be decoded is counted
    said = capsys.readouterr()
    assert "2 items added; 2 in all, 2 with words, 0 with colours" in said.out
    assert "item 'x' has no usable image" in said.err


def test_pictures_none_of_which_can_be_decoded(runs: Callable[[str], Path], tmp_path: Path) -> None:
    """An encoder with weights is asked and has nothing: the same as no picture at all."""
    path = copy_of(runs("states"), tmp_path)
    title = load_run(path).dataset.titles()[LIKE]
    (tmp_path / "bad.png").write_bytes(b"<html>")
    pl.DataFrame({"item_id": ["x"], "title": [title], "image": ["bad.png"]}).write_csv(tmp_path / "new.csv")
    assert add_items(path, tmp_path / "new.csv").with_content == {"text": 1, "image": 0}
    with torch.no_grad():
        now = with_added_items(load_run(path)).model.item_vectors()
    torch.testing.assert_close(now[world.ITEMS], by_hand(path, True, False), rtol=2e-2, atol=2e-2)
