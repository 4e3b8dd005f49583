"""The demo catalogue with sounds and clips: four contents, each with a part of the taste that the others lack."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import cross_val_score
from tests.data.demo.test_generate import fingerprints

from sensorium.core.config import build
from sensorium.core.errors import ConfigError
from sensorium.data.dataset import Dataset
from sensorium.data.demo import DemoConfig, generate_demo, read_truth
from sensorium.data.demo.clips import draw_clip
from sensorium.data.demo.covers import draw_cover
from sensorium.data.demo.sounds import draw_sound
from sensorium.data.demo.texts import write_texts
from sensorium.data.demo.world import FACTORS, FORMATION, RHYTHM, make_world
from sensorium.media.errors import MediaError
from sensorium.media.images import read_image
from sensorium.media.moments import Clip, read_moments
from sensorium.media.sound import read_sound
from sensorium.media.video import probe

pytest.importorskip("av")
ALL = ("text", "image", "audio", "video")
SIZE = {"users": 60, "items": 60}


def moments(path: Path) -> Clip:
    return read_moments(path, 8, "uniform", lambda pixels: pixels.shape)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return generate_demo(tmp_path_factory.mktemp("media") / "shop", modalities=ALL, broken=0.1, **SIZE)


def test_files_are_what_they_are_called(shop: Dataset) -> None:
    assert shop.info.name == "demo-media"
    items = shop.items().collect()
    assert items.columns == ["item", "item_id", "title", "description", "image", "audio", "video"]
    broken = set(pl.read_parquet(shop.root / "planted" / "broken.parquet")["file"])
    for column in ("audio", "video"):
        assert 0 < items[column].null_count() < 8
    sounds = [file for file in items["audio"].drop_nulls() if file not in broken]
    clips = [file for file in items["video"].drop_nulls() if file not in broken]
    assert len(sounds) > 45
    assert len(clips) > 45
    for file in sounds[:5]:
        heard = read_sound(shop.media_path(file))
        assert (heard.seconds, heard.cut_short) == (pytest.approx(2.4, abs=0.01), False)
    for file in clips[:5]:
        info = probe(shop.media_path(file))
        assert (info.codec, info.width, info.height, info.has_sound) == ("h264", 96, 96, True)
        assert read_sound(shop.media_path(file)).seconds == pytest.approx(2, abs=0.1)
        assert moments(shop.media_path(file)).pictures == [(96, 96, 3)] * 8


def test_damage_is_recorded_and_real(shop: Dataset) -> None:
    """A tenth of each kind; every damaged file is refused, or read as far as it goes and called cut short."""
    broken = pl.read_parquet(shop.root / "planted" / "broken.parquet")
    assert shop.info.planted is not None
    assert shop.info.planted["broken_files"] == len(broken) == 18
    assert broken["column"].value_counts().sort("column")["count"].to_list() == [6, 6, 6]
    assert set(broken.filter(pl.col("column") == "video")["fault"]) == {"cut", "empty", "page", "sound_alone"}
    items = shop.items().collect()
    for row in broken.iter_rows(named=True):
        path = shop.media_path(row["file"])
        assert items[row["column"]][row["item"]] == row["file"]
        if row["fault"] == "cut" and row["column"] != "image":
            cut = read_sound(path).cut_short if row["column"] == "audio" else moments(path).partial
            assert cut, row
        else:
            with pytest.raises(MediaError):
                {"image": read_image, "audio": read_sound, "video": moments}[row["column"]](path)


def test_two_runs_give_the_same_bytes_and_old_contents_stay(tmp_path: Path) -> None:
    small = {"users": 20, "items": 50, "missing": 0.7}
    one = generate_demo(tmp_path / "one", modalities=ALL, broken="2%", **small)
    two = generate_demo(
        tmp_path / "two", DemoConfig(modalities=("video", "image", "audio", "text")), broken=0.02, **small
    )
    assert fingerprints(one.root) == fingerprints(two.root)
    plain = generate_demo(tmp_path / "plain", **small)
    shown = ["title", "description", "image"]
    assert one.items().select(shown).collect().equals(plain.items().select(shown).collect())
    assert one.fingerprint() != plain.fingerprint()  # sounds and clips are liked too: other rows


def test_a_domain_shares_the_laws_and_no_item(tmp_path: Path) -> None:
    """Transfer: the same vocabulary and styles, other items and users."""
    here = generate_demo(tmp_path / "here", users=100, items=120)
    there = generate_demo(tmp_path / "there", users=100, items=120, domain="twin")
    assert there.info.name == "demo-twin"
    for ids in (Dataset.item_ids, Dataset.user_ids):
        assert ids(there)[0].startswith("twin-")
        assert ids(there).is_sorted()
        assert not set(ids(here)) & set(ids(there))
    assert not set(here.items().collect()["description"].drop_nulls()) & set(
        there.items().collect()["description"].drop_nulls()
    )
    covers = [set(fingerprints(data.root / "covers").values()) for data in (here, there)]
    assert not covers[0] & covers[1]

    def learned(source: Dataset, target: Dataset) -> float:
        """Return how well a classifier of topics by words, trained on one catalogue, does on the other."""
        texts = [data.items().collect()["description"].fill_null("").to_list() for data in (source, target)]
        topics = [read_truth(data.root).items["topic"].to_list() for data in (source, target)]
        words = TfidfVectorizer().fit(texts[0])
        model = RidgeClassifier().fit(words.transform(texts[0]), topics[0])
        return float(model.score(words.transform(texts[1]), topics[1]))

    assert learned(here, there) > 0.8


def test_options_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="modalities"):
        build(DemoConfig, {"modalities": ["smell"]}, source="test")
    with pytest.raises(ConfigError, match="broken"):
        build(DemoConfig, {"broken": "120%"}, source="test")
    with pytest.raises(ConfigError, match="broken"):
        build(DemoConfig, {"broken": "some%"}, source="test")
    with pytest.raises(ConfigError, match="domain"):
        build(DemoConfig, {"domain": "../up"}, source="test")


# --- what each content carries ---


def _of_texts(world, kinds: dict[str, tuple[str, ...]]) -> np.ndarray:
    titles, descriptions = write_texts(world.item["topic"], kinds["topic"], 0, 0.0)
    texts = [f"{title}. {words}" for title, words in zip(titles, descriptions, strict=True)]
    return TfidfVectorizer().fit_transform(texts).toarray()


def _of_covers(world, kinds: dict[str, tuple[str, ...]]) -> np.ndarray:
    """Colours, and how often they change: histograms of the values, and of their steps, per channel."""
    rows = []
    for item in range(world.n_items):
        cover = np.asarray(draw_cover(world.item["style"][item], kinds["style"], 0, item), dtype=float)
        steps = np.abs(np.diff(cover, axis=1))
        rows.append(
            np.concatenate(
                [np.histogram(part[..., c], 12, (0, 256))[0] for part in (cover, 4 * steps) for c in range(3)]
            )
        )
    return np.sqrt(np.array(rows))


def _of_sounds(world, kinds: dict[str, tuple[str, ...]]) -> np.ndarray:
    """The mean spectrum in bands of a third, its spread over time, and how loudness repeats itself."""
    rows = []
    edges = np.unique(np.round(4 * 2 ** (np.arange(22) / 3))).astype(int)
    for item in range(world.n_items):
        shares = world.item["style"][item], world.item["rhythm"][item]
        samples = draw_sound(shares[0], kinds["style"], shares[1], kinds["rhythm"], 0, item)
        frames = np.lib.stride_tricks.sliding_window_view(samples, 512)[::160] * np.hanning(512)
        power = np.abs(np.fft.rfft(frames, 1024)) ** 2
        bands = np.log(np.add.reduceat(power, edges[edges < 513], axis=1) + 1e-3)
        loud = bands.mean(1) - bands.mean()
        echo = np.correlate(loud, loud, "full")[len(loud) :][:100] / (loud @ loud)
        rows.append(np.concatenate([bands.mean(0), bands.std(0), np.abs(np.diff(bands, axis=0)).mean(0), echo]))
    return np.array(rows)


def _of_clips(world, kinds: dict[str, tuple[str, ...]]) -> np.ndarray:
    """The spectrum of one picture's shape, and where and when it changes."""
    rows = []
    for item in range(world.n_items):
        shares = world.item["topic"][item], world.item["formation"][item]
        frames = draw_clip(shares[0], kinds["topic"], shares[1], kinds["formation"], 0, item).frames
        grey = frames.astype(float).mean(-1)
        grey -= np.median(grey, axis=2, keepdims=True)
        shape = np.abs(grey) > 25
        across, down = shape.mean(1), shape.mean(2)  # [24, 96]: the bodies' shadow on two sides
        moved = [np.abs(np.fft.rfft2(shadow))[:8, :12].ravel() for shadow in (across, down)]
        spectrum = np.abs(np.fft.rfft2(shape.astype(float)))[:14, :12, :12].mean(0).ravel()
        area = shape[:14].mean((1, 2))
        rows.append(np.concatenate([*moved, spectrum, [area.mean(), area.std()]]))
    return np.log(np.array(rows) + 0.1)


def test_each_content_carries_a_part_that_the_other_three_lack() -> None:
    """A probe over plain descriptions of the content: which trait can be told by which (docs/data.md has the table)."""
    world = make_world(DemoConfig(items=140, users=10, modalities=ALL, shared=0.0))
    kinds = {factor.name: factor.kinds for factor in (*FACTORS, RHYTHM, FORMATION)}
    described = {"text": _of_texts, "image": _of_covers, "audio": _of_sounds, "video": _of_clips}
    accuracy: dict[tuple[str, str], float] = {}
    for modality, describe in described.items():
        x = describe(world, kinds)
        x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
        for factor in kinds:
            truth = world.item[factor].argmax(1)
            accuracy[modality, factor] = cross_val_score(RidgeClassifier(alpha=100.0), x, truth, cv=3).mean()
    chance = {factor: 1 / len(names) for factor, names in kinds.items()}
    own = {"text": "topic", "image": "style", "audio": "rhythm", "video": "formation"}
    for modality in ALL:
        assert accuracy[modality, own[modality]] > 0.7, (modality, accuracy)
        for other in set(ALL) - {modality}:
            part = {("audio", "style"), ("video", "topic")}  # what they share with covers and words: half of it
            limit = 0.5 if (other, own[modality]) in part else chance[own[modality]] + 0.12
            assert accuracy[other, own[modality]] < limit, (other, own[modality], accuracy)
        assert accuracy[modality, "circle"] < chance["circle"] + 0.12
    assert accuracy["audio", "style"] > 2 * chance["style"]
    assert accuracy["video", "topic"] > 1.5 * chance["topic"]
