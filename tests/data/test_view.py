from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.data.dataset import Dataset
from sensorium.data.features import add_features
from sensorium.data.splits import TEST, TRAIN, VALID, make_split
from sensorium.data.view import TrainView, permuted_features, train_view

from .made import make_dataset, random_pairs


def with_features(folder: Path) -> Dataset:
    user, item = random_pairs(6, 8, 30)
    gender = {"gender": ["f", "m", None, "f", "m", "m"]}
    split = [0] * 18 + [1, 2] * 6
    dataset = make_dataset(
        folder, user, item, n_users=6, n_items=8, sensitive=["gender"], attributes=gender,
        timestamp=list(range(30)), split=split,
    )  # fmt: skip
    vectors = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    dataset = add_features(dataset, "text", vectors, np.arange(8) != 2)
    return add_features(dataset, "image", vectors[:, :2])


def test_view_holds_the_train_rows_by_user_and_item(tmp_path: Path) -> None:
    dataset = with_features(tmp_path / "d")
    split = make_split(dataset, "column", seed=0)
    view = train_view(dataset, split, seed=7)
    train = split.part(TRAIN)
    assert (view.n_users, view.n_items, view.seed) == (6, 8, 7)
    expected = sorted(zip(train.user.tolist(), train.item.tolist(), train.row.tolist(), strict=True))
    assert view.timestamp is not None  # the row number, here
    assert list(zip(view.user.tolist(), view.item.tolist(), view.timestamp.tolist(), strict=True)) == expected
    assert view.user.dtype == view.item.dtype == view.timestamp.dtype == np.int64


def test_matrix_and_counts_are_those_of_the_rows(tmp_path: Path) -> None:
    dataset = with_features(tmp_path / "d")
    view = train_view(dataset, make_split(dataset, "column", seed=0))
    dense = np.zeros((6, 8), dtype=np.float32)
    dense[view.user, view.item] = 1
    np.testing.assert_array_equal(view.matrix.toarray(), dense)
    assert view.matrix.dtype == np.float32
    np.testing.assert_array_equal(view.user_count, dense.sum(1))
    np.testing.assert_array_equal(view.item_count, dense.sum(0))


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_other_valid_and_test_rows_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The view is equal, bit for bit, whatever the rows are that it must not know."""
    user, item = random_pairs(6, 8, 48)
    rows = list(zip(user, item, strict=True))
    n_train = data.draw(st.integers(1, 20))
    views = []
    for name in ("one", "other"):
        rest = data.draw(st.permutations(rows[n_train:]))[: data.draw(st.integers(2, 20))]
        known = data.draw(st.permutations(rows[:n_train] + rest))
        label = [0 if pair in rows[:n_train] else data.draw(st.sampled_from([1, 2])) for pair in known]
        time = [hash(pair) % 1000 for pair in known]
        dataset = make_dataset(
            tmp_path_factory.mktemp("data") / name, *zip(*known, strict=True), n_users=6, n_items=8,
            timestamp=time, split=label,
        )  # fmt: skip
        views.append(train_view(dataset, make_split(dataset, "column", seed=0)))
    assert_equal_views(*views)


def assert_equal_views(one: TrainView, other: TrainView) -> None:
    for name in ("user", "item", "timestamp", "user_count", "item_count"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(one.matrix, name), getattr(other.matrix, name))
    assert (one.n_users, one.n_items, one.seed) == (other.n_users, other.n_items, other.seed)
    assert dict(one.attributes) == dict(other.attributes)


def test_features_are_read_when_first_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = with_features(tmp_path / "d")
    split = make_split(dataset, "column", seed=0)
    read: list[str] = []
    reads = Dataset.features
    monkeypatch.setattr(Dataset, "features", lambda self, name: read.append(name) or reads(self, name))
    view = train_view(dataset, split)
    assert list(view.features) == ["text", "image"]
    assert len(view.features) == 2
    assert "audio" not in view.features
    assert read == []
    assert view.features["text"].x.shape == (8, 3)
    assert view.features["text"].present.tolist() == [True, True, False, True, True, True, True, True]
    assert read == ["text"]


def test_only_the_chosen_features_are_there(tmp_path: Path) -> None:
    dataset = with_features(tmp_path / "d")
    split = make_split(dataset, "column", seed=0)
    assert list(train_view(dataset, split, features=["image"]).features) == ["image"]
    assert list(train_view(dataset, split, features=[]).features) == []
    with pytest.raises(
        DataError, match=r"'made' has no features 'imag'; did you mean 'image'\? \(known: text, image\)"
    ):
        train_view(dataset, split, features=["imag"])


def test_attributes_are_classes_with_unknown_ones_marked(tmp_path: Path) -> None:
    dataset = with_features(tmp_path / "d")
    code, classes = train_view(dataset, make_split(dataset, "column", seed=0)).attributes["gender"]
    assert classes == ["f", "m"]
    assert code.tolist() == [0, 1, -1, 0, 1, 1]


def test_a_split_of_other_data_is_refused(tmp_path: Path) -> None:
    one = with_features(tmp_path / "one")
    other = make_dataset(tmp_path / "other", [0, 1], [0, 1], name="other", split=[0, 0])
    with pytest.raises(DataError, match=r"the split has 2 users and 2 items and 'made' has 6 and 8"):
        train_view(one, make_split(other, "column", seed=0))


def test_no_row_of_valid_or_test_is_in_the_view(tmp_path: Path) -> None:
    user, item = random_pairs(30, 40, 600)
    dataset = make_dataset(tmp_path / "d", user, item)
    split = make_split(dataset, "random_per_user", seed=0)
    matrix = train_view(dataset, split).matrix
    for label in (VALID, TEST):
        held_out = split.part(label)
        assert not np.asarray(matrix[held_out.user, held_out.item]).any()


def test_permuted_features_stay_together_and_with_their_presence(tmp_path: Path) -> None:
    dataset = with_features(tmp_path / "d")
    split = make_split(dataset, "column", seed=0)
    view = train_view(dataset, split, seed=1)
    permuted, again = permuted_features(view), permuted_features(view)
    text, image = permuted.features["text"], permuted.features["image"]
    before = view.features["image"].x.tolist()
    order = [before.index(row) for row in image.x.tolist()]
    assert sorted(order) == list(range(8)) != order
    assert np.array_equal(text.x, view.features["text"].x[order])
    assert np.array_equal(text.present, view.features["text"].present[order])
    assert np.array_equal(again.features["image"].x, image.x)
    assert np.array_equal(permuted.item, view.item)
    other = permuted_features(train_view(dataset, split, seed=2))
    assert not np.array_equal(other.features["image"].x, image.x)
