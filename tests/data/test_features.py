"""Feature matrices: what counts as content, and what is refused."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sensorium.core.errors import DataError
from sensorium.data.dataset import Dataset
from sensorium.data.features import add_features
from sensorium.data.importing import ImportConfig, import_dataset


def shop(tmp_path: Path, n_items: int) -> Dataset:
    log = tmp_path / "log.csv"
    log.write_text("user,item\n" + "".join(f"u,{item}\n" for item in range(n_items)))
    return import_dataset(log, tmp_path / "shop", ImportConfig())


def test_zero_infinite_huge_and_twin_rows(tmp_path: Path):
    """MM-3: zero and infinite rows become missing with a notice; the huge one and the twins stay what they are."""
    x = np.random.default_rng(0).normal(size=(20, 8))
    x[3] = 0
    x[5, 2] = np.inf
    x[7] *= 1e6
    x[11] = x[12]
    data = add_features(shop(tmp_path, 20), "image", x)
    found, present = Dataset.open(data.root).features("image")
    assert np.flatnonzero(~present).tolist() == [3, 5]
    assert np.isfinite(found).all()
    assert not found[[3, 5]].any()
    assert np.array_equal(found[11], found[12])
    assert [notice for notice in data.info.notices if "count as missing" in notice] == [
        "features 'image': 1 rows are not finite (first items: 5) and count as missing",
        "features 'image': 1 rows are all zero (first items: 3) and count as missing",
    ]


def test_nan_rows_are_missing_content_not_numbers(tmp_path: Path):
    x = np.ones((3, 2), dtype=np.float16)
    x[1, 0] = np.nan
    found, present = add_features(shop(tmp_path, 3), "text", x).features("text")
    assert present.tolist() == [True, False, True]
    assert found.dtype == np.float32


def test_each_modality_lacks_other_items(tmp_path: Path):
    """MM-1: six items, image for 1-4 and text for 3-6: all stay, and the coverage of each is told."""
    data = shop(tmp_path, 6)
    data = add_features(data, "image", np.ones((6, 4)), np.arange(6) < 4)
    data = add_features(data, "text", np.ones((6, 3)), np.arange(6) >= 2)
    assert data.n_items == 6
    assert {name: info.present for name, info in data.info.features.items()} == {"image": 4, "text": 4}
    assert data.features("text").present.tolist() == [False, False, True, True, True, True]


def test_provenance_is_kept_or_unknown(tmp_path: Path):
    """MM-6: where a matrix comes from stands in dataset.json, and a swapped matrix changes the fingerprint."""
    data = shop(tmp_path, 4)
    first = add_features(data, "text", np.eye(4), provenance={"encoder": "A"})
    before = first.fingerprint()
    second = add_features(first, "text", np.eye(4)[::-1], provenance={"encoder": "B"})
    assert first.info.features["text"].provenance == {"encoder": "A"}
    assert second.info.features["text"].provenance == {"encoder": "B"}
    assert second.fingerprint() != before
    assert add_features(data, "raw", np.eye(4)).info.features["raw"].provenance == "unknown"


@pytest.mark.parametrize(
    ("x", "present", "message"),
    [
        (np.ones((5, 2)), None, "have 5 rows and the data set has 4 items"),
        (np.ones(4), None, "a matrix of numbers"),
        (np.array([["a"]] * 4), None, "a matrix of numbers"),
        (np.ones((4, 2)), np.ones(4), r"the mask of features 'x' is float64"),
        (np.ones((4, 2)), np.ones(3, dtype=bool), "the mask of features 'x'"),
    ],
)
def test_matrices_that_do_not_fit(tmp_path: Path, x: np.ndarray, present: np.ndarray | None, message: str):
    with pytest.raises(DataError, match=message):
        add_features(shop(tmp_path, 4), "x", x, present)


def test_unknown_features_name_the_nearest_and_the_command(tmp_path: Path):
    data = add_features(shop(tmp_path, 4), "image", np.eye(4))
    with pytest.raises(DataError, match=r"no features 'imag'; did you mean 'image'\? .* sensorium encode shop"):
        data.features("imag")


def test_damaged_feature_files_are_named(tmp_path: Path):
    data = add_features(shop(tmp_path, 4), "image", np.eye(4))
    path = data.root / data.info.features["image"].folder / "pooled.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"pooled\.npy cannot be read"):
        data.features("image")


def test_titles_fall_back_to_ids(tmp_path: Path):
    log = tmp_path / "log.csv"
    log.write_text("user,item\nu,a\nu,b\n")
    assert import_dataset(log, tmp_path / "plain", ImportConfig()).titles().to_list() == ["a", "b"]
    (tmp_path / "items.csv").write_text("item,title\na,First\nb,\n")
    options = ImportConfig.model_validate({"reader": {"name": "csv", "items": str(tmp_path / "items.csv")}})
    assert import_dataset(log, tmp_path / "titled", options).titles().to_list() == ["First", "b"]


def test_a_later_format_is_told(tmp_path: Path):
    data = shop(tmp_path, 2)
    description = data.root / "dataset.json"
    description.write_text(description.read_text().replace('"format_version": 1', '"format_version": 9'))
    with pytest.raises(DataError, match="format 9, this release reads up to 1"):
        Dataset.open(data.root)


def test_interactions_are_lazy(tmp_path: Path):
    assert isinstance(shop(tmp_path, 2).interactions(), pl.LazyFrame)
