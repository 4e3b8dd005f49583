"""The tables of the splatting results are made from their rows."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_table_is_that_of_its_rows() -> None:
    spec = importlib.util.spec_from_file_location("splatting", ROOT / "benchmarks" / "splatting.py")
    assert spec is not None
    assert spec.loader is not None
    splatting = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(splatting)
    page = splatting.PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- splatting: ") == 3
    assert splatting.filled(page, splatting.read(splatting.ROWS)) == page
