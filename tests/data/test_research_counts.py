"""Counts of the research sets that splits, windows and content must reproduce; absent sets are skipped."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sensorium.data.catalogue import RESEARCH_SETS, open_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.importing import import_dataset
from sensorium.data.inspecting import inspect
from sensorium.data.splits import TEST, TRAIN, VALID, make_split
from sensorium.data.view import train_view
from sensorium.data.windows import cut

from .made import sizes
from .sources import config


@pytest.fixture(scope="module")
def research(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home in which each set is imported once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_HOME", str(tmp_path_factory.mktemp("home")))
        yield shared_data


def opened(name: str, research: Path) -> Dataset:
    folder = RESEARCH_SETS[name][0]
    if not (research / folder).is_dir():
        pytest.skip(f"{folder} is not in the research data here")
    return open_dataset(name)


@pytest.mark.parametrize(
    ("name", "users", "items", "rows", "tied"),
    [("ml100k", 943, 1_682, 100_000, None), ("mlls", 610, 9_724, 100_836, 0.2304)],
)
def test_ratings_as_they_stand(
    name: str, users: int, items: int, rows: int, tied: float | None, research: Path, tmp_path: Path
) -> None:
    """The logs alone, films without poster or text included; rows of one user and second are told."""
    log = research / "movielens" / name / "ratings.tsv"
    if not log.is_file():
        pytest.skip(f"movielens/{name} is not in the research data here")
    columns = {"item_id": "item_id" if name == "ml100k" else "movie_id"}
    data = import_dataset(log, tmp_path / name, config(reader={"name": "tsv", "columns": columns}))
    assert (data.n_users, data.n_items, data.n_interactions) == (users, items, rows)
    if tied is not None:
        assert inspect(data).tied_share == pytest.approx(tied, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "users", "targets", "windows"), [("ml100k", 819, 8_190, 4_367), ("mlls", 528, 5_280, 3_551)]
)
def test_ten_targets_of_each_user(name: str, users: int, targets: int, windows: int, research: Path) -> None:
    """leave_last_out with t = 10, and the train rows cut into windows of 20 steps."""
    data = opened(name, research)
    split = make_split(data, {"name": "leave_last_out", "targets_per_user": 10}, seed=0, repeats="all")
    _, valid, test = sizes(split)
    assert (len(np.unique(split.part(TEST).user)), valid, test) == (users, targets, targets)
    assert len(cut(train_view(data, split, ordered=True).sequences, 20, "all")) == windows


def test_films_to_transfer_from_have_none_in_common_with_those_to_transfer_to(research: Path) -> None:
    source, target = opened("mlls-apart", research), opened("ml100k", research)
    assert not set(source.item_ids()) & set(target.item_ids())
    split = make_split(source, {"name": "leave_last_out"}, seed=0, repeats="all")
    rows = source.interactions().collect()["user"].value_counts()
    assert (rows["count"] >= 5).sum() == len(np.unique(split.part(TEST).user)) == 474


def test_published_windows_of_scientific(research: Path) -> None:
    """The last 13 rows of each user."""
    data = opened("scientific", research)
    split = make_split(data, {"name": "leave_last_out", "max_len": 10}, seed=0, repeats="all")
    assert split.candidates is not None
    assert (sum(sizes(split)), int(split.candidates.sum())) == (81_711, 20_314)
    train = split.part(TRAIN)
    assert (len(train.row), len(np.unique(train.item))) == (57_559, 16_306)
    assert len(split.part(VALID).row) == len(split.part(TEST).row) == 12_076


def test_random_parts_of_ml1m(research: Path) -> None:
    assert sizes(make_split(opened("ml1m", research), "random_per_user", seed=2024)) == (801_218, 97_199, 100_122)


def test_the_core_of_mlls(research: Path, tmp_path: Path) -> None:
    folder, tree = RESEARCH_SETS["mlls"]
    opened("mlls", research)
    data = import_dataset(research / folder, tmp_path / "core", config(**tree, k_core=5))
    assert (data.n_users, data.n_items, data.n_interactions) == (610, 2_555, 76_423)
    assert sizes(make_split(data, "random_per_user", seed=0)) == (61_370, 7_377, 7_676)


def test_sound_of_mlls(research: Path) -> None:
    """Trailers of 2,687 of 3,600 films, and their share of the rows."""
    data = opened("mlls", research)
    present = data.features("audio").present
    rows = data.interactions().collect()["item"].to_numpy()
    assert (int(present.sum()), int(present[rows].sum())) == (2_687, 57_279)


def test_rows_of_the_given_parts(research: Path) -> None:
    """Half of the users have at most so many train rows."""
    for name, median in (("tiktok", 2), ("lfm2k", 25)):
        split = make_split(opened(name, research), "column", seed=0)
        assert np.median(np.bincount(split.part(TRAIN).user, minlength=split.n_users)) == median
