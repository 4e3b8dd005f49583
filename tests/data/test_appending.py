"""Growth: ids stay, what is new follows, what was made on the old data still opens, nothing half-written is left."""

import multiprocessing
import os
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core import registry
from sensorium.core.config import NoOptions
from sensorium.core.errors import ConfigError, DataError
from sensorium.data import appending
from sensorium.data.appending import Grown, append_to_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.features import add_features
from sensorium.data.readers.base import GivenFeatures, Reading
from sensorium.data.splits import make_split

from .sources import config, imported, write

FIRST = "user,item,rating,timestamp\nu2,b,5,1000000002\nu1,a,4,1000000001\nu1,b,3,1000000003\n"
LATER = "user,item,rating,timestamp\nu0,b,5,1000000009\nu2,a,2,1000000010\nu1,a,4,1000000001\nu2,aa,1,1000000011\n"


@pytest.fixture
def shop(tmp_path: Path) -> Dataset:
    items = write(tmp_path / "items.csv", "item,title\na,A\nb,B\n")
    log = write(tmp_path / "first.csv", FIRST)
    return imported(log, reader={"name": "csv", "items": items}, out="shop")


def append(log: Path, data: Dataset, **tree: Any) -> Grown:
    reader = tree.pop("reader", None)
    if isinstance(reader, dict):
        reader = {key: str(value) if isinstance(value, Path) else value for key, value in reader.items()}
    return append_to_dataset(log, data.root, config(reader=reader, **tree))


def test_ids_stay_and_new_ones_follow(shop: Dataset, tmp_path: Path):
    grown = append(write(tmp_path / "later.csv", LATER), shop)
    assert grown.dataset.user_ids().to_list() == ["u1", "u2", "u0"]
    assert grown.dataset.item_ids().to_list() == ["a", "b", "aa"]
    rows = grown.dataset.interactions().collect()
    assert rows.select("user", "item", "rating").rows() == [
        (1, 1, 5.0), (0, 0, 4.0), (0, 1, 3.0), (2, 1, 5.0), (1, 0, 2.0), (1, 2, 1.0),
    ]  # fmt: skip
    assert grown.counts == {
        "rows_added": 3, "rows_known": 1, "new_users": 1, "new_items": 1, "items_described_again": 0,
        "users_described_again": 0,
    }  # fmt: skip
    assert "later.csv: 3 rows added, 1 users and 1 items are new" in grown.notices
    assert grown.dataset.titles().to_list() == ["A", "B", "aa"]
    assert [file.name for file in grown.dataset.info.source.files] == ["first.csv", "items.csv", "later.csv"]
    assert grown.dataset.info.checksums != shop.info.checksums


def test_the_data_set_as_it_was_stays_readable(shop: Dataset, tmp_path: Path):
    before = {name: getattr(shop, name)().collect() for name in ("interactions", "items", "users", "rejected")}
    split = make_split(shop, "temporal_user", seed=3)
    items = write(tmp_path / "more.csv", "item,title,brand\naa,AA,x\na,changed,y\n")
    append(write(tmp_path / "later.csv", LATER), shop, reader={"name": "csv", "items": items})
    append(write(tmp_path / "last.csv", "user,item,timestamp\nu9,z,1000000099\n"), shop)
    now = Dataset.open(shop.root)
    assert now.titles().to_list() == ["A", "B", "AA", "z"]  # what was known of "a" stays
    middle, first = now.earlier()
    assert (middle.n_users, middle.n_items, middle.n_interactions) == (3, 3, 6)
    assert first.fingerprint() == shop.fingerprint()
    for name, frame in before.items():
        assert getattr(first, name)().collect().equals(frame), name
    again = make_split(first, "temporal_user", seed=3)
    assert np.array_equal(again.label, split.label)
    assert np.array_equal(again.row, split.row)
    assert len(list((shop.root / "splits").glob("*"))) == 1  # read, not made again


def test_feature_rows_follow_ids(shop: Dataset, tmp_path: Path):
    given_x = np.array([[1.0, 2], [3, 4]])
    add_features(shop, "text", given_x, provenance={"encoder": "mine"})
    grown = append(write(tmp_path / "later.csv", LATER), shop)
    x, present = grown.dataset.features("text")
    assert x.tolist() == [[1, 2], [3, 4], [0, 0]]
    assert present.tolist() == [True, True, False]
    assert any("features 'text': 1 new items have none yet" in notice for notice in grown.notices)
    assert grown.dataset.info.features["text"].provenance == {"encoder": "mine"}
    assert grown.dataset.earlier()[0].features("text").x.tolist() == given_x.tolist()


class WithVectors:
    """A reader of a log with vectors of its items."""

    summary = "a log with vectors"
    width = 2

    Config = NoOptions

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self, path: Path) -> Reading:
        rows = [(*line.split(), number) for number, line in enumerate(path.read_text().splitlines())]
        frame = pl.LazyFrame(rows, schema=["user_id", "item_id", "row"], orient="row")
        ids = frame.collect()["item_id"].unique(maintain_order=True)
        vectors = np.array([[float(ord(item)), *[1.0] * (self.width - 1)] for item in ids])
        return Reading(frame, [path], features={"v": GivenFeatures(lambda: vectors, ids, {"by": "me"})})


class Wider(WithVectors):
    """The same with wider vectors."""

    width = 3


def test_given_vectors_of_new_items_join_the_others(tmp_path: Path):
    with registry.registered("sensorium.readers", "vectors", WithVectors):
        data = imported(write(tmp_path / "a.txt", "u b\nu c\n"), reader="vectors", out="shop")
        grown = append(write(tmp_path / "b.txt", "u c\nu a\n"), data, reader="vectors")
    assert grown.dataset.item_ids().to_list() == ["b", "c", "a"]
    assert grown.dataset.features("v").x[:, 0].tolist() == [98, 99, 97]
    assert grown.dataset.features("v").present.all()
    with (
        registry.registered("sensorium.readers", "vectors", Wider),
        pytest.raises(DataError, match="features 'v' have width 3 in the source and 2"),
    ):
        append(write(tmp_path / "c.txt", "u d\n"), grown.dataset, reader="vectors")
    assert Dataset.open(data.root).n_items == 3


def test_media_of_new_items(tmp_path: Path):
    for name in "ab":
        write(tmp_path / "pictures" / f"{name}.jpg", name)
    items = [write(tmp_path / f"{name}.csv", f"item,image\n{name},{name}.jpg\nx,gone.jpg\n") for name in "ab"]
    reader = {"name": "csv", "media": tmp_path / "pictures"}
    data = imported(write(tmp_path / "l1.csv", "user,item\nu,a\n"), reader={**reader, "items": items[0]}, out="shop")
    grown = append(write(tmp_path / "l2.csv", "user,item\nu,b\n"), data, reader={**reader, "items": items[1]})
    paths = grown.dataset.items().collect()["image"].to_list()
    assert paths == ["media/image/000/0.jpg", None, "media/image/000/2.jpg"]
    assert [grown.dataset.media_path(path).read_text() for path in paths if path] == ["a", "b"]


def test_sequences_without_time_go_on_where_they_ended(tmp_path: Path):
    data = imported(write(tmp_path / "a.txt", "u 1 2 3\n"), reader="s3rec", out="shop")
    grown = append(write(tmp_path / "b.txt", "u 4 5\n"), data, reader="s3rec")
    assert grown.dataset.interactions().collect()["order"].to_list() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,item\nu,a\n", r"the rows of 'shop' have a timestamp and those of .*later\.csv have none"),
        ("user,item,timestamp\n,a,1\n", "no row is left to import"),
        ("", "the file is empty"),
    ],
)
def test_what_cannot_be_appended_changes_nothing(shop: Dataset, tmp_path: Path, text: str, message: str):
    before = sorted((path, path.read_bytes()) for path in shop.root.glob("*.*"))
    with pytest.raises(DataError, match=message):
        append(write(tmp_path / "later.csv", text), shop)
    assert sorted((path, path.read_bytes()) for path in shop.root.glob("*.*")) == before
    assert not list(tmp_path.glob(".shop*"))


def test_columns_must_fit(tmp_path: Path):
    data = imported(write(tmp_path / "a.csv", "user,item,votes\nu,a,3\n"), out="shop")
    grown = append(write(tmp_path / "b.csv", "user,item,colour\nu,b,red\n"), data)
    assert grown.dataset.interactions().collect().select("votes", "colour").rows() == [(3, None), (None, "red")]
    with pytest.raises(DataError, match=r"c\.csv: 'votes' is String and was Int64"):
        append(write(tmp_path / "c.csv", "user,item,votes\nu,b,many\n"), data)


def test_a_core_and_a_missing_data_set_are_refused(shop: Dataset, tmp_path: Path):
    log = write(tmp_path / "later.csv", LATER)
    with pytest.raises(ConfigError, match="k_core and append exclude each other"):
        append(log, shop, k_core=2)
    with pytest.raises(DataError, match="holds no data set to append to"):
        append_to_dataset(log, tmp_path / "nowhere", config())


def test_two_appends_are_byte_identical(tmp_path: Path):
    later = write(tmp_path / "later.csv", LATER)
    files = []
    for name in ("one", "two"):
        write(tmp_path / name / "first.csv", FIRST)
        data = imported(tmp_path / name / "first.csv", out="shop")
        append(later, data)
        files.append({p.relative_to(data.root): p.read_bytes() for p in data.root.rglob("*") if p.is_file()})
    assert files[0] == files[1]


def _stopped_append(log: str, root: str) -> None:
    def slowly(*arguments: Any, **options: Any) -> None:
        (Path(root).parent / "begun").write_text("x")
        time.sleep(60)

    appending._grow_features = slowly  # type: ignore[assignment]
    append_to_dataset(log, root, config())


def test_a_killed_append_leaves_the_old_data_whole(shop: Dataset, tmp_path: Path):
    log = write(tmp_path / "later.csv", LATER)
    process = multiprocessing.get_context("spawn").Process(target=_stopped_append, args=(str(log), str(shop.root)))
    process.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert Dataset.open(shop.root).fingerprint() == shop.fingerprint()
    assert append(log, shop).counts["rows_added"] == 3
    assert not list(tmp_path.glob(".shop*"))


pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=25)


def text_of(rows: list[tuple[int, int, int]]) -> str:
    return "user,item,timestamp\n" + "".join(f"u{u},i{i},{1_000_000_000 + t}\n" for u, i, t in rows)


@settings(max_examples=8, deadline=None)
@given(pairs, st.lists(pairs, min_size=1, max_size=2))
def test_any_growth_is_the_import_of_all_rows_under_other_numbers(
    tmp_path_factory: pytest.TempPathFactory, first: list[tuple[int, int, int]], later: list[list[tuple[int, int, int]]]
):
    folder = tmp_path_factory.mktemp("grow")
    data = imported(write(folder / "0.csv", text_of(first)), out="shop")
    states = [data]
    data.user_ids(), data.item_ids()
    for number, rows in enumerate(later, start=1):
        states.append(append(write(folder / f"{number}.csv", text_of(rows)), data).dataset)
        states[-1].user_ids(), states[-1].item_ids()
    now = states[-1]
    whole = imported(write(folder / "all.csv", text_of(first + [row for rows in later for row in rows])), out="whole")

    def named(dataset: Dataset) -> list[tuple[str, str, int]]:
        rows = dataset.interactions().collect()
        return list(
            zip(
                dataset.user_ids().gather(rows["user"]).to_list(),
                dataset.item_ids().gather(rows["item"]).to_list(),
                rows["timestamp"].to_list(),
                strict=True,
            )
        )

    assert named(now) == named(whole)  # the same rows in the same order
    for before, after in pairwise(states):  # both have read their ids when they were made
        assert after.user_ids()[: before.n_users].equals(before.user_ids())
        assert after.item_ids()[: before.n_items].equals(before.item_ids())
        assert after.users_of(after.user_ids().to_list()).tolist() == list(range(after.n_users))
    past = now.earlier()
    assert [state.fingerprint() for state in past] == [state.fingerprint() for state in states[-2::-1]]
    for state, before in zip(past, states[-2::-1], strict=True):
        assert named(state) == named(whole)[: before.n_interactions]


@settings(max_examples=6, deadline=None)
@given(pairs, pairs, st.integers(0, 5))
def test_splits_do_not_depend_on_the_numbers_that_growth_gave(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[tuple[int, int, int]],
    later: list[tuple[int, int, int]],
    seed: int,
):
    """Which rows are train, valid and test by time is told by external ids alone."""
    folder = tmp_path_factory.mktemp("split")
    grown = append(
        write(folder / "b.csv", text_of(later)), imported(write(folder / "a.csv", text_of(first)), out="shop")
    ).dataset
    whole = imported(write(folder / "all.csv", text_of(first + later)), out="whole")

    def labels(dataset: Dataset) -> set[tuple[str, str, int]]:
        split = make_split(dataset, "global_time", seed=seed)
        users, items = dataset.user_ids(), dataset.item_ids()
        return {
            (users[int(u)], items[int(i)], int(label))
            for u, i, label in zip(split.user, split.item, split.label, strict=True)
        }

    try:
        expected = labels(whole)
    except DataError as error:
        with pytest.raises(DataError, match=str(error)[:20]):
            labels(grown)
    else:
        assert labels(grown) == expected


def test_old_runs_still_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from sensorium.experiments.run import run
    from sensorium.serving.recommend import recommend

    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    rows = [(u, int(i), n) for u in range(12) for n, i in enumerate(draw.permutation(9)[:6])]
    data = imported(write(tmp_path / "a.csv", text_of(rows)), out="shop")
    tree = {
        "data": {"dataset": str(data.root)}, "model": {"name": "bpr"}, "selection": "recall@5",
        "training": {"epochs": 2, "batch_size": 32}, "evaluation": {"ks": [5], "metrics": ["recall"]},
    }  # fmt: skip
    finished = run(tree, out=tmp_path / "run")
    before = recommend(finished.path, user="u3", k=3).answers[0]
    append(write(tmp_path / "b.csv", text_of([(99, 3, 9), (3, 77, 9)])), data)
    after = recommend(finished.path, user="u3", k=3).answers[0]
    assert after == before
    assert recommend(finished.path, user="u99", k=3).answers[0].note == "unknown user"
