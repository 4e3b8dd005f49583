from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.config import build, describe, dump
from sensorium.core.errors import ConfigError, DataError
from sensorium.core.registry import get, names
from sensorium.data.splits import TEST, TRAIN, VALID, Split, make_split
from sensorium.data.splitting import GlobalTime, usual_sizes

from .made import make_dataset, parts, random_pairs, sizes

ALL = ["cold_items", "column", "global_time", "leave_last_out", "random_per_user", "temporal_user"]


def one_user_each(folder: Path, lengths: list[int], **columns: Any) -> Any:
    """A data set whose user u has lengths[u] rows."""
    user = np.repeat(np.arange(len(lengths)), lengths).tolist()
    item = np.concatenate([np.arange(n) for n in lengths]).tolist()
    return make_dataset(folder, user, item, **columns)


def counts_by_user(split: Split) -> list[tuple[int, int, int]]:
    per = [np.bincount(split.part(label).user, minlength=split.n_users) for label in (TRAIN, VALID, TEST)]
    return [(int(a), int(b), int(c)) for a, b, c in zip(*per, strict=True)]


def test_every_split_is_registered_and_describes_its_keys() -> None:
    assert set(names("sensorium.splits")) >= set(ALL)
    for name in ALL:
        target = get("sensorium.splits", name)
        assert target.__doc__
        assert all(key.meaning for key in describe(target.Config))
        assert build(target.Config, dump(target.Config()), source="test") == target.Config()


# --- random_per_user -------------------------------------------------------------------------------------------------


def literature_rule(n: int) -> tuple[int, int, int]:
    """The rule of docs/protocol.md, written out."""
    if n < 10:
        return n - 2, 1, 1
    held_out = int(0.2 * n)
    return n - held_out, held_out // 2, held_out - held_out // 2


def test_counts_follow_the_rule_of_the_literature(tmp_path: Path) -> None:
    """Per-user counts for n = 5..40."""
    lengths = list(range(5, 41))
    dataset = one_user_each(tmp_path / "d", lengths)
    for seed in (0, 1):
        split = make_split(dataset, "random_per_user", seed=seed)
        assert counts_by_user(split) == [literature_rule(n) for n in lengths]


def test_sizes_of_any_user() -> None:
    n = np.arange(3, 3000)
    valid, test = usual_sizes(n)
    assert [(a, b, c) for a, b, c in zip(n - valid - test, valid, test, strict=True)] == [
        literature_rule(k) for k in n.tolist()
    ]
    valid, test = usual_sizes(np.array([0, 1, 2]))  # train comes first
    assert valid.tolist() == [0, 0, 0]
    assert test.tolist() == [0, 0, 1]


def test_random_split_follows_the_seed_and_draws_every_row_alike(tmp_path: Path) -> None:
    dataset = one_user_each(tmp_path / "d", [20] * 300)
    one, again, other = (make_split(dataset, "random_per_user", seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.label, again.label)
    assert (one.label != other.label).mean() > 0.2
    held_out = np.bincount(one.part(TEST).item, minlength=20)  # 600 of 6,000 rows: 30 of each place in the file
    assert held_out.min() > 10
    assert held_out.max() < 55


# --- by time ---------------------------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("name", ["temporal_user", "leave_last_out"])
def test_splits_by_each_users_time(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 25), min_size=1, max_size=5))
    time = data.draw(st.lists(st.integers(0, 8), min_size=sum(lengths), max_size=sum(lengths)))
    dataset = one_user_each(tmp_path_factory.mktemp("data") / "d", lengths, timestamp=time)
    long = [n for n in lengths if n >= 5]
    if name == "leave_last_out" and not long:
        with pytest.raises(DataError, match="leaves no row to train on"):
            make_split(dataset, name, seed=0)
        return
    split = make_split(dataset, name, seed=0)
    found = [count for count in counts_by_user(split) if sum(count)]
    if name == "leave_last_out":
        assert found == [(n - 2, 1, 1) for n in long]
        assert split.left_out["users_below_min_len"] == len(lengths) - len(long)
        assert split.left_out["rows_of_users_below_min_len"] == sum(lengths) - sum(long)
    else:
        assert found == [literature_rule(n) if n > 2 else (1, 0, n - 1) for n in lengths]
    assert split.timestamp is not None
    for user in range(len(lengths)):
        times = [split.timestamp[(split.user == user) & (split.label == label)] for label in (TRAIN, VALID, TEST)]
        for earlier, later in ((times[0], times[1]), (times[1], times[2]), (times[0], times[2])):
            assert not len(earlier) or not len(later) or earlier.max() <= later.min()


def test_ties_in_time_do_not_follow_the_file(tmp_path: Path) -> None:
    user, item = random_pairs(30, 20, 400)
    time = (np.random.default_rng(0).integers(0, 3, 400)).tolist()
    backwards = [column[::-1] for column in (user, item, time)]
    one = make_dataset(tmp_path / "one", user, item, timestamp=time)
    other = make_dataset(tmp_path / "other", backwards[0], backwards[1], timestamp=backwards[2])
    for name in ("temporal_user", "leave_last_out"):
        found = parts(make_split(one, name, seed=0))
        assert found == parts(make_split(other, name, seed=0))
        assert found != parts(make_split(one, name, seed=1))


def test_order_serves_where_there_is_no_time(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "d", [0] * 5, [0, 1, 2, 3, 4], order=[5, 4, 3, 2, 1])
    assert parts(make_split(dataset, "leave_last_out", seed=0)) == ({(0, 4), (0, 3), (0, 2)}, {(0, 1)}, {(0, 0)})


def test_min_len_is_a_key(tmp_path: Path) -> None:
    dataset = one_user_each(tmp_path / "d", [3, 5, 8], timestamp=list(range(16)))
    assert counts_by_user(make_split(dataset, {"name": "leave_last_out", "min_len": 3}, seed=0)) == [
        (1, 1, 1),
        (3, 1, 1),
        (6, 1, 1),
    ]


@pytest.mark.parametrize("name", ["temporal_user", "leave_last_out", "global_time"])
def test_split_by_time_without_time_stops_with_one_line(tmp_path: Path, name: str) -> None:
    columns = {"order": list(range(9))} if name == "global_time" else {}  # an order is no common clock
    dataset = one_user_each(tmp_path / "d", [9], name="shop", **columns)
    with pytest.raises(DataError, match=rf"^{name} divides rows by time and 'shop' has none: choose [^\n]*$"):
        make_split(dataset, name, seed=0)


# --- global_time -----------------------------------------------------------------------------------------------------


def test_global_time_cuts_at_the_shares_of_all_rows(tmp_path: Path) -> None:
    user, item = random_pairs(20, 50, 1000)
    time = np.random.default_rng(1).permutation(1000)
    dataset = make_dataset(tmp_path / "d", user, item, timestamp=time.tolist())
    split = make_split(dataset, {"name": "global_time", "valid": 0.15, "test": 0.05}, seed=0)
    assert sizes(split) == (800, 150, 50)
    assert split.timestamp is not None
    assert split.timestamp[split.label == TRAIN].max() < split.timestamp[split.label == VALID].min() == 800
    assert split.timestamp[split.label == TEST].min() == 950
    assert not split.uses_future


def test_global_time_keeps_rows_of_one_time_on_one_side(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "d", [0] * 10, list(range(10)), timestamp=[0] * 7 + [1] * 3)
    assert sizes(make_split(dataset, "global_time", seed=0)) == (7, 0, 3)


def test_global_time_leaves_out_and_counts_users_without_a_train_row(tmp_path: Path) -> None:
    user = [0] * 8 + [1, 1]
    dataset = make_dataset(tmp_path / "d", user, list(range(10)), timestamp=list(range(10)))
    with pytest.raises(ConfigError, match=r"valid 0\.5 and test 0\.5 leave nothing to train on"):
        make_split(dataset, {"name": "global_time", "valid": 0.5, "test": 0.5}, seed=0)
    split = make_split(dataset, "global_time", seed=0)
    assert sizes(split) == (8, 0, 0)
    assert split.left_out["users_without_train_row"] == 1
    assert split.left_out["rows_of_users_without_train_row"] == 2
    assert "global_time gave no test row" in split.notices


def test_global_time_of_one_moment_leaves_nothing_to_train_on(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "d", [0, 1], [0, 1], timestamp=[7, 7])
    with pytest.raises(DataError, match="leaves no row to train on"):
        make_split(dataset, "global_time", seed=0)


def test_a_split_per_user_knows_what_becomes_popular_later_and_says_so(tmp_path: Path) -> None:
    """EV-8: item P (0) bought by 50 users after t = 100; user A (0) ends at t = 50."""
    user = [0] * 10 + [buyer for buyer in range(1, 51) for _ in range(6)]
    item = list(range(1, 11)) + [bought for _ in range(50) for bought in (0, 11, 12, 13, 14, 15)]
    time = list(range(41, 51)) + [moment for _ in range(50) for moment in (101, 20, 30, 52, 54, 102)]
    dataset = make_dataset(tmp_path / "d", user, item, timestamp=time)

    # 210 of 310 rows come before t = 60, and 50 of the others at t = 101: the shares put a cut between the two
    at_cut = make_split(dataset, {"name": "global_time", "valid": 0.16, "test": 0.16}, seed=0)
    assert at_cut.timestamp is not None
    assert at_cut.timestamp[at_cut.label == TRAIN].max() < 60
    assert np.bincount(at_cut.part(TRAIN).item, minlength=16)[0] == 0
    assert not at_cut.uses_future
    assert not any("future" in notice for notice in at_cut.notices)

    per_user = make_split(dataset, {"name": "leave_last_out"}, seed=0)
    assert per_user.uses_future
    assert any("uses other users' future" in notice for notice in per_user.notices)
    per_user = make_split(dataset, "random_per_user", seed=0)
    assert np.bincount(per_user.part(TRAIN).item, minlength=16)[0] > 0
    assert per_user.uses_future


# --- column ----------------------------------------------------------------------------------------------------------


def test_column_with_other_values(tmp_path: Path) -> None:
    given_split = ["tr", "va", "te", "tr", None, "unused"]
    dataset = make_dataset(tmp_path / "d", [0] * 6, list(range(6)), fold=given_split)
    spec = {"name": "column", "column": "fold", "values": {"tr": "train", "va": "valid", "te": "test"}}
    split = make_split(dataset, spec, seed=0)
    assert parts(split) == ({(0, 0), (0, 3)}, {(0, 1)}, {(0, 2)})
    assert split.left_out["rows_with_another_value"] == 2


def test_column_of_numbers(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "d", [0] * 4, list(range(4)), split=[0, 2, 1, 0], fold=[5, 5, 6, 7])
    assert parts(make_split(dataset, "column", seed=0)) == ({(0, 0), (0, 3)}, {(0, 2)}, {(0, 1)})
    folds = {"name": "column", "column": "fold", "values": {5: "train", 6: "test"}}
    assert parts(make_split(dataset, folds, seed=0)) == ({(0, 0), (0, 1)}, set(), {(0, 2)})


def test_column_that_is_not_there_or_means_nothing(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "d", [0, 0], [0, 1], name="shop", splits=["x", "y"])
    with pytest.raises(DataError, match=r"'shop' have no column 'split'; did you mean 'splits'\?"):
        make_split(dataset, "column", seed=0)
    with pytest.raises(DataError, match=r"no row to train on \(rows_with_another_value 2\)"):
        make_split(dataset, {"name": "column", "column": "splits"}, seed=0)


def test_column_says_whether_it_uses_the_future(tmp_path: Path) -> None:
    columns = {"split": [0, 0, 1, 2], "backwards": [2, 1, 0, 0]}
    timed = make_dataset(tmp_path / "timed", [0] * 4, list(range(4)), timestamp=[1, 2, 3, 4], **columns)
    assert not make_split(timed, "column", seed=0).uses_future
    assert make_split(timed, {"name": "column", "column": "backwards"}, seed=0).uses_future
    untimed = make_dataset(tmp_path / "untimed", [0] * 4, list(range(4)), **columns)
    split = make_split(untimed, "column", seed=0)
    assert split.uses_future
    assert any("without times nobody can tell" in notice for notice in split.notices)


# --- cold_items ------------------------------------------------------------------------------------------------------


def test_cold_items_are_test_alone_and_stratified_by_popularity(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    popularity = np.arange(1, 91)
    user = np.concatenate([generator.permutation(100)[:n] for n in popularity])
    item = np.repeat(np.arange(90), popularity)
    dataset = make_dataset(tmp_path / "d", user.tolist(), item.tolist(), n_users=100, n_items=95)
    split = make_split(dataset, {"name": "cold_items", "ratio": 0.2}, seed=3)

    cold = split.cold_items
    assert cold is not None
    assert [int(cold[start : start + 30].sum()) for start in (0, 30, 60)] == [6, 6, 6]
    assert not cold[90:].any()  # items without a row are not chosen
    np.testing.assert_array_equal(split.label == TEST, cold[split.item])
    np.testing.assert_array_equal(cold, make_split(dataset, {"name": "cold_items", "ratio": 0.2}, seed=3).cold_items)
    other = make_split(dataset, {"name": "cold_items", "ratio": 0.2}, seed=4).cold_items
    assert other is not None
    assert (cold != other).any()

    warm = np.bincount(split.user[~cold[split.item]], minlength=100)
    valid = np.bincount(split.part(VALID).user, minlength=100)
    np.testing.assert_array_equal(valid, usual_sizes(warm)[0])
    assert len(split.row) == len(user)


def test_cold_items_that_would_be_none(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "d", [0, 1, 2], [0, 1, 2])
    with pytest.raises(DataError, match=r"a ratio of 0\.1 makes none of 3 items cold"):
        make_split(dataset, "cold_items", seed=0)


def test_shares_outside_the_range_are_refused() -> None:
    for name, tree in (
        ("cold_items", {"ratio": 1.5}),
        ("global_time", {"test": 0}),
        ("leave_last_out", {"min_len": 2}),
    ):
        with pytest.raises(ConfigError, match=next(iter(tree))):
            build(get("sensorium.splits", name).Config, tree, source="test")
    assert GlobalTime.Config(valid=0.2).test == 0.1
