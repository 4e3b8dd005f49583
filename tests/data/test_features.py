"""Feature matrices: what counts as content, and what is refused."""

import errno
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.data.dataset import Dataset
from sensorium.data.features import add_features, check_features
from sensorium.data.importing import ImportConfig, import_dataset
from sensorium.data.inspecting import inspect
from sensorium.nn.item_graphs import item_neighbours


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
    assert data.info.notices == [
        "features 'image': 1 rows are not finite (first items: 5) and count as missing",
        "features 'image': 1 rows are all zero (first items: 3) and count as missing",
        "features 'image': 1 rows are more than 1,000 times as long as the median row (first items: 7): "
        "standardised values follow them",
    ]
    near = item_neighbours(found, present, 4, center=None, order=np.arange(20))  # each item itself and three others
    assert np.isfinite(near.cosine).all()
    assert near.item[11, 1] == 12
    assert near.item[12, 1] == 11
    assert (near.item == 7).any(axis=1).sum() < 10


@given(st.lists(st.sampled_from([1.0, 2.0, 500.0, 5_000.0]), min_size=1, max_size=12))
def test_a_row_is_huge_beside_the_median_row(lengths: list[float]):
    x = np.array(lengths)[:, None] * np.array([[0.6, -0.8]])
    notices = check_features("x", x, None, len(x))[2]
    told = [item for item, length in enumerate(lengths) if length > 1_000 * np.median(lengths)]
    assert len(notices) == bool(told)
    assert not told or f"{len(told)} rows are more than 1,000 times" in notices[0]


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


def test_three_sets_of_other_widths_stand_side_by_side(tmp_path: Path):
    """MM-4: text, image and audio, each missing for other items: one entry each, and the coverage of each."""
    data = shop(tmp_path, 12)
    item = np.arange(12)
    for place, (name, width) in enumerate({"text": 384, "image": 512, "audio": 128}.items()):
        data = add_features(data, name, np.full((12, width), place + 1.0), item % 4 != place)
    assert {name: info.dim for name, info in data.info.features.items()} == {"text": 384, "image": 512, "audio": 128}
    assert inspect(data).coverage == {"features text": 9, "features image": 9, "features audio": 9}
    for place, name in enumerate(("text", "image", "audio")):
        x, present = data.features(name)
        assert np.flatnonzero(~present).tolist() == [place, place + 4, place + 8]
        assert (x[present] == place + 1).all()


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


def test_runs_with_swapped_matrices_are_told_apart(tmp_path: Path):
    """MM-6: the same name and width, of encoder A and of encoder B: the run's table and the comparison say which."""
    from sensorium.experiments.compare import compare
    from sensorium.experiments.run import run

    draw = np.random.default_rng(0)
    log = tmp_path / "log.csv"
    log.write_text(
        "user,item\n" + "".join(f"u{user},{item}\n" for user in range(8) for item in draw.permutation(9)[:6])
    )
    data = import_dataset(log, tmp_path / "shop", ImportConfig())
    tree = {
        "data": {"dataset": str(data.root)}, "model": {"name": "contentknn"}, "selection": "recall@5",
        "evaluation": {"ks": [5], "metrics": ["recall"]},
    }  # fmt: skip
    paths = []
    for encoder in ("encoder-A", "encoder-B"):
        add_features(data, "text", draw.normal(size=(9, 4)), provenance={"encoder": encoder})
        paths.append(run(tree, out=tmp_path / encoder).path)
        assert encoder in (paths[-1] / "report.html").read_text()
    (table,) = compare(paths).tables
    (mark,) = [note for note in table.notes if "feature 'text' is not the same" in note]
    assert "encoder-A" in mark
    assert "encoder-B" in mark


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
