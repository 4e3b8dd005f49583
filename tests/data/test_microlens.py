"""MicroLens: every file of the benchmark, generated with its faults."""

from pathlib import Path

import numpy as np
import pytest

from sensorium.core.config import build
from sensorium.core.errors import DataError
from sensorium.data.importing import ImportConfig
from sensorium.data.sequences import everything, sequences
from sensorium.data.splits import TRAIN, make_split

from .official_files import make_fake_microlens, write_text
from .sources import imported

READER = {"name": "microlens"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_fake_microlens(tmp_path / "microlens")


def pairs(folder: Path, ending: str = "csv") -> list[tuple[str, str]]:
    lines = (folder / f"MicroLens-100k_pairs.{ending}").read_text(encoding="utf-8-sig").split()
    return [tuple(line.split(",")[:2]) for line in lines[1:]]  # type: ignore[misc]


def test_the_whole_folder(folder: Path):
    data = imported(folder, reader=READER)
    rows = data.interactions().collect()
    users, items = data.user_ids().gather(rows["user"]).to_list(), data.item_ids().gather(rows["item"]).to_list()
    assert list(zip(users, items, strict=True)) == pairs(folder)
    assert rows["timestamp"].min() > 1_583_400_000_000  # type: ignore[operator]
    table = data.items().collect()
    assert table["item_id"].to_list() == [str(item) for item in range(1, 9)]
    assert table["title"].to_list()[:4] == ["Title 1", 'He said "stop, and, went', None, "Title 4"]
    assert table["tags"].to_list()[:3] == ["cats|dogs", "news, local", None]
    assert table["likes"].to_list()[:2] == [10, 20]
    assert table["frames"].to_list() == [5] * 8
    assert table["image"].to_list()[2:5] == ["media/image/000/2.jpg", None, "media/image/000/4.jpg"]
    assert table["audio"].to_list()[:2] == ["media/audio/000/0.wav", "media/audio/000/1.mp3"]
    assert (data.root / table["video"][4]).stat().st_size == 20  # truncated: the decoder says so, not the import
    assert rows["comment"].drop_nulls().len() == 12
    assert rows["comment"][0] == 'Nice, "1"\tok'
    notices = " ".join(data.info.notices)
    for said in ("likes and views have no time", "1 items have several files", "column 2 was taken for the item ids"):
        assert said in notices


def test_extracted_features_by_row_or_by_key(folder: Path):
    data = imported(folder, reader=READER)
    assert {name: (info.dim, info.present) for name, info in data.info.features.items()} == {
        "text": (8, 8), "image": (6, 8), "video": (4, 8),
    }  # fmt: skip
    matrix = np.load(folder / "extracted_modality_features" / "MicroLens-100k_image_features_CLIPRN50.npy")
    assert np.array_equal(data.features("image").x, matrix)  # row i-1 is item i, and ids are in order
    assert data.info.features["video"].provenance == {
        "file": "MicroLens-100k_video_features_VideoMAE.json", "encoder": "VideoMAE",
    }  # fmt: skip


def test_sequences_where_there_are_no_times(folder: Path):
    (folder / "MicroLens-100k_pairs.csv").rename(folder / "unused")
    data = imported(folder, reader=READER)
    assert (data.info.has_time, data.info.has_order) == (False, True)
    rows = data.interactions().collect()
    first = (folder / "MicroLens-100k_pairs.tsv").read_text().splitlines()[0].split("\t")[1].split()
    mine = rows.filter(rows["user"] == data.users_of(["1"])[0]).sort("order")
    assert data.item_ids().gather(mine["item"]).to_list() == first


def test_both_files_of_pairs_give_the_same_sequences(folder: Path):
    """Specification 7.1: the .csv has times and stands in no order, the .tsv has the order alone."""
    by_time = imported(folder, reader=READER, out="timed")
    (folder / "MicroLens-100k_pairs.csv").unlink()
    by_order = imported(folder, reader=READER, out="ordered")
    assert (by_time.info.has_time, by_order.info.has_time) == (True, False)
    for ids in ("user_ids", "item_ids"):
        assert getattr(by_time, ids)().to_list() == getattr(by_order, ids)().to_list()
    one, two = (everything(data, 0) for data in (by_time, by_order))
    assert np.array_equal(one.offsets, two.offsets)
    assert np.array_equal(one.values, two.values)
    rows = by_time.interactions().collect()
    assert not np.array_equal(one.values, rows["item"].to_numpy())  # the times were needed
    split_of = [make_split(data, "leave_last_out", seed=0, repeats="all") for data in (by_time, by_order)]
    one, two = (sequences(data, split, [TRAIN]) for data, split in zip((by_time, by_order), split_of, strict=True))
    assert np.array_equal(one.offsets, two.offsets)
    assert np.array_equal(one.values, two.values)


@pytest.mark.parametrize("subset", ["50k", "1M"])
def test_titles_of_the_other_subsets(tmp_path: Path, subset: str):
    folder = make_fake_microlens(tmp_path / "microlens", subset=subset)
    data = imported(folder, reader={**READER, "subset": subset})
    assert data.titles().to_list()[:3] == ["Title 1", 'He said "stop, and, went', "3"]


def test_an_archive_that_is_not_unpacked_is_said(folder: Path):
    for file in (folder / "MicroLens-100k_covers").iterdir():
        file.unlink()
    (folder / "MicroLens-100k_covers").rmdir()
    data = imported(folder, reader=READER)
    assert "image" not in data.items().collect_schema().names()
    assert any("covers.zip is not unpacked" in notice for notice in data.info.notices)


def test_the_click_task(folder: Path):
    data = imported(folder / "MicroLens_1M_x1", reader="microlens-clicks")
    rows = data.interactions().collect()
    assert rows["split"].value_counts(sort=True).sort("split").rows() == [(0, 36), (1, 12), (2, 12)]
    assert rows.filter(rows["split"] == 2)["rating"].null_count() == 12
    assert set(rows["rating"].drop_nulls().to_list()) == {0.0, 1.0}
    assert data.features("emb").x.shape == (8, 128)
    assert "0" not in data.item_ids()  # padding
    assert data.items().collect()["tags"].to_list()[0] == [1] * 5


def test_folders_that_are_none(folder: Path, tmp_path: Path):
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match=r"there is no MicroLens-50k_pairs\.csv or"):
        imported(tmp_path / "other", reader=READER)
    write_text(folder / "MicroLens-50k_pairs.csv", "user,item,timestamp\n1,1,1583400000000\n")
    with pytest.raises(DataError, match="more than one of"):
        imported(folder, reader=READER)
    (folder / "MicroLens-100k_pairs.csv").write_text("user item timestamp\n1 2 3\n")
    with pytest.raises(DataError, match="looks like a space"):
        imported(folder, reader={**READER, "subset": "100k"}, out="again")
    build(ImportConfig, {"reader": {"name": "microlens", "subset": "1M"}}, source="test")
