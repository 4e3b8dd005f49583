"""Raw content becomes arrays: the same in every process, padded and cut as the cards say."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium.core.errors import DataError
from sensorium.encoders.preparing.image import ImagePreparer
from sensorium.encoders.preparing.text import TextPreparer
from sensorium.encoders.preparing.video import FramePreparer
from sensorium.media.errors import MediaError
from sensorium.media.images import encode_image
from sensorium.media.moments import read_moments
from sensorium.media.video import write_video

tokenizers = pytest.importorskip("tokenizers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "fox", "café", "runs", "passage", ":"]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """A BERT-like tokeniser, whose file pads on the left to 64 and cuts at 1,000: neither is what we do."""
    built = tokenizers.Tokenizer(tokenizers.models.WordPiece({w: n for n, w in enumerate(WORDS)}, unk_token="[UNK]"))
    built.normalizer = tokenizers.normalizers.Lowercase()
    built.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    built.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    built.enable_padding(direction="left", pad_id=5, length=64)
    built.enable_truncation(1_000)
    built.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": {"content": "[PAD]"}, "model_max_length": 1e30}')
    return tmp_path


def ids(preparer: TextPreparer, text: str | bytes) -> list[int]:
    return preparer(text).arrays["input_ids"].tolist()


# --- text -----------------------------------------------------------------------------------------------------------


def test_text_is_framed_lowered_and_not_padded(tokenizer: Path) -> None:
    prepared = TextPreparer(tokenizer, 128)("A RED fox")
    assert prepared.arrays["input_ids"].tolist() == [2, 5, 6, 7, 3]
    assert prepared.arrays["input_ids"].dtype == np.int64
    assert prepared.arrays["token_type_ids"].tolist() == [0] * 5
    assert (prepared.length, prepared.pieces, prepared.notes) == (5, 1, frozenset())


def test_long_text_is_cut_on_the_right_and_noted(tokenizer: Path) -> None:
    """EN-9: 20,000 characters."""
    prepared = TextPreparer(tokenizer, 6)("red fox runs " * 1_500)
    assert prepared.arrays["input_ids"].tolist() == [2, 6, 7, 9, 6, 3]
    assert prepared.notes == {"truncated"}
    assert not TextPreparer(tokenizer, 5)("red fox runs").notes


def test_prefix_and_padding_id_enter_the_facts(tokenizer: Path) -> None:
    plain, passage = TextPreparer(tokenizer, 16), TextPreparer(tokenizer, 16, "passage: ")
    assert ids(passage, "fox") == [2, 10, 11, 7, 3]
    assert passage.facts != plain.facts
    assert plain.pad_id == 0  # [PAD], not the 5 of the padding section
    (tokenizer / "tokenizer_config.json").write_text('{"eos_token": "[SEP]"}')
    assert TextPreparer(tokenizer, 16).pad_id == 3  # no padding token: the end of text


def test_another_tokenizer_is_another_encoder(tokenizer: Path) -> None:
    before = TextPreparer(tokenizer, 16).facts
    file = tokenizer / "tokenizer.json"
    file.write_text(file.read_text().replace('"fox"', '"dog"'))
    assert TextPreparer(tokenizer, 16).facts != before


@pytest.mark.parametrize(("raw", "reason"), [("", "empty"), ("  \n", "empty"), (b"caf\xe9", "not_utf8")])
def test_text_that_is_none(tokenizer: Path, raw: str | bytes, reason: str) -> None:
    with pytest.raises(MediaError) as caught:
        TextPreparer(tokenizer, 16)(raw)
    assert caught.value.reason == reason
    with pytest.raises(MediaError, match="not UTF-8"):
        TextPreparer(tokenizer, 16)("half \ud83d pair")


def test_text_preparer_is_refused_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no tokenizer\.json"):
        TextPreparer(tmp_path, 16)
    (tmp_path / "tokenizer.json").write_text("{ cut")
    with pytest.raises(DataError, match="cannot be read"):
        TextPreparer(tmp_path, 16)


# --- pictures -------------------------------------------------------------------------------------------------------


def picture(width: int, height: int) -> Image.Image:
    across = np.linspace(0, 255, width)[None].repeat(height, 0)
    down = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([across, down, np.full_like(across, 40)], -1).astype(np.uint8))


def test_pad_keeps_the_shape_on_white() -> None:
    preparer = ImagePreparer((40, 60), "pad", (0, 0, 0), (1, 1, 1))
    pixels = preparer(encode_image(picture(50, 100), "PNG")).arrays["pixels"]
    assert pixels.shape == (3, 40, 60)
    assert pixels.dtype == np.float32
    assert (pixels[:, :, :20] == 1).all()
    assert (pixels[:, :, 40:] == 1).all()
    assert pixels[2, :, 20:40] == pytest.approx(40 / 255, abs=0.01)
    assert (np.diff(pixels[1, :, 30]) > 0).all()


def test_squash_fills_and_crop_takes_the_middle() -> None:
    squashed = ImagePreparer((40, 40), "squash", (0, 0, 0), (1, 1, 1))(encode_image(picture(100, 50), "PNG"))
    assert squashed.arrays["pixels"][0, 20, [0, -1]] == pytest.approx([0, 1], abs=0.03)
    cropped = ImagePreparer((40, 40), "crop", (0, 0, 0), (1, 1, 1))(encode_image(picture(100, 50), "PNG"))
    edge = (100 - 50 * 0.875) / 2 / 100  # of the width, left of the window
    assert cropped.arrays["pixels"][0, 20, [0, -1]] == pytest.approx([edge, 1 - edge], abs=0.02)
    assert cropped.arrays["pixels"][1, [0, -1], 20] == pytest.approx([0.0625, 0.9375], abs=0.02)


def test_normalisation_is_by_channel() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.2)
    pixels = ImagePreparer((8, 8), "squash", mean, std)(encode_image(Image.new("RGB", (9, 9), (255, 0, 51)), "PNG"))
    expected = (np.array([1, 0, 0.2]) - mean) / std
    assert np.allclose(pixels.arrays["pixels"][:, 4, 4], expected, atol=1e-6)


@pytest.mark.parametrize("geometry", ["pad", "squash", "crop"])
@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (3, 5)])
def test_no_side_becomes_nothing(geometry: str, size: tuple[int, int]) -> None:
    """EN-2: 1x1 and 1x4000."""
    content = encode_image(Image.new("RGB", size, (10, 20, 30)), "PNG")
    prepared = ImagePreparer((32, 32), geometry, (0, 0, 0), (1, 1, 1))(content)  # type: ignore[arg-type]
    assert prepared.arrays["pixels"].shape == (3, 32, 32)
    assert prepared.arrays["pixels"][0].min() < 0.99  # something of it is seen


def test_resizing_is_antialiased() -> None:
    """A one-pixel chessboard becomes grey, not a pattern of picked pixels."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    content = encode_image(Image.fromarray(board), "PNG")
    pixels = ImagePreparer((30, 30), "squash", (0, 0, 0), (1, 1, 1))(content).arrays["pixels"]
    assert np.abs(pixels - 0.5).max() < 0.05


def test_impossible_pictures_are_refused() -> None:
    for options in ({"size": (0, 3)}, {"geometry": "fit"}, {"std": (1, 0, 1)}, {"interpolation": "magic"}):
        with pytest.raises(DataError, match="cannot be"):
            ImagePreparer(**options)  # type: ignore[arg-type]


# --- clips ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames at 10 per second; brightness 5 times the frame's number."""
    path = tmp_path_factory.mktemp("clips") / "ramp.mp4"
    write_video(path, [np.full((32, 48, 3), 5 * place, np.uint8) for place in range(40)], 10)
    return path


def frames_of(path: Path, count: int, choice: str = "uniform") -> list[int]:
    preparer = FramePreparer(ImagePreparer((8, 8), "squash", (0, 0, 0), (1, 1, 1)), count, choice)  # type: ignore[arg-type]
    pixels = preparer(path).arrays["pixels"]
    assert pixels.shape == (count, 3, 8, 8)
    return np.rint(pixels.mean((1, 2, 3)) * 51).astype(int).tolist()


def test_uniform_takes_the_midpoints_of_equal_parts(ramp: Path) -> None:
    assert np.abs(np.array(frames_of(ramp, 8)) - [2, 7, 12, 17, 22, 27, 32, 37]).max() <= 1
    assert abs(frames_of(ramp, 1)[0] - 20) <= 1


def test_center_takes_neighbours_around_the_middle(ramp: Path) -> None:
    assert np.abs(np.array(frames_of(ramp, 5, "center")) - [18, 19, 20, 21, 22]).max() <= 1


def test_bytes_are_read_as_the_file_is(ramp: Path) -> None:
    preparer = FramePreparer(ImagePreparer((8, 8)), 4)
    assert (preparer(ramp.read_bytes()).arrays["pixels"] == preparer(ramp).arrays["pixels"]).all()
    prepared = preparer(ramp)
    assert (prepared.length, prepared.pieces, prepared.notes) == (4, 4, frozenset())


def test_one_frame_repeats(tmp_path: Path) -> None:
    write_video(tmp_path / "one.mp4", [np.full((32, 48, 3), 100, np.uint8)], 24)
    for choice in ("uniform", "center"):
        assert frames_of(tmp_path / "one.mp4", 4, choice) == [20] * 4


def test_a_cut_clip_is_used_up_to_the_cut(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    frames = [np.clip(5 * place + noise.integers(-4, 4, (64, 64, 3)), 0, 255).astype(np.uint8) for place in range(40)]
    write_video(tmp_path / "cut.mp4", frames, 10)
    content = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    prepared = FramePreparer(ImagePreparer((8, 8), "squash", (0, 0, 0), (1, 1, 1)), 4)(tmp_path / "cut.mp4")
    assert prepared.notes == {"partial"}
    shown = prepared.arrays["pixels"].mean((1, 2, 3)) * 51
    assert (np.diff(shown) > 1).all()  # four different moments of the part that is left
    assert shown[-1] < 30


def test_long_clips_are_sought_and_show_the_same_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """70 s at 4 frames a second: the frames that decoding everything would have picked."""
    levels = [np.full((32, 48, 3), place % 200, np.uint8) for place in range(280)]
    write_video(tmp_path / "long.mp4", levels, 4)
    sought = read_moments(tmp_path / "long.mp4", 8, "uniform", lambda pixels: float(pixels.mean()))
    monkeypatch.setattr("sensorium.media.moments.SEQUENTIAL_SECONDS", 1e9)
    decoded = read_moments(tmp_path / "long.mp4", 8, "uniform", lambda pixels: float(pixels.mean()))
    assert sought.pictures == decoded.pictures
    assert np.allclose(sought.seconds, decoded.seconds)
    assert sought.span == pytest.approx(70)
    assert not sought.partial


def test_sound_alone_has_no_pictures(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        track = container.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    with pytest.raises(MediaError) as caught:
        FramePreparer(ImagePreparer((8, 8)))(tmp_path / "sound.mp4")
    assert caught.value.reason == "no_video_stream"


# --- all of them ----------------------------------------------------------------------------------------------------


def test_preparers_travel_and_come_back_equal(tokenizer: Path, ramp: Path) -> None:
    text, image = TextPreparer(tokenizer, 16), ImagePreparer((8, 8))
    text("fox")
    for preparer, raw in ((text, "red fox"), (image, encode_image(picture(5, 9), "PNG")), (FramePreparer(image), ramp)):
        far = pickle.loads(pickle.dumps(preparer))  # noqa: S301 - as multiprocessing does
        assert far.facts == preparer.facts
        for name, values in preparer(raw).arrays.items():  # type: ignore[operator]
            assert (far(raw).arrays[name] == values).all()


def test_workers_stay_without_torch() -> None:
    names = ", ".join(f"sensorium.encoders.preparing.{name}" for name in ("text", "image", "video"))
    code = f"import sys, {names}; assert not {{'torch', 'transformers'}} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], check=True)
