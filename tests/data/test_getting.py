"""`data get` against a server of this machine: cut connections, sizes, checksums; archives that are up to no good."""

import hashlib
import http.server
import io
import os
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sensorium.core.errors import DataError
from sensorium.core.files import read_json
from sensorium.data import archives, downloading
from sensorium.data.archives import Archive, RemoteFile, find_archive
from sensorium.data.downloading import download
from sensorium.data.getting import get_dataset
from sensorium.data.unpacking import unpack

from .official_files import movielens_1m

BIG = 10**9
CONTENT = os.urandom(300_000)


class Server(http.server.ThreadingHTTPServer):
    """Serves bytes by path, and breaks off as it is told."""

    daemon_threads = True
    files: dict[str, bytes]
    cuts: list[int]  # after so many bytes of each next answer the connection ends
    ranges: bool
    tag: str
    asked: list[str | None]  # the Range of each request
    redirect: str | None
    says_length: bool

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if server.redirect is not None:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        content = server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = 0
        if wanted and server.ranges and self.headers.get("If-Range") == server.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", server.tag)
        if server.says_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if server.cuts:
            body = body[: server.cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.files, made.cuts, made.ranges, made.tag = {"/f.bin": CONTENT}, [], True, '"1"'
    made.asked, made.redirect, made.says_length = [], None, True
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def fetch(server: Server, target: Path, **options: Any) -> bytes:
    return download(f"{server.url}/f.bin", target, max_bytes=options.pop("max_bytes", BIG), wait=0.0).read_bytes()


def test_a_cut_connection_goes_on_where_it_ended(server: Server, tmp_path: Path):
    server.cuts = [100_000, 50_000]
    assert fetch(server, tmp_path / "f.bin") == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["f.bin"]
    assert fetch(server, tmp_path / "f.bin") == CONTENT
    assert len(server.asked) == 3  # what is there is not fetched again


def test_a_later_call_goes_on_too(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(downloading, "TRIES", 1)
    server.cuts = [100_000]
    with pytest.raises(DataError, match=r"no connection to 127\.0\.0\.1: the connection ended after 97\.7 KB of 293"):
        fetch(server, tmp_path / "f.bin")
    assert fetch(server, tmp_path / "f.bin") == CONTENT
    assert server.asked == [None, "bytes=100000-"]


def test_another_version_or_a_server_without_ranges_starts_again(server: Server, tmp_path: Path):
    for change in ({"tag": '"2"'}, {"ranges": False}):
        target = tmp_path / f"{len(change)}{next(iter(change))}" / "f.bin"
        target.parent.mkdir()
        target.with_name("f.bin.part").write_bytes(b"old" * 100)
        target.with_name("f.bin.part.json").write_text('{"version": "\\"1\\""}')
        for key, value in change.items():
            setattr(server, key, value)
        assert fetch(server, target) == CONTENT


def test_too_large_is_refused_before_and_while_it_comes(server: Server, tmp_path: Path):
    with pytest.raises(DataError, match=r"it has 293\.0 KB, and at most 97\.7 KB are fetched"):
        fetch(server, tmp_path / "f.bin", max_bytes=100_000)
    server.says_length = False
    with pytest.raises(DataError, match=r"it is larger than 97\.7 KB, the most that is fetched"):
        fetch(server, tmp_path / "f.bin", max_bytes=100_000)
    assert not (tmp_path / "f.bin").exists()
    assert fetch(server, tmp_path / "g.bin") == CONTENT


def test_offline_refused_and_unprotected_addresses(server: Server, tmp_path: Path):
    with pytest.raises(DataError, match="the server answers 404"):
        download(f"{server.url}/none", tmp_path / "x", max_bytes=BIG, wait=0.0)
    assert len(server.asked) == 1  # not tried again
    server.redirect = "http://example.org/f.bin"
    with pytest.raises(DataError, match="downloads are by https alone"):
        fetch(server, tmp_path / "f.bin")
    with pytest.raises(DataError, match="downloads are by https alone"):
        download("http://example.org/f.bin", tmp_path / "x", max_bytes=BIG)
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"no connection to 127\.0\.0\.1: .*[Rr]efused"):
        fetch(server, tmp_path / "f.bin")


# --- the whole way ---


def zipped(folder: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"ml-1m/{file.name}")
    return stream.getvalue()


@pytest.fixture
def published(server: Server, tmp_path: Path, sensorium_home: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    server.files["/ml-1m.zip"] = zipped(movielens_1m(tmp_path / "made"))
    made = Archive(
        "movielens-made", (RemoteFile(f"{server.url}/ml-1m.zip"),), {"reader": "movielens"}, "free", "https://page"
    )
    monkeypatch.setitem(archives.ARCHIVES, made.name, made)
    return made


def test_fetched_checked_unpacked_imported(server: Server, published: Archive, sensorium_home: Path):
    server.cuts = [200]
    got = get_dataset(published.name, wait=0.0)
    assert got.dataset is not None
    assert (got.dataset.n_users, got.dataset.n_items, got.dataset.n_interactions) == (2, 3, 3)
    sha = hashlib.sha256(server.files["/ml-1m.zip"]).hexdigest()
    assert any(f"no checksum is published: sha256 {sha} is recorded" in notice for notice in got.notices)
    assert read_json(sensorium_home / "downloads" / "checksums.json")["movielens-made/ml-1m.zip"]["sha256"] == sha
    with pytest.raises(DataError, match="is there already"):
        get_dataset(published.name)
    again = get_dataset(published.name, overwrite=True)
    assert "sha256 as at the first download" in again.notices[0]


def test_another_file_than_at_first_is_refused(server: Server, published: Archive, tmp_path: Path):
    get_dataset(published.name, import_it=False)
    other = tmp_path / "ml-1m.zip"
    other.write_bytes(zipped(movielens_1m(tmp_path / "other" / "x")) + b" ")
    with pytest.raises(DataError, match="at the first download"):
        get_dataset(published.name, source=other)
    assert other.exists()  # a person's own file is never removed


def test_a_published_checksum_must_hold(
    server: Server, published: Archive, sensorium_home: Path, monkeypatch: pytest.MonkeyPatch
):
    md5 = hashlib.md5(server.files["/ml-1m.zip"], usedforsecurity=False).hexdigest()
    for checksum, right in ((f"md5:{md5}", True), ("sha256:" + "0" * 64, False)):
        file = RemoteFile(published.files[0].url, checksum)
        monkeypatch.setitem(archives.ARCHIVES, published.name, Archive(published.name, (file,), published.config))
        if right:
            assert "md5 as published" in get_dataset(published.name, import_it=False).notices[0]
        else:
            with pytest.raises(DataError, match="is not the file that it should be"):
                get_dataset(published.name, import_it=False)
            assert not (sensorium_home / "downloads" / published.name / "ml-1m.zip").exists()


def test_from_a_mirror_or_a_disk(server: Server, published: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    server.files["/mirror/ml-1m.zip"] = server.files.pop("/ml-1m.zip")
    with pytest.raises(DataError, match=r"404.*get ml-1m\.zip in another way \(https://page\).*--from PATH"):
        get_dataset(published.name)
    assert get_dataset(published.name, source=f"{server.url}/mirror", import_it=False).dataset is None
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "ml-1m.zip").write_bytes(server.files["/mirror/ml-1m.zip"])
    for source in (tmp_path / "disk", tmp_path / "disk" / "ml-1m.zip"):
        assert get_dataset(published.name, source=source, out=tmp_path / "out", overwrite=True).dataset is not None
    with pytest.raises(DataError, match="there is no such file or folder"):
        get_dataset(published.name, source=tmp_path / "nowhere", out=tmp_path / "no")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"there is no ml-1m\.zip here"):
        get_dataset(published.name, source=tmp_path / "empty", out=tmp_path / "no")


def test_what_a_person_must_get(sensorium_home: Path):
    with pytest.raises(DataError, match="'yelp' is not fetched by a program"):
        get_dataset("yelp")
    with pytest.raises(DataError, match=r"no public data set is called 'movielens-1'; did you mean 'movielens-1m'"):
        get_dataset("movielens-1")
    assert [file.name for file in find_archive("amazon-2023-All_Beauty").files] == [
        "All_Beauty.jsonl.gz", "meta_All_Beauty.jsonl.gz",
    ]  # fmt: skip
    with pytest.raises(DataError, match="no public data set"):
        find_archive("amazon-2023-../x")
    for archive in archives.ARCHIVES.values():
        assert all(file.url.startswith("https://") for file in archive.files)


# --- archives that are up to no good ---


def bad_zip(path: Path, name: str, *, link: bool = False) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = ((stat.S_IFLNK | 0o777) if link else (stat.S_IFREG | 0o644)) << 16
        archive.writestr(info, "/etc/passwd")
    return path


def bad_tar(path: Path, name: str, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        info.size = 4 if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(b"evil"))
    return path


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "..\\evil", "C:\\evil"])
def test_members_that_lead_out(tmp_path: Path, name: str):
    (tmp_path / "in").mkdir()
    for archive in (bad_zip(tmp_path / "a.zip", name), bad_tar(tmp_path / "a.tar.gz", name)):
        with pytest.raises(DataError, match="leads out of the folder: refused"):
            unpack(archive, tmp_path / "in", max_bytes=BIG)
    assert not list((tmp_path / "in").rglob("*"))
    assert not (tmp_path / "evil").exists()


def test_links_damage_and_bombs(tmp_path: Path):
    (tmp_path / "in").mkdir()
    links = [bad_zip(tmp_path / "l.zip", "l", link=True)]
    links += [bad_tar(tmp_path / f"{kind!r}.tar.gz", "l", kind) for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)]
    links.append(bad_tar(tmp_path / "device.tar.gz", "l", tarfile.CHRTYPE))
    for archive in links:
        with pytest.raises(DataError, match="is a link or a device: refused"):
            unpack(archive, tmp_path / "in", max_bytes=BIG)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(5_000_000))
    with pytest.raises(DataError, match="larger than allowed"):
        unpack(tmp_path / "bomb.zip", tmp_path / "in", max_bytes=1_000_000)
    (tmp_path / "cut.zip").write_bytes((tmp_path / "bomb.zip").read_bytes()[:100])
    (tmp_path / "cut.tar").write_bytes(b"no archive")
    for name in ("cut.zip", "cut.tar"):
        with pytest.raises(DataError, match="cannot be unpacked"):
            unpack(tmp_path / name, tmp_path / "in", max_bytes=BIG)
