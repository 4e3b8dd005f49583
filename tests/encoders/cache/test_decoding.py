"""Decoding beside the model: order, limits, and items that kill or hold up their process."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium.core.files import read_json, read_parquet
from sensorium.data.dataset import Dataset
from sensorium.encoders.cache.decoding import Decoder, Refusal
from sensorium.encoders.cache.job import Options
from sensorium.encoders.encode import encode
from sensorium.encoders.protocol import Prepared
from sensorium.media.images import write_image

from .conftest import cache_of, tiny_image, tiny_text, words

from tiny_encoder import Words  # isort: skip

Catalogue = Callable[..., Dataset]


def test_order_is_that_of_the_items() -> None:
    raws: list[str | Path | Refusal] = [" ".join(["x"] * n) for n in range(1, 60)]
    raws[7] = Refusal("absent", "")
    with Decoder(Words(99), workers=3, group=4, ahead=16) as decoder:
        found = list(decoder.outcomes(raws))
    assert [outcome.length if isinstance(outcome, Prepared) else 0 for outcome in found] == [
        0 if n == 8 else n for n in range(1, 60)
    ]


def test_no_more_than_asked_is_decoded_ahead() -> None:
    asked = 0

    def raws():  # type: ignore[no-untyped-def]
        nonlocal asked
        for n in range(1000):
            asked += 1
            yield f"word{n}"

    with Decoder(Words(9), workers=2, group=5, ahead=40) as decoder:
        outcomes = decoder.outcomes(raws())
        for _ in range(300):
            next(outcomes)
        assert 300 < asked <= 300 + 40 + 2 * 5
        outcomes.close()  # type: ignore[attr-defined]


def test_large_items_wait_in_small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensorium.encoders.cache.decoding.AHEAD_BYTES", 800)  # ten texts of ten words
    asked = 0

    def raws():  # type: ignore[no-untyped-def]
        nonlocal asked
        for _ in range(500):
            asked += 1
            yield " ".join(["word"] * 10)

    with Decoder(Words(20), workers=2, group=2, ahead=256) as decoder:
        outcomes = decoder.outcomes(raws())
        for _ in range(100):
            next(outcomes)
        assert asked <= 100 + 10 + 2 * 2
        outcomes.close()  # type: ignore[attr-defined]


def test_items_that_kill_or_hang_cost_themselves(catalogue: Catalogue) -> None:
    texts = [*words(60), "DIE now", *words(40, seed=1), "HANG on"]
    dataset = encode(catalogue(title=texts), tiny_text(), options=Options(workers=2, seconds=4))
    rejected = read_parquet(cache_of(dataset) / "rejected.parquet")
    assert dict(zip(rejected["item"], rejected["reason"], strict=True)) == {60: "worker_died", 101: "timeout"}
    assert dataset.features("text").present.sum() == 100
    texts[60], texts[101] = "do ba", "ki lu"
    mended = encode(catalogue(title=texts), tiny_text(), options=Options(workers=0))
    assert mended.features("text").present.all()


# --- pictures among which some are broken -----------------------------------------------------------------------------


def picture(shade: int = 90) -> Image.Image:
    draw = np.random.default_rng(shade)
    return Image.fromarray(draw.integers(0, 255, (24, 32, 3), dtype=np.uint8))


def test_bad_media_among_good(catalogue: Catalogue) -> None:
    """EN-2, EN-3: exact counts and reasons; the rest is not touched."""
    names: list[str | None] = [f"{item}.png" for item in range(20)]
    names += [None, "", "gone.png", "../outside.png"]
    dataset = catalogue(image=names)
    root = dataset.root
    for item in range(20):
        write_image(root / f"{item}.png", picture(item))
    good = read_states(encode(dataset, tiny_image(), options=Options(workers=0)))
    whole = (root / "0.png").read_bytes()
    (root / "0.png").write_bytes(whole[: len(whole) // 2])  # truncated
    (root / "1.png").write_bytes(b"")
    (root / "2.png").write_text("<html>not found</html>")
    picture(3).convert("CMYK").save(root / "3.png", format="JPEG")
    Image.fromarray((np.arange(600, dtype=np.uint16) * 100).reshape(20, 30)).save(root / "4.png")
    picture(5).convert("P").save(root / "5.png", transparency=0)
    picture(6).convert("RGBA").save(root / "6.png")
    Image.new("RGB", (1, 1)).save(root / "7.png")
    Image.new("RGB", (1, 4000)).save(root / "8.png")
    picture(9).save(root / "9.png", format="GIF", save_all=True, append_images=[picture(1)])
    (root / "10.png").write_bytes(huge_header())
    encoded = encode(dataset, tiny_image(), options=Options(workers=2))
    folder = cache_of(encoded, "image")
    rejected = read_parquet(folder / "rejected.parquet")
    assert dict(zip(rejected["item"], rejected["reason"], strict=True)) == {
        0: "truncated", 1: "undecodable", 2: "undecodable", 10: "too_large", 22: "missing_file", 23: "missing_file",
    }  # fmt: skip
    counts = read_json(folder / "manifest.json")["counts"]
    assert (counts["present"], counts["absent"], counts["rejected"]) == (16, 2, 6)
    states = read_states(encoded)
    assert np.isfinite(states).all()
    assert (states[11:20] == good[11:20]).all()
    assert (np.abs(states[3:10]).sum((1, 2)) > 0).all()
    assert np.allclose(states[6], good[6], atol=2e-3)

    write_image(root / "0.png", picture(0))  # mended
    write_image(root / "gone.png", picture(22))
    encoded = encode(encoded, tiny_image(), options=Options(workers=0))
    assert read_parquet(folder / "rejected.parquet")["item"].to_list() == [1, 2, 10, 23]
    assert np.allclose(read_states(encoded)[0], good[0], atol=2e-3)


def test_one_forward_for_each_changed_picture(catalogue: Catalogue) -> None:
    from tiny_encoder import TinyText

    names = [f"{item}.png" for item in range(300)]
    dataset = catalogue(image=names)
    for item in range(300):
        write_image(dataset.root / f"{item}.png", picture(item))
    old = read_states(encode(dataset, tiny_image(), options=Options(workers=0)))
    write_image(dataset.root / "77.png", picture(900))
    for item in (300, 301):
        write_image(dataset.root / f"{item}.png", picture(item))
    TinyText.forwarded = 0
    new = read_states(encode(catalogue(image=[*names, "300.png", "301.png"]), tiny_image(), options=Options(workers=0)))
    assert TinyText.forwarded == 3
    untouched = np.delete(np.arange(300), 77)
    assert (new[untouched] == old[untouched]).all()
    assert (new[77] != old[77]).any()
    assert new[300:].any((1, 2)).all()


def read_states(dataset: Dataset) -> np.ndarray:
    return np.load(cache_of(dataset, "image") / "states.npy").astype(np.float32)


def huge_header() -> bytes:
    """A PNG that says it is 20,000 x 10,000 pixels."""
    import struct
    import zlib

    head = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0)
    body = b"IDAT" + zlib.compress(b"\0")
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (head, body)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_text_that_is_no_utf8(catalogue: Catalogue) -> None:
    texts = [b"na po", b"caf\xe9", None, b"ru"]
    dataset = encode(catalogue(title=texts), tiny_text(), options=Options(workers=0))
    assert dataset.features("text").present.tolist() == [True, False, False, True]
    rejected = read_parquet(cache_of(dataset) / "rejected.parquet")
    assert rejected["reason"].to_list() == ["not_utf8"]
    assert "byte 3" in rejected["detail"][0]


def test_real_life_text(catalogue: Catalogue) -> None:
    """EN-9: entities, tags, right-to-left, emoji, very long, only spaces."""
    texts = ["Men&#39;s &amp; Boys", "<br>", "שלום עולם", "👟 shoe", "word " * 4000, "   "]
    dataset = encode(catalogue(title=texts), tiny_text(), options=Options(workers=0))
    assert dataset.features("text").present.tolist() == [True, False, True, True, True, False]
    assert read_json(cache_of(dataset) / "manifest.json")["counts"]["truncated"] == 1


def test_a_file_that_changes_meanwhile_stops(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    from sensorium.core.errors import DataError
    from sensorium.encoders.cache.chunks import Runner

    dataset = catalogue(image=["a.png"])
    write_image(dataset.root / "a.png", picture())
    real = Runner.encode

    def late(self: Runner, *arguments: object) -> object:
        write_image(dataset.root / "a.png", picture(7))
        return real(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "encode", late)
        with pytest.raises(DataError, match=r"a\.png has changed while"):
            encode(dataset, tiny_image(), options=Options(workers=0))
    assert encode(dataset, tiny_image(), options=Options(workers=0)).features("image").present.all()


def test_memo_of_hashes(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read once; `rehash` reads them again and sees what size and time of change do not tell."""
    import os

    from sensorium.encoders import memo

    read: list[str] = []
    real = memo.file_digest
    monkeypatch.setattr(memo, "file_digest", lambda path: read.append(path.name) or real(path))
    dataset = catalogue(image=["a.png", "b.png"])
    for name, shade in (("a.png", 1), ("b.png", 2)):
        Image.new("RGB", (8, 8), (shade, shade, shade)).save(dataset.root / name, format="BMP")
    encode(dataset, tiny_image(), options=Options(workers=0))
    assert read == ["a.png", "b.png"]
    encode(dataset, tiny_image(), options=Options(workers=0))
    assert read == ["a.png", "b.png"]
    stamp = (dataset.root / "a.png").stat()
    Image.new("RGB", (8, 8), (200, 200, 200)).save(dataset.root / "a.png", format="BMP")
    os.utime(dataset.root / "a.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    before = read_states(dataset)[0]
    encode(dataset, tiny_image(), options=Options(workers=0))
    assert (read_states(dataset)[0] == before).all()
    encode(dataset, tiny_image(), options=Options(workers=0, rehash=True))
    assert (read_states(dataset)[0] != before).any()


def test_sound_of_a_clip(catalogue: Catalogue) -> None:
    """An item without a sound file lends its clip's; a sound file comes first."""
    from sensorium.encoders.contents import read_contents

    dataset = catalogue(audio=["s.wav", None, None], video=["v.mp4", "v.mp4", None])
    (dataset.root / "s.wav").write_bytes(b"s")
    (dataset.root / "v.mp4").write_bytes(b"v")
    contents = read_contents(dataset, "audio")
    assert contents.values == ["s.wav", "v.mp4", ""]
    assert [contents.lent(item) for item in range(3)] == [False, True, False]
    assert read_contents(dataset, "audio", ["audio"]).values == ["s.wav", "", ""]
