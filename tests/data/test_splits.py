from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.registry import registered
from sensorium.data import splits
from sensorium.data.catalogue import open_dataset
from sensorium.data.splits import TEST, TRAIN, VALID, Split, make_split
from sensorium.data.splitting import Assignment, SplitRows
from sensorium.data.view import train_view

from .made import make_dataset, parts, random_pairs, sizes


def assert_same(one: Split, other: Split) -> None:
    assert vars(one).keys() == vars(other).keys()
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            assert value.dtype == vars(other)[name].dtype, name
            np.testing.assert_array_equal(value, vars(other)[name], err_msg=name)
        else:
            assert value == vars(other)[name], name


# --- what is split ---------------------------------------------------------------------------------------------------


def test_repeated_pairs_count_once_the_first_in_time(tmp_path: Path) -> None:
    user, item = [0, 0, 0, 0, 1], [7, 7, 3, 7, 7]
    timed = make_dataset(tmp_path / "timed", user, item, timestamp=[30, 10, 15, 20, 5])
    split = make_split(timed, "random_per_user", seed=0)
    assert split.row.tolist() == [1, 2, 4]
    assert split.left_out["repeated_pairs"] == 2
    assert any("repeated_pairs 2" in notice for notice in split.notices)
    untimed = make_split(make_dataset(tmp_path / "untimed", user, item), "random_per_user", seed=0)
    assert untimed.row.tolist() == [0, 2, 4]
    ordered = make_dataset(tmp_path / "ordered", user, item, order=[3, 2, 1, 0, 4])
    assert make_split(ordered, "random_per_user", seed=0).row.tolist() == [2, 3, 4]


def test_min_rating_leaves_rows_out_after_repeated_pairs(tmp_path: Path) -> None:
    rating = [5.0, 1.0, 4.0, 3.9, None, float("nan")]
    dataset = make_dataset(tmp_path / "d", [0, 0, 0, 1, 1, 2], [1, 1, 2, 1, 2, 0], rating=rating)
    split = make_split(dataset, "random_per_user", seed=0, min_rating=4)
    assert split.row.tolist() == [0, 2]
    assert split.left_out["repeated_pairs"] == 1
    assert split.left_out["rows_below_min_rating"] == 1
    assert split.left_out["rows_without_rating"] == 2
    assert split.config["min_rating"] == 4
    assert len(make_split(dataset, "random_per_user", seed=0).row) == 5


def test_an_item_below_the_rating_is_a_legal_negative(tmp_path: Path) -> None:
    """TR-1, its variant: A rated all three items, two are positives, the third is B's."""
    dataset = make_dataset(tmp_path / "d", [0, 0, 0, 1], [0, 1, 2, 2], rating=[5, 5, 1, 5], split=[0, 0, 0, 0])
    view = train_view(dataset, make_split(dataset, "column", seed=0, min_rating=4))
    assert view.user_count.tolist() == [2, 1]


def test_min_rating_that_cannot_be_met(tmp_path: Path) -> None:
    """DI-6: a filter that leaves nothing."""
    rated = make_dataset(tmp_path / "rated", [0, 0], [0, 1], rating=[3, 4.5])
    with pytest.raises(DataError, match=r"min_rating 6 keeps 0 of 2 rows of 'made' \(largest rating: 4\.5\)"):
        make_split(rated, "random_per_user", seed=0, min_rating=6)
    with pytest.raises(DataError, match="'made' has no ratings"):
        make_split(make_dataset(tmp_path / "plain", [0], [0]), "random_per_user", seed=0, min_rating=4)


def test_no_rows_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leaves no row to train on"):
        make_split(make_dataset(tmp_path / "d", [], [], n_users=2, n_items=2), "random_per_user", seed=0)


def test_every_row_has_one_label(tmp_path: Path) -> None:
    user, item = random_pairs(30, 40, 600)
    dataset = make_dataset(tmp_path / "d", user, item, timestamp=list(range(600)), split=[0] * 400 + [1, 2] * 100)
    for name in ("random_per_user", "temporal_user", "leave_last_out", "global_time", "column", "cold_items"):
        split = make_split(dataset, name, seed=0)
        left_out = sum(count for kind, count in split.left_out.items() if not kind.startswith("users"))
        assert len(split.row) == sum(sizes(split)) == 600 - left_out
        assert (np.diff(split.row) > 0).all()
        assert sum(map(len, parts(split))) == len(set.union(*parts(split)))
        np.testing.assert_array_equal(split.user, np.array(user)[split.row])
        np.testing.assert_array_equal(split.item, np.array(item)[split.row])
        assert split.timestamp is not None
        np.testing.assert_array_equal(split.timestamp, split.row)


# --- test rows of unknown users and items ----------------------------------------------------------------------------


def unknown_rows(folder: Path) -> splits.Dataset:
    """20 test rows: 5 of 2 users and 4 of 3 items without a train row, 1 of them of both."""
    train = [(user, item) for user in range(10) for item in range(4)]
    test = [(10, 0), (10, 1), (10, 2), (11, 3), (11, 20), (0, 21), (1, 22), (2, 20)]
    test += [(user, 4 + user % 3) for user in range(3, 10)] + [(user, 7) for user in range(5)]
    train += [(0, 4), (0, 5), (0, 6), (9, 7)]
    user, item = zip(*train, *test, strict=True)
    return make_dataset(folder, user, item, split=[0] * len(train) + [2] * len(test))


def test_rows_of_unknown_users_and_items_are_kept_and_counted(tmp_path: Path) -> None:
    """CS-6: counts by kind, the default stated."""
    split = make_split(unknown_rows(tmp_path / "d"), "column", seed=0)
    assert sizes(split) == (44, 0, 20)
    assert [notice for notice in split.notices if "unknown" in notice or "without a train row" in notice] == [
        "test: of 20 rows 5 are of 2 users and 4 of 3 items without a train row, 1 of both; they are kept"
    ]


def test_rows_of_unknown_users_and_items_can_be_dropped(tmp_path: Path) -> None:
    """CS-6: the other option."""
    split = make_split(unknown_rows(tmp_path / "d"), {"name": "column", "unknown": "drop"}, seed=0)
    assert sizes(split) == (44, 0, 12)
    train, _, test = parts(split)
    assert {user for user, _ in test} <= {user for user, _ in train}
    assert {item for _, item in test} <= {item for _, item in train}
    assert split.left_out["test_rows_of_unknown_users"] == 5
    assert split.left_out["test_rows_of_unknown_items_only"] == 3
    assert any("they were dropped" in notice for notice in split.notices)


# --- keeping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["random_per_user", "global_time", "cold_items"])
def test_a_split_is_made_once_and_read_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    user, item = random_pairs(30, 40, 600)
    dataset = make_dataset(tmp_path / "d", user, item, timestamp=list(range(600)))
    made = make_split(dataset, name, seed=5)
    files = list((dataset.root / "splits").iterdir())
    assert [file.name.rpartition("-")[0] for file in files] == [name]
    assert pl.read_parquet(files[0]).columns == ["row", "label"]
    monkeypatch.setattr(splits, "_make", None)  # nothing is made again
    assert_same(make_split(dataset, {"name": name}, seed=5), made)


def test_data_config_and_seed_each_have_their_own_file(tmp_path: Path) -> None:
    user, item = random_pairs(30, 40, 600)
    one = make_dataset(tmp_path / "one", user, item, rating=[5] * 600)
    for spec, seed, rating in (("cold_items", 0, None), ("cold_items", 1, None), ("cold_items", 0, 3)):
        make_split(one, spec, seed=seed, min_rating=rating)
    make_split(one, {"name": "cold_items", "ratio": 0.2}, seed=0)
    assert len(list((one.root / "splits").iterdir())) == 4
    two = make_dataset(tmp_path / "two", user, item[::-1], rating=[5] * 600)
    make_split(two, "cold_items", seed=0)
    names = [{path.name for path in (dataset.root / "splits").iterdir()} for dataset in (one, two)]
    assert not names[0] & names[1]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """Truncated Parquet."""
    dataset = make_dataset(tmp_path / "d", [0] * 9, list(range(9)))
    made = make_split(dataset, "random_per_user", seed=0)
    [path] = (dataset.root / "splits").iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"{path.name} is damaged .*: delete it"):
        make_split(dataset, "random_per_user", seed=0)
    pl.DataFrame({"row": [0], "label": [0]}).write_parquet(path)  # a table without its description
    with pytest.raises(DataError, match="is damaged"):
        make_split(dataset, "random_per_user", seed=0)
    path.unlink()
    assert_same(make_split(dataset, "random_per_user", seed=0), made)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full disk, simulated."""
    dataset = make_dataset(tmp_path / "d", [0] * 9, list(range(9)))

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(DataError, match="the disk is full"):
        make_split(dataset, "random_per_user", seed=0)
    assert list((dataset.root / "splits").iterdir()) == []


# --- names and keys --------------------------------------------------------------------------------------------------


def test_wrong_names_and_keys_are_told(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "d", [0], [0])
    with pytest.raises(ConfigError, match=r"'random' is not in splits.*random_per_user"):
        make_split(dataset, "random", seed=0)
    with pytest.raises(ConfigError, match=r"split\.ratios: unknown key; did you mean split\.ratio\?"):
        make_split(dataset, {"name": "cold_items", "ratios": 0.2}, seed=0)


class EvenRows:
    """A split of somebody else: even rows are train, odd ones test."""

    uses_future = None

    def __init__(self, config: object) -> None:
        self.config = config

    def assign(self, rows: SplitRows, seed: int) -> Assignment:
        return Assignment(np.where(rows.row % 2, TEST, TRAIN).astype(np.int8))


def test_a_split_of_another_package(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "d", [0, 0, 1, 1], [0, 1, 1, 0])
    with registered("sensorium.splits", "even", EvenRows):
        split = make_split(dataset, "even", seed=0)
    assert parts(split) == ({(0, 0), (1, 1)}, set(), {(0, 1), (1, 0)})
    assert split.config == {"name": "even", "min_rating": None, "repeats": "first"}


# --- the counts of the research data ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [("baby", (118551, 20559, 21682)), ("lfm2k", (44327, 4799, 7219)), ("tiktok", (59541, 3051, 6130))],
)
def test_counts_of_given_split_columns(
    shared_data: Path, sensorium_home: Path, name: str, expected: tuple[int, int, int]
) -> None:
    """The counts of the research sets' own split columns."""
    split = make_split(open_dataset(name), "column", seed=0)
    assert sizes(split) == expected
    if name == "tiktok":
        users = np.bincount(split.part(TRAIN).user, minlength=split.n_users)
        items = np.bincount(split.part(TRAIN).item, minlength=split.n_items)
        assert ((users == 0).sum(), (items == 0).sum()) == (10, 465)
        assert len(np.unique(split.part(TEST).user)) == 6130
        assert len(np.unique(split.part(VALID).user)) == 3051


def test_random_split_of_baby_has_the_published_counts(shared_data: Path, sensorium_home: Path) -> None:
    """The published counts, for every seed."""
    dataset = open_dataset("baby")
    one, other = (make_split(dataset, "random_per_user", seed=seed) for seed in (0, 1))
    assert sizes(one) == sizes(other) == (118551, 20559, 21682)
    assert parts(one) != parts(other)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [("ml100k+", (938, 996), (43693, 5042, 5478)), ("ml100k-all", (943, 1307), (79383, 9483, 9910))],
)
def test_counts_of_movielens(
    shared_data: Path, sensorium_home: Path, name: str, shape: tuple[int, int], expected: tuple[int, int, int]
) -> None:
    """The counts of the two sets, for every seed."""
    dataset = open_dataset(name)
    assert (dataset.n_users, dataset.n_items) == shape
    assert sizes(make_split(dataset, "random_per_user", seed=0)) == expected
    assert sizes(make_split(dataset, "temporal_user", seed=0)) == expected
