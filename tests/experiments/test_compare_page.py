"""The page of a comparison: one file with every table, the plots, and what the numbers rest on."""

import re
from pathlib import Path

import numpy as np
import pytest

from sensorium.experiments.compare import compare
from sensorium.experiments.compare_page import write_comparison

from .paper import write_run


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).random(80)


def test_a_page_holds_tables_plots_and_rules(tmp_path: Path, values: np.ndarray):
    paths = [
        write_run(tmp_path / "a", values, model="bpr"),
        write_run(tmp_path / "b", values, model="bpr", seed=1),
        write_run(tmp_path / "c", values / 2, model="<i>popularity"),
    ]
    html = write_comparison(compare(paths), tmp_path / "page.html").read_text()
    assert "Comparison on paper" in html
    assert "3 runs of bpr, &lt;i&gt;popularity." in html
    assert "<i>" not in html
    assert f"{values.mean():.4f}" in html
    assert f"±{0:.4f}" in html  # two seeds of equal numbers
    for heading in ("How sure are the differences?", "Learning", "Rare and popular items", "Accuracy and breadth"):
        assert f"<h2>{heading}</h2>" in html
    assert "uses other users&#39; future" in html
    assert "one permutation of the catalogue" in html
    drawn = re.findall(r'role="img" aria-label="([^"]*)"', html)
    assert len(drawn) == 5  # recall@20, learning, two kinds of buckets, coverage
    assert not re.search(r'(src|href)="(?!data:|#)', html.replace("xlink:href", "href"))


def test_tables_of_several_protocols_are_told_apart(tmp_path: Path, values: np.ndarray):
    paths = [write_run(tmp_path / "a", values), write_run(tmp_path / "b", values, mask="train+valid")]
    html = write_comparison(compare(paths), tmp_path / "page.html").read_text()
    assert "Table 1 of 2: mask train</h2>" in html
    assert "Table 2 of 2: mask train+valid</h2>" in html
    assert "numbers can&#39;t be compared" in html


def test_one_run_alone_has_a_page(tmp_path: Path, values: np.ndarray):
    html = write_comparison(compare([write_run(tmp_path / "a", values)]), tmp_path / "page.html").read_text()
    assert "How sure" not in html
    assert "1 run of bpr." in html
