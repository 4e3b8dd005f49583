"""The page of `inspect`: everything that was found, escaped, with media, and nothing from the network."""

import re
from pathlib import Path

from PIL import Image

from sensorium.data.dataset import Dataset
from sensorium.data.demo import generate_demo
from sensorium.data.inspecting_page import write_inspection

from .official_files import amazon_2023, make_fake_microlens
from .sources import imported, write


def page_of(dataset: Dataset, folder: Path) -> str:
    return write_inspection(dataset, folder / "page.html").read_text()


def test_a_catalogue_with_pictures_times_and_a_planted_truth(tmp_path: Path):
    data = generate_demo(tmp_path / "demo", items=60, users=30, seed=1)
    page = page_of(data, tmp_path)
    assert page.count("data:image/png;base64,") == 12
    assert page.count("<svg") >= 2  # the tail, and time
    for said in (
        "60 items",
        "Planted",
        "Users by age band" if "age band" in page else "Users by age_band",
        "rows a month",
    ):
        assert said in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert write_inspection(data, tmp_path / "again.html").read_text() == page


def test_broken_and_missing_media_are_said(tmp_path: Path):
    folder = make_fake_microlens(tmp_path / "microlens")
    (folder / "MicroLens-100k_covers" / "2.jpg").write_bytes(b"no picture")
    data = imported(folder, reader="microlens")
    page = page_of(data, tmp_path)
    assert page.count("data:image/png;base64,") == 6  # of eight covers one is missing and one is broken
    assert page.count("data:audio/wav;base64,") == 1
    assert page.count("data:video/mp4;base64,") == 8
    assert "image: " in page
    assert "VideoMAE (MicroLens-100k_video_features_VideoMAE.json)" in page  # MM-6


def test_what_was_set_aside_stands_there_by_reason(tmp_path: Path):
    page = page_of(imported(amazon_2023(tmp_path), reader="amazon"), tmp_path)
    for said in ("negative time", "rating out of range", "-2208988800000", "duplicates dropped", "50.0%"):
        assert said in page


def test_titles_are_other_peoples_words(tmp_path: Path):
    items = write(tmp_path / "items.csv", 'item,title\na,"<script>alert(1)</script>"\n')
    data = imported(write(tmp_path / "log.csv", "user,item\nu,a\n"), reader={"name": "csv", "items": items})
    page = page_of(data, tmp_path)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "no times" in page


def test_large_files_are_named_and_not_carried(tmp_path: Path):
    write(tmp_path / "media" / "long.mp3", "x" * 500_000)
    Image.new("RGB", (900, 600)).save(tmp_path / "media" / "wide.png")
    items = write(tmp_path / "items.csv", "item,audio,image\na,long.mp3,wide.png\n")
    reader = {"name": "csv", "items": items, "media": tmp_path / "media"}
    page = page_of(imported(write(tmp_path / "log.csv", "user,item\nu,a\n"), reader=reader), tmp_path)
    assert "audio of 488.3 KB" in page
    assert 'width="240"' in page
