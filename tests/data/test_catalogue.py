"""Data sets by name, and the research sets with the counts of the data folder's README."""

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from sensorium.core.errors import DataError
from sensorium.data.catalogue import open_dataset
from sensorium.data.importing import ImportConfig, import_dataset


def test_unknown_names_show_the_nearest(sensorium_home: Path):
    with pytest.raises(
        DataError, match=r"no data set 'lfm2'; did you mean 'lfm2k'\? \(a folder, or one of: baby, beauty, demo"
    ):
        open_dataset("lfm2")


def test_a_research_set_without_its_folder_names_the_variable(sensorium_home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SENSORIUM_DATA", raising=False)
    with pytest.raises(DataError, match="set SENSORIUM_DATA to the folder that holds lfm2k/"):
        open_dataset("lfm2k")


def test_a_folder_without_a_data_set(tmp_path: Path, sensorium_home: Path):
    with pytest.raises(DataError, match=r"holds no data set: there is no dataset\.json"):
        open_dataset(tmp_path)


def test_by_path_and_by_name(sensorium_home: Path, tmp_path: Path):
    log = tmp_path / "log.csv"
    log.write_text("user,item\nu,a\n")
    import_dataset(log, sensorium_home / "datasets" / "shop", ImportConfig())
    assert open_dataset("shop").n_interactions == open_dataset(sensorium_home / "datasets" / "shop").n_interactions == 1


def fake_baby(root: Path) -> None:
    (root / "amazon-baby").mkdir(parents=True)
    rows = [f"{user}\t{item}\t{(user + item) % 3}\n" for user in range(8) for item in range(5)]
    (root / "amazon-baby" / "baby.inter").write_text("userID\titemID\tx_label\n" + "".join(rows))


def _open(name: str) -> int:
    return open_dataset(name).n_interactions


def test_two_processes_open_one_name_at_once(sensorium_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake_baby(tmp_path / "research")
    monkeypatch.setenv("SENSORIUM_DATA", str(tmp_path / "research"))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_open, ["baby"] * 2, chunksize=1) == [40, 40]
    assert [path.name for path in (sensorium_home / "datasets").iterdir() if not path.name.startswith(".")] == ["baby"]


RESEARCH = [
    ("baby", 19_445, 7_050, 160_792, {}),
    ("lfm2k", 1_858, 1_425, 56_345, {"text": 384, "vggish": 128, "whisper": 512}),
    ("tiktok", 9_308, 6_710, 68_722, {"image": 128, "audio": 128}),
    ("ml100k", 943, 1_458, 99_118, {}),
    ("ml100k+", 938, 996, 54_213, {}),
    ("ml100k-all", 943, 1_307, 98_776, {}),
    ("ml1m", 6_040, 3_260, 998_539, {"audio": 128}),
    ("mlls", 610, 3_600, 78_661, {"audio": 128}),
    ("mlls-apart", 483, 2_269, 42_701, {"audio": 128}),
    ("scientific", 12_076, 20_825, 85_211, {}),
    ("beauty", 22_363, 12_101, 198_502, {}),
    ("toys", 19_412, 11_924, 167_597, {}),
    ("lastfm", 1_090, 3_646, 52_551, {}),
]


WITH_GAPS = ("ml1m", "mlls", "mlls-apart")  # trailers of some films alone


@pytest.mark.parametrize(("name", "users", "items", "rows", "features"), RESEARCH, ids=[row[0] for row in RESEARCH])
def test_research_sets_have_their_counts(
    name: str, users: int, items: int, rows: int, features: dict[str, int], shared_data: Path, sensorium_home: Path
):
    data = open_dataset(name)
    assert (data.n_users, data.n_items, data.n_interactions) == (users, items, rows)
    assert {name: info.dim for name, info in data.info.features.items()} == features
    for feature in features:
        x, present = data.features(feature)
        assert x.dtype == np.float32
        assert present.all() or name in WITH_GAPS
    assert str(shared_data) not in json.dumps(data.info.model_dump(mode="json"))


def test_films_are_joined_by_their_own_id(shared_data: Path, sensorium_home: Path):
    """The sound of trailers belongs to its film: genres are told by it, and not once the rows are shuffled."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    data = open_dataset("ml1m")
    assert (data.info.has_time, data.info.has_order) == (False, False)
    x, present = data.features("audio")
    assert present.sum() == 3_007
    genres = data.items().collect()["genres"].str.split("|").list.contains("Horror").fill_null(False).to_numpy()
    rows = np.flatnonzero(present)
    half = np.random.default_rng(0).permutation(rows)
    train, test = half[: len(half) // 2], half[len(half) // 2 :]

    def auc(order: np.ndarray) -> float:
        values = (x[order] - x[rows].mean(0)) / (x[rows].std(0) + 1e-6)
        place = {row: number for number, row in enumerate(rows.tolist())}
        take = lambda chosen: values[[place[row] for row in chosen.tolist()]]  # noqa: E731
        model = LogisticRegression(C=0.01, max_iter=300).fit(take(train), genres[train])
        return float(roc_auc_score(genres[test], model.decision_function(take(test))))

    assert auc(rows) > 0.75
    assert auc(np.random.default_rng(1).permutation(rows)) < 0.6
    users = data.users().collect()
    assert users["gender"].value_counts().sort("gender").rows() == [("F", 1_709), ("M", 4_331)]
    assert users["age_bucket"].value_counts().sort("age_bucket")["count"].to_list() == [
        1_103,
        2_096,
        1_193,
        550,
        496,
        380,
        222,
    ]


def test_titles_and_attributes_of_the_sequence_sets(shared_data: Path, sensorium_home: Path):
    scientific = open_dataset("scientific")
    assert scientific.info.has_order
    assert not scientific.titles().str.contains("&amp;|&quot;|&#").any()
    distinct = {
        name: open_dataset(name).items().collect()["attributes"].explode().n_unique()
        for name in ("beauty", "toys", "lastfm")
    }
    assert distinct == {"beauty": 637, "toys": 1_027, "lastfm": 388}


@pytest.mark.parametrize(
    ("name", "users", "items", "rows"),
    [
        ("microlens-50k", 50_000, 19_220, 359_708),
        ("microlens-100k", 100_000, 19_738, 719_405),
        ("microlens-1m", 1_000_000, 91_402, 9_095_620),
    ],
)
def test_microlens_has_its_counts(
    name: str, users: int, items: int, rows: int, shared_data: Path, sensorium_home: Path
):
    if not (shared_data / name).is_dir():
        pytest.skip(f"{name} is not in the research data: its owners forbid passing it on")
    data = open_dataset(name)
    assert (data.n_users, data.n_items, data.n_interactions) == (users, items, rows)
