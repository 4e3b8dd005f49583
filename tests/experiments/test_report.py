"""The page of one run: what it must say, and whose words it must not trust."""

import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from PIL import Image

from sensorium.core.errors import RunError
from sensorium.core.files import read_json, write_json
from sensorium.data.schema import Source
from sensorium.data.store import new_folder, write_tables
from sensorium.experiments.finished import describe_origin, describe_split
from sensorium.experiments.report import _frequency_plot, write_report
from sensorium.experiments.run import run

from .paper import write_run

N_USERS, N_ITEMS = 30, 20
EVIL = "<script>alert('x')</script> & co"


class Page(HTMLParser):
    """What stands in a page: its tags, its text, the addresses that it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.pictures: list[dict[str, str | None]] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.pictures.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    values = np.repeat([0.0, 0.5, 1.0], [40, 40, 20])
    return write_run(tmp_path / "run", values, model="vbpr", features={"image": "unknown"}, notices=("Read <this>.",))


def test_a_report_says_what_came_out_and_what_it_rests_on(paper: Path):
    page = Page(write_report(paper))
    assert "vbpr on paper" in page.text
    for said in (
        "0.4000",  # recall@20
        "[0.3800, 0.4200]",
        "recall@20 over users: 40% have none",
        "users without targets",
        "unreachable targets",
        "repeated pairs",
        "This split uses other users' future",
        "the user's train rows",
        "49 of 50",
        "unknown",
        "epoch 2 of 3 (epochs)",
        "Read <this>.",
        "recall@20 on validation",
    ):
        assert said in page.text, said
    assert page.tags.count("svg") == 5  # users, by length, learning, loss, buckets
    assert "No examples: " in page.text  # the data of a run on paper are nowhere: the report is written all the same


def test_cold_items_are_reported_apart(tmp_path: Path):
    values = np.linspace(0, 1, 50)
    path = write_run(tmp_path / "run", values, split="cold_items", cold=values * 0.2)
    page = Page(write_report(path))
    assert "Cold items among themselves" in page.text
    assert "0.1000" in page.text
    assert "This split uses other users' future" not in page.text


def test_cold_items_that_a_model_does_not_tell_apart_are_said_to_be(tmp_path: Path):
    path = write_run(tmp_path / "run", np.linspace(0, 1, 50), split="cold_items", cold=np.full(50, 0.2))
    assert "does not tell these items apart" not in Page(write_report(path)).text
    result = read_json(path / "result.json")
    result["cold_items"]["among_cold"]["tie_share"] = 1.0
    write_json(path / "result.json", result)
    assert "100% of the lists of cold items alone have a tie" in Page(write_report(path)).text


def test_only_complete_runs_have_a_report(tmp_path: Path):
    path = write_run(tmp_path / "run", np.ones(5), complete=False)
    with pytest.raises(RunError, match="is not complete"):
        write_report(path)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a shop with pictures, one of which is broken, one missing, and one outside the data set's folder."""
    root = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    pairs = [(user, item) for user in range(N_USERS) for item in draw.permutation(N_ITEMS)[:8].tolist()]
    Image.new("RGB", (900, 300), "red").save(root / "secret.png")
    with new_folder(root / "shop") as folder:
        (folder / "media").mkdir()
        for item in range(N_ITEMS):
            Image.new("RGB", (400, 300), (10 * item, 99, 200)).save(folder / "media" / f"{item}.png")
        (folder / "media" / "3.png").write_bytes(b"\x89PNG and then nothing")
        (folder / "media" / "4.png").unlink()
        images = [f"media/{item}.png" for item in range(N_ITEMS)]
        write_tables(
            folder,
            name="shop",
            source=Source(reader="test"),
            interactions=pl.DataFrame(pairs, schema={"user": pl.Int32, "item": pl.Int32}, orient="row"),
            items=pl.DataFrame(
                {
                    "item": pl.Series(range(N_ITEMS), dtype=pl.Int32),
                    "item_id": [f"i{item:02d}" for item in range(N_ITEMS)],
                    "title": [f"{EVIL} {item}" for item in range(N_ITEMS)],
                    "image": [
                        "../secret.png" if item == 5 else None if item == 6 else images[item] for item in range(N_ITEMS)
                    ],
                }
            ),
            users=pl.DataFrame(
                {"user": pl.Series(range(N_USERS), dtype=pl.Int32), "user_id": [f"u{user}" for user in range(N_USERS)]}
            ),
        )
    config = {
        "data": {"dataset": str(root / "shop")},
        "model": "popularity",
        "evaluation": {"ks": [5, 12], "metrics": ["recall", "coverage"]},
        "selection": "recall@5",
    }
    return run(config, out=root / "run").path


def test_examples_show_titles_pictures_and_hits(pictured: Path):
    page = Page(pictured / "report.html")
    users = re.findall(r"User (u\d+)", page.text)
    assert len(users) == 3
    lists = pl.read_parquet(pictured / "lists.parquet")
    for user in users:
        first = lists.filter((pl.col("user_id") == user) & (pl.col("rank") == 1))["item_id"][0]
        assert f"{EVIL} {int(first[1:])}" in page.text
    hits = page.text.count("✓")
    own = pl.read_parquet(pictured / "per_user.parquet").filter(pl.col("user_id").is_in(users))
    assert hits >= int((own["recall@5"] > 0).sum())


def test_words_and_paths_of_others_stay_harmless(pictured: Path):
    page = Page(pictured / "report.html")
    assert "script" not in page.tags
    sources = [picture["src"] or "" for picture in page.pictures]
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    shown = {picture["alt"] for picture in page.pictures if (picture["src"] or "").startswith("data:image/jpeg")}
    empty = {picture["alt"] for picture in page.pictures if (picture["src"] or "").startswith("data:image/gif")}
    numbers = {int((alt or "").rpartition(" ")[2]) for alt in empty}
    assert numbers <= {3, 4, 5, 6}  # broken, missing, outside, none
    assert numbers
    assert not any((alt or "").endswith((" 3", " 4", " 5", " 6")) for alt in shown)
    assert max(map(len, sources)) < 20_000


def test_a_report_repeats_byte_by_byte(pictured: Path):
    before = (pictured / "report.html").read_bytes()
    write_report(pictured)
    assert (pictured / "report.html").read_bytes() == before


def test_origins_and_splits_in_words():
    assert describe_origin("unknown") == "unknown"
    assert describe_origin({"encoder": "tfidf-svd", "fields": ["title"], "key": "0"}) == "tfidf-svd of title"
    assert describe_origin({"reader": "lfm2k", "file": "x.npy"}) == "reader lfm2k, file x.npy"
    assert describe_split({"name": "random_per_user", "unknown": "keep"}) == "random_per_user"
    assert describe_split({"name": "cold_items", "ratio": 0.35}) == "cold_items (ratio=0.35)"


def test_a_curve_by_frequency_needs_three_bins_with_targets():
    def drawn(counts: dict[str, int]) -> list[object]:
        bins = {
            name: {"n": n, "hit_rate@10": 0.1 if n else None, "interval": [0.0, 0.2] if n else None}
            for name, n in counts.items()
        }
        run = SimpleNamespace(result={"by_frequency": bins}, selection="hit_rate@10", model="sasrec")
        return list(_frequency_plot(run))  # type: ignore[arg-type]

    assert len(drawn({"0": 3, "1": 0, "2-3": 4, "4-7": 9})) == 1
    assert drawn({"0": 3, "1": 0, "2-3": 4}) == []
