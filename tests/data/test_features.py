"""Feature matrices: what counts as content, and what is refused."""

import errno
from pathlib import Path

import numpy as np
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


def test_nothing_that_another_process_entered_is_lost(tmp_path: Path):
    """Two sets are added from the same open data set: both are there."""
    data = shop(tmp_path, 4)
    add_features(data, "image", np.eye(4))
    assert add_features(data, "text", np.eye(4)).feature_names == ["image", "text"]


def test_a_mended_matrix_takes_its_notice_along(tmp_path: Path):
    x = np.eye(4)
    data = add_features(shop(tmp_path, 4), "image", x * (np.arange(4) > 0))
    data = add_features(data, "text", np.zeros((4, 2)))
    assert len(data.info.notices) == 2
    data = add_features(data, "image", x)
    assert [notice.partition(":")[0] for notice in data.info.notices] == ["features 'text'"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "a b"])
def test_names_that_would_lead_elsewhere_are_refused(tmp_path: Path, name: str):
    with pytest.raises(DataError, match="is no name of features"):
        add_features(shop(tmp_path, 4), name, np.eye(4))


def test_a_full_disk_leaves_the_data_set_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = shop(tmp_path, 4)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match="the disk is full"):
        add_features(data, "image", np.eye(4))
    assert Dataset.open(data.root).feature_names == []
    assert list((data.root / "features").iterdir()) == []
