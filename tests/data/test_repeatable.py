"""Two imports of one source give the same bytes, whatever the format."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .official_files import amazon_2014, amazon_2023, make_fake_microlens, movielens_1m, movielens_100k, movielens_csv
from .sources import imported
from .test_folders import mmrec, recbole, yelp

SOURCES: list[tuple[Any, Callable[[Path], Path]]] = [
    ("movielens", movielens_100k),
    ("movielens", movielens_1m),
    ("movielens", movielens_csv),
    ("amazon", amazon_2014),
    ("amazon", amazon_2023),
    ("microlens", make_fake_microlens),
    ("microlens-clicks", lambda root: make_fake_microlens(root) / "MicroLens_1M_x1"),
    ("yelp", yelp),
    ("recbole", recbole),
    ("mmrec", mmrec),
]


@pytest.mark.parametrize(("reader", "make"), SOURCES, ids=[f"{place}-{row[0]}" for place, row in enumerate(SOURCES)])
def test_two_imports_are_byte_identical(tmp_path: Path, reader: str, make: Callable[[Path], Path]):
    source = make(tmp_path / "source")
    found = []
    for name in ("one", "two"):
        data = imported(source, reader=reader, out=f"{name}/set")
        files = {path.relative_to(data.root): path.read_bytes() for path in data.root.rglob("*") if path.is_file()}
        found.append(files)
        assert str(tmp_path) not in (data.root / "dataset.json").read_text()
    assert found[0].keys() == found[1].keys()
    assert [file for file in found[0] if found[0][file] != found[1][file]] == []
