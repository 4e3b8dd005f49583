"""The tables of the lifting results are made from their rows, and weights of the prior are not mixed."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sensorium.lifting.guidance.view_prior import ViewPriorGuidance

ROOT = Path(__file__).resolve().parents[3]


def loaded(name: str, patched: pytest.MonkeyPatch) -> ModuleType:
    """A program of benchmarks/; dataclasses look their module up while it is read."""
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    patched.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return loaded("lifting_tables", monkeypatch)


def test_every_table_is_that_of_its_rows(tables: ModuleType) -> None:
    results = ROOT / "docs" / "results"
    lines = (results / "rows" / "contrastive-gaussian-lifting.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    page = (results / "contrastive-gaussian.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- lifting: ([\w-]+) -->\n(.*?)<!-- end of lifting -->", page, flags=re.DOTALL)
    names = {name for name, _ in blocks}
    assert names <= set(tables.TABLES)
    assert {name for name, table in tables.TABLES.items() if table(rows) != "not run here"} <= names
    for name, shown in blocks:
        assert shown == tables.TABLES[name](rows) + "\n", name


def row(arm: str, psnr: float, weights: str | None = None) -> dict[str, Any]:
    novel, reference = {"psnr": psnr, "lpips": 0.3, "iou": 0.7}, {"psnr": 24.0}
    told = {} if weights is None else {"weights": weights}
    return {"suite": "small", "arm": arm, "thing": "1", "seed": 0, "mesh": {"novel": novel, "reference": reference},
            **told}  # fmt: skip


def test_a_table_is_of_one_set_of_weights(tables: ModuleType) -> None:
    """The shipped ones where they have a row, else the last; rows without the prior stay."""
    shipped = ViewPriorGuidance().identity()[:12]
    assert next(iter(tables.known_weights())) == shipped
    alone, older, newer, mine = (
        row("no guidance", 11.0),
        row("base", 12.0, "a" * 12),
        row("base", 13.0, "b" * 12),
        row("base", 14.0, shipped),
    )
    table = tables.TABLES["small"]([alone, older, newer])
    assert "| base | 1 | 13.00 |" in table
    assert "| no guidance | 1 | 11.00" in table
    assert "12.00" not in table
    assert table.endswith("weights of identity `bbbbbbbbbbbb` here, not the shipped ones.")
    table = tables.TABLES["small"]([alone, mine, older, newer])
    assert "| base | 1 | 14.00 |" in table
    sha256 = ViewPriorGuidance().prior.card["sha256"]
    assert table.endswith(f"weights `{sha256[:12]}` here, the shipped ones.")
    assert "weights" not in tables.TABLES["small"]([alone])


def test_super_resolution_is_ablated_on_the_same_objects(tables: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arms of small photos differ in who enlarges them alone; their table sets them beside the network's."""
    pytest.importorskip("numba")
    pytest.importorskip("xatlas")
    lifting = loaded("lifting", monkeypatch)
    cells = list(lifting.ablation())
    arms = {arm: [cell for cell in cells if cell.arm == arm] for arm in dict.fromkeys(cell.arm for cell in cells)}
    assert {arm: found[0].enlarger for arm, found in arms.items()} == {
        "no super-resolution": "none", "lanczos": "lanczos", "super-resolution": "ncnn"
    }  # fmt: skip
    small = {cell.thing for cell in lifting.prior() if cell.arm == "no split"}
    assert all({cell.thing for cell in found} == small for found in arms.values())
    assert {(cell.photo_side, cell.config.preset, cell.config.contrastive.weight) for cell in cells} == {
        (32, "test", lifting.UNIT)
    }
    assert len({cell.key() for cell in cells}) == len(cells) == 30
    rows = [{**row(cell.arm, 12.0 + (cell.arm == "lanczos") + 2 * (cell.enlarger == "ncnn")), "suite": "superres",
             "thing": cell.thing} for cell in cells]  # fmt: skip
    for one in rows:
        one["mesh"]["reference"]["lpips"] = 0.1
    table = tables.TABLES["superres"](rows)
    assert "| lanczos | 10 | 13.00 (-1.00: -1.00 to -1.00)" in table
    assert "| no super-resolution | 10 | 12.00 (-2.00: -2.00 to -2.00)" in table
    assert "| super-resolution | 10 | 14.00 |" in table
    assert tables.TABLES["superres"]([]) == "not run here"


def test_a_small_photo_is_enlarged_or_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the arms lift: an object of 26 pixels, brought to at least 64 or left as it is, in frames of one size."""
    pytest.importorskip("numba")
    pytest.importorskip("xatlas")
    lifting = loaded("lifting", monkeypatch)
    small = lifting.truth(
        str(lifting.FIRST_SEED), lifting.Pose(lifting.made(str(lifting.FIRST_SEED)).elevation, 0.0), 32
    )
    frames = {}
    for enlarger in ("none", "lanczos"):
        framed, by = lifting._enlarged(small, 64, enlarger)
        assert by == enlarger
        frames[enlarger] = framed(128)
        assert frames[enlarger].shape == (4, 128, 128)
    assert not frames["none"].equal(frames["lanczos"])


def test_similarity_changes_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is measured of what was lifted: cells that were finished without it are not run again."""
    pytest.importorskip("numba")
    pytest.importorskip("xatlas")
    lifting = loaded("lifting", monkeypatch)
    cell = lifting.Cell("small", "base", "1", 0, {"preset": "test"}, "none")
    other = lifting.Cell("small", "base", "1", 0, {"preset": "test", "similarity": {"dino": "auto"}}, "none")
    assert cell.key() == other.key()
    changed = lifting.Cell("small", "base", "1", 0, {"preset": "test", "seed": 3}, "none")
    assert cell.key() != changed.key()


def test_other_weights_make_other_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of other weights does not count as done; without the prior weights do not matter."""
    pytest.importorskip("numba")
    pytest.importorskip("xatlas")
    lifting = loaded("lifting", monkeypatch)
    guided, alone = (lifting.Cell("small", "base", "1", 0, {"preset": "test"}, who) for who in ("view-prior", "none"))
    rows = [dict(zip(lifting.NAMES, cell.key(), strict=True)) for cell in (guided, alone)]
    del rows[1]["weights"]  # as it is written
    assert {guided.key(), alone.key()} == lifting.finished(rows)

    class Other:
        def identity(self) -> str:
            return "0" * 32

    monkeypatch.setattr(lifting, "shipped", Other)
    assert guided.key() not in lifting.finished(rows)
    assert alone.key() in lifting.finished(rows)
