"""What `inspect` says, on data that can be counted by hand, and on a made world."""

from pathlib import Path

import numpy as np
import pytest

from sensorium.data.demo import generate_demo
from sensorium.data.features import add_features
from sensorium.data.inspecting import inspect

from .made import make_dataset
from .sources import imported, write


def test_counts_that_can_be_made_by_hand(tmp_path: Path) -> None:
    log = write(
        tmp_path / "log.csv",
        "user,item,timestamp\nu1,a,1000000001\nu1,b,1000000001\nu1,a,1000000009\nu2,a,1000090000\n,b,1000090000\n"
        "u2,a,1000090000\n",
    )
    items = write(tmp_path / "items.csv", "item,title\na,A\nb,\nc,C\n")
    found = inspect(imported(log, reader={"name": "csv", "items": items}, licence="free"))
    assert (found.counts["users"], found.counts["items"], found.counts["interactions"]) == (2, 3, 4)
    assert (found.counts["duplicates"], found.licence) == (1, "free")
    assert found.density == pytest.approx(4 / 6)
    assert found.rows_per_user == {0.0: 1, 0.25: 1, 0.5: 1, 0.75: 1, 0.95: 1, 1.0: 3}
    assert found.rows_per_item[0.0] == 0
    assert found.rows_per_item[1.0] == 3
    assert found.head_share == pytest.approx(3 / 4)
    assert found.span == ("2001-09-09", "2001-09-10")
    assert found.tied_share == pytest.approx(2 / 4)
    assert found.repeated_pairs == 1
    assert found.coverage == {"title": 2}
    assert found.rejected == {"missing_id": 1}
    assert found.planted is None
    assert found.sample.select("item_id", "title", "rows").rows() == [("a", "A", 3), ("b", "b", 1), ("c", "C", 0)]


def test_each_modality_is_covered_apart(tmp_path: Path) -> None:
    """MM-1: the coverage of each modality is told."""
    data = make_dataset(tmp_path / "shop", [0] * 6, list(range(6)))
    data = add_features(data, "image", np.ones((6, 4)), np.arange(6) < 4)
    found = inspect(add_features(data, "text", np.ones((6, 3)), np.arange(6) >= 3))
    assert found.coverage == {"features image": 4, "features text": 3}
    assert (found.span, found.tied_share) == (None, None)


def test_sensitive_columns_and_the_planted_truth(tmp_path: Path) -> None:
    data = generate_demo(tmp_path / "demo", items=60, users=30, seed=1)
    found = inspect(data)
    assert set(found.sensitive) == {"group", "age_band"}
    assert all(sum(counts.values()) == 30 for counts in found.sensitive.values())
    assert found.planted is not None
    truth = data.interactions().collect()["planted"].mean()
    assert found.planted["noise share of the rows"] == pytest.approx(truth)
    assert found.sample.height == 12
