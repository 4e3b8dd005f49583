"""Media files and matrices that come with a source."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from sensorium.core.errors import DataError

from .sources import imported, write


@pytest.fixture
def shop(tmp_path: Path) -> dict[str, object]:
    """A log, and items with covers, as options of the reader."""
    write(tmp_path / "log.csv", "user,item\nu,a\nu,b\n")
    write(tmp_path / "covers" / "a.PNG", "picture")
    return {"name": "csv", "items": write(tmp_path / "items.csv", "item,image\na,covers/a.PNG\nb,covers/b.png\nc,\n")}


def test_files_come_along_and_lost_ones_are_counted(tmp_path: Path, shop: dict[str, object]) -> None:
    data = imported(tmp_path / "log.csv", reader=shop)
    paths = data.items().collect()["image"].to_list()
    assert paths == ["media/image/000/0.png", None, None]
    assert data.media_path(paths[0]).read_text() == "picture"
    assert data.item_ids().to_list() == ["a", "b", "c"]  # an item that nobody had is part of the catalogue
    assert data.rejected().collect().row(0, named=True) == {
        "file": "covers/b.png",
        "row": 1,
        "column": "image",
        "reason": "missing_file",
        "detail": "b",
    }


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "covers/../../secret", "link"])
def test_a_path_that_leads_out_of_the_media_folder_stops(tmp_path: Path, path: str) -> None:
    root = tmp_path / "source"
    log = write(root / "log.csv", "user,item\nu,a\n")
    write(tmp_path / "secret", "secret")
    (root / "link").symlink_to(tmp_path / "secret")
    items = write(root / "items.csv", f"item,image\na,{path}\n")
    with pytest.raises(DataError, match=f"item a: the path '{path}' leads out of"):
        imported(log, reader={"name": "csv", "items": items})
    assert not (root / "out").exists()


@pytest.mark.parametrize("path", ["covers", "https://example.org/a.png", "x" * 5000, "a\0b"])
def test_what_is_no_file_is_a_lost_file(tmp_path: Path, path: str) -> None:
    log = write(tmp_path / "log.csv", "user,item\nu,a\n")
    (tmp_path / "covers").mkdir()
    items = write(tmp_path / "items.csv", f"item,image\na,{path}\n")
    data = imported(log, reader={"name": "csv", "items": items})
    assert data.items().collect()["image"].to_list() == [None]
    assert data.rejected().collect()["reason"].to_list() == ["missing_file"]


def test_where_links_cannot_be_made_files_are_copied(
    tmp_path: Path, shop: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = imported(tmp_path / "log.csv", reader=shop)

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    copied = imported(tmp_path / "log.csv", reader=shop, out="copied")
    source, *targets = [tmp_path / "covers/a.PNG", *(data.root / "media/image/000/0.png" for data in (linked, copied))]
    assert [source.samefile(target) for target in targets] == [True, False]
    assert targets[1].read_text() == "picture"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(DataError, match=r"the disk is full: could not write .*full; nothing was changed"):
        imported(tmp_path / "log.csv", reader=shop, out="full")
    assert not (tmp_path / "full").exists()


def test_a_media_folder_that_is_not_there_or_not_asked_for(tmp_path: Path, shop: dict[str, object]) -> None:
    with pytest.raises(DataError, match="nowhere: there is no such folder of media files"):
        imported(tmp_path / "log.csv", reader=shop | {"media": tmp_path / "nowhere"})
    with pytest.raises(DataError, match="no column of the items names files"):
        imported(tmp_path / "log.csv", reader={"name": "csv", "media": tmp_path / "covers"})
    elsewhere = imported(tmp_path / "log.csv", reader=shop | {"media": tmp_path / "covers"})
    assert elsewhere.info.counts["rejected"] == 2  # "covers/a.PNG" is not below covers/
