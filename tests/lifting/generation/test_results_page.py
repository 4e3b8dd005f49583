"""The tables of the lifting results are made from their rows."""

import importlib.util
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_every_table_is_that_of_its_rows() -> None:
    spec = importlib.util.spec_from_file_location("lifting_tables", ROOT / "benchmarks" / "lifting_tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    results = ROOT / "docs" / "results"
    lines = (results / "rows" / "contrastive-gaussian-lifting.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    page = (results / "contrastive-gaussian.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- lifting: ([\w-]+) -->\n(.*?)<!-- end of lifting -->", page, flags=re.DOTALL)
    assert {name for name, _ in blocks} == set(tables.TABLES)
    for name, shown in blocks:
        assert shown == tables.TABLES[name](rows) + "\n", name
