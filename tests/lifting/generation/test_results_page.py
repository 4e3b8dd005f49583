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
    assert {name for name, _ in blocks} == set(tables.TABLES)
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
