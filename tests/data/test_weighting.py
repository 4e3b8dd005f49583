"""Weights of rows: from a table of their own into the data set, and into batches."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.data.batches import PairBatches, Step
from sensorium.data.importing import ImportConfig, import_dataset
from sensorium.data.weighting import with_weights
from sensorium.data.weights import WeightedBatches
from sensorium.testing import tiny_view

ROWS = pl.DataFrame({"user": [0, 0, 1], "item": [0, 1, 1]})
IDS = {"user": pl.Series(["a", "b"]), "item": pl.Series(["x", "y"])}


def written(path: Path, **columns: list[object]) -> Path:
    pl.DataFrame(columns).write_parquet(path)
    return path


def test_rows_get_their_weights_by_external_ids_and_one_where_there_is_none(tmp_path: Path) -> None:
    file = written(tmp_path / "w.parquet", user_id=["b", "a", "z"], item_id=["y", "y", "x"], weight=[0.25, 0.5, 9.0])
    rows, notice = with_weights(ROWS, IDS, file)
    assert rows["weight"].to_list() == [1.0, 0.5, 0.25]
    assert rows["weight"].dtype == pl.Float32
    assert notice == "weights: 2 of 3 rows have one in w.parquet, the others count as 1"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user_id": ["a"], "item_id": ["x"]}, "no column weight"),
        ({"user_id": ["a"], "item_id": ["x"], "weight": [-1.0]}, "user 'a' has weight -1.0"),
        ({"user_id": ["a"], "item_id": ["x"], "weight": [float("nan")]}, "user 'a' has weight"),
        ({"user_id": ["a", "a"], "item_id": ["x", "x"], "weight": [1.0, 2.0]}, "stands twice"),
        ({"user_id": ["q"], "item_id": ["x"], "weight": [1.0]}, "none of its pairs"),
    ],
)
def test_tables_that_are_no_weights_are_refused(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        with_weights(ROWS, IDS, written(tmp_path / "w.parquet", **columns))


def test_a_column_of_that_name_in_a_log_is_no_weight(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user_id,item_id,weight\na,x,80\na,y,75\nb,x,60\n")
    dataset = import_dataset(tmp_path / "log.csv", tmp_path / "set", ImportConfig())
    assert dataset.interactions().collect_schema().names() == ["user", "item", "weight_raw"]


def test_batches_carry_weights_with_mean_one() -> None:
    view = tiny_view()
    weight = np.random.default_rng(0).random(len(view.user)).astype(np.float32)
    batches = WeightedBatches(PairBatches(view, 64), weight)
    found = [batches.batch(Step(0, "main", 0, index)) for index in range(len(batches))]
    total = 0.0
    for batch in found:
        assert batch.weight is not None
        torch.testing.assert_close(batch.weight, torch.from_numpy(weight[batch.row] / weight.mean()))
        total += float(batch.weight.sum())
    assert total / len(view.user) == pytest.approx(1, abs=1e-5)
