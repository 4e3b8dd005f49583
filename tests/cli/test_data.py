"""data import, inspect, split, generate; encode; and the extras that are missing."""

from pathlib import Path

import pytest

from sensorium.core import registry
from sensorium.core.config import Config
from sensorium.core.errors import require
from sensorium.data.dataset import Dataset

from .conftest import Command


def test_a_dry_run_shows_the_guess_and_writes_nothing(command: Command, home: Path, log: Path, tmp_path: Path):
    said = command("data", "import", log, "--out", tmp_path / "x", "--column", "user_id=customer", "--dry-run")
    assert said.status == 0
    assert "reader: csv; nothing is written" in said.out
    assert "user_id" in said.out
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_separator(command: Command, home: Path, tmp_path: Path):
    """DI-2: one line with file, separator, columns found and needed, and what it looks like."""
    path = tmp_path / "log.csv"
    path.write_text("user_id item_id timestamp\n1 2 3\n1 3 4\n2 2 5\n")
    said = command("data", "import", path, "--sep", "tab", "--out", tmp_path / "x")
    assert said.status == 2
    assert said.err.count("\n") == 1
    for part in ("log.csv", "tab", "1 column", "3 are needed", "looks like a space"):
        assert part in said.err
    assert not (tmp_path / "x").exists()
    assert command("data", "import", path, "--sep", "space", "--out", tmp_path / "x").status == 0
    assert Dataset.open(tmp_path / "x").n_interactions == 3


def test_an_import_replaces_nothing_unasked(command: Command, shop: str, log: Path):
    words = ["data", "import", log, "--name", "shop", "--column", "user_id=customer"]
    assert "there already" in command(*words).err
    assert command(*words, "--items", log.parent / "items.csv", "--overwrite").status == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--column", "customer"], "write ROLE=COLUMN"),
        (["--set", "reader.colums={}"], "reader.colums: unknown key"),
        (["--reader", "cvs"], "did you mean 'csv'"),
        (["--k-core", "0"], "k_core"),
    ],
)
def test_options_of_an_import_are_checked(command: Command, home: Path, log: Path, words: list[str], expected: str):
    if words[0] == "--set":
        words = ["--reader", "csv", *words]
    said = command("data", "import", log, "--out", "unused", *words)
    assert said.status == 2
    assert expected in said.err


def test_inspect_and_split(command: Command, shop: str):
    said = command("data", "inspect", shop)
    assert said.status == 0
    assert "rows per user" in said.out
    assert "1970-01-01 to 1970-01-01" in said.out
    said = command("data", "split", shop, "--split", "leave_last_out")
    assert said.status == 0
    assert "test     26     26" in said.out
    assert "did you mean 'leave_last_out'" in command("data", "split", shop, "--split", "leave_one_out").err
    assert "did you mean 'shop'" in command("data", "inspect", "shpo").err


def test_an_append_keeps_ids_and_says_what_is_new(command: Command, home: Path, log: Path, tmp_path: Path):
    words = ["data", "import", log, "--out", tmp_path / "grown", "--column", "user_id=customer"]
    assert command(*words).status == 0
    later = tmp_path / "later.csv"
    later.write_text("customer,item_id,timestamp\nnewcomer,03,99\nu00,new,100\n")
    words[2] = later
    said = command(*words, "--append")
    assert said.status == 0
    assert "2 rows added, 0 rows known, 1 new users, 1 new items" in said.out
    assert Dataset.open(tmp_path / "grown").user_ids()[-1] == "newcomer"
    assert "0 rows added, 2 rows known" in command(*words, "--append").out
    assert "rows before append 1" in command("data", "inspect", tmp_path / "grown").out
    assert "exclude each other" in command(*words, "--append", "--overwrite").err
    assert "no data set to append to" in command(*words[:4], tmp_path / "none", *words[5:], "--append").err


def test_get_from_a_folder_and_without_a_network(command: Command, home: Path, tmp_path: Path):
    (tmp_path / "files").mkdir()
    assert "did you mean 'movielens-1m'" in command("data", "get", "movielens-1").err
    assert "not fetched by a program" in command("data", "get", "yelp").err
    (tmp_path / "files" / "ml-1m.zip").write_bytes(b"another file")
    said = command("data", "get", "movielens-1m", "--from", tmp_path / "files")
    assert said.status == 2
    assert "c4d9eecfca2ab87c1945afe126590906 is published" in said.err
    ratings = "A1YJEY40YUW4SE,B000052YPE,5.0,1391040000"
    (tmp_path / "files" / "reviews_Beauty_5.json.gz").write_text(ratings)
    assert (
        "no meta_Beauty.json.gz here" in command("data", "get", "amazon-2014-Beauty", "--from", tmp_path / "files").err
    )
    assert "above 0" in command("data", "get", "yelp", "--max-size", "0").err


def test_the_page_of_inspect(command: Command, shop: str, tmp_path: Path):
    said = command("data", "inspect", shop, "--html", tmp_path / "shop.html")
    assert said.status == 0
    assert f"page: {tmp_path / 'shop.html'}" in said.out
    assert "The long tail" in (tmp_path / "shop.html").read_text()


def test_generate_and_encode(command: Command, home: Path, tmp_path: Path):
    out = tmp_path / "demo"
    words = ["--users", "30", "--items", "60", "--seed", "3", "--set", "min_rows=9"]
    assert command("data", "generate", "demo", "--out", out, *words).status == 0
    dataset = Dataset.open(out)
    assert (dataset.n_users, dataset.n_items) == (30, 60)
    assert "did you mean" in command("data", "generate", "demo", "--out", tmp_path / "y", "--set", "min_row=9").err
    said = command("encode", out, "--split", "random_per_user")
    assert said.status == 0
    assert set(Dataset.open(out).feature_names) == {"text", "image"}
    said = command("encode", out, "--encoder", "{name: tfidf-svd, dim: 8}", "--fields", "title", "--name", "title")
    assert said.status == 0
    assert Dataset.open(out).info.features["title"].dim == 8
    assert "encoder.dmi: unknown key" in command("encode", out, "-e", "{name: tfidf-svd, dmi: 8}").err


def test_generate_a_twin_with_broken_sounds(command: Command, home: Path):
    pytest.importorskip("av")
    words = ["--users", "20", "--items", "50", "--modalities", "audio,text", "--domain", "twin", "--break", "4%"]
    assert command("data", "generate", "demo", *words).status == 0
    data = Dataset.open(home / "datasets" / "demo-media-twin")
    assert data.item_ids()[0] == "twin-i0001"
    assert data.info.planted is not None
    assert data.info.planted["broken_files"] == 2
    assert "modalities" in command("data", "generate", "demo", "--modalities", "smell").err


def test_an_encoder_whose_extra_is_missing(command: Command, shop: str):
    """IN-3: the extra, the command that installs it, and what can be used instead, in one line."""

    class Clip:
        class Config(Config):
            pass

        def __init__(self, config: Config) -> None:
            require("no_such_package_anywhere", extra="encoders", purpose="encoder 'clip'", instead="use tfidf-svd")

    with registry.registered("sensorium.encoders", "clip", Clip):
        said = command("encode", shop, "--encoder", "clip")
    assert said.status == 2
    assert said.err == (
        "error: encoder 'clip' needs the package 'no_such_package_anywhere', which is not installed: "
        "pip install 'sensorium[encoders]'; or use tfidf-svd\n"
    )
    assert "'clip' is not in encoders" in command("encode", shop, "--encoder", "clip").err
