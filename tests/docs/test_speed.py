"""The tables of speed are those of their rows."""

import runpy
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "peers"


def test_the_page_of_speed_is_made_from_its_rows() -> None:
    tables = runpy.run_path(str(BENCHMARK / "tables.py"))
    page = tables["PAGE"].read_text(encoding="utf-8")
    assert tables["filled"](page) == page, "run: python benchmarks/peers --table"
    assert page.count("| 1M |") >= 3
