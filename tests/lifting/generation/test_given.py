"""Photos that are given as arrays: what is taken, what is refused, and what their run keeps."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium.core.config import build, dump
from sensorium.core.errors import ConfigError, DataError, RunError
from sensorium.core.rundir import RunDirectory
from sensorium.lifting.generation.config import LiftConfig
from sensorium.lifting.generation.given import STORED, ArrayPhoto, array_photo, store, stored


def pixels(height: int = 20, width: int = 30, channels: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, channels)).astype(np.uint8)


def made(photo: object) -> LiftConfig:
    return build(LiftConfig, {"photo": photo, "guidance": "none"}, source="here")


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.float16, np.float32, np.float64])
def test_bytes_and_floats_are_one_photo(channels: int, kind: type) -> None:
    given = pixels(channels=channels)
    other = given if kind is np.uint8 else (given / 255).astype(kind)
    assert array_photo(other) == array_photo(given)
    np.testing.assert_array_equal(array_photo(other).pixels, given)


def test_a_later_change_of_the_array_changes_nothing() -> None:
    given = pixels()
    photo = array_photo(given)
    given[:] = 0
    assert photo.pixels.any()


def test_all_opaque_is_no_transparency() -> None:
    given = pixels()
    given[..., 3] = 255
    assert array_photo(given) == array_photo(given[..., :3])
    assert array_photo(given).pixels.shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8), np.uint8), r"not \[8, 8\].*stacked"),
        (np.zeros((3, 8, 8), np.uint8), r"not \[3, 8, 8\].*channels to the end"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"not \[1, 8, 8, 3\].*one photo"),
        (np.zeros((0, 8, 3), np.uint8), r"not \[0, 8, 3\]"),
        (np.zeros((8, 8, 3), np.int64), "not int64"),
        (np.zeros((8, 8, 3), bool), "not bool"),
        (np.full((8, 8, 3), 200.0), "row 0, column 0, channel 0 it has 200"),
        (np.where(np.arange(192).reshape(8, 8, 3) == 100, np.nan, 0.5), "row 4, column 1, channel 1 it has nan"),
        (np.broadcast_to(np.uint8(1), (10_001, 10_000, 3)), "at most 100 megapixels"),
    ],
)
def test_what_is_no_photo_is_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        array_photo(array)
    with pytest.raises(ConfigError, match=rf"here: photo: .*{message}"):
        made(array)


def test_other_things_are_no_photo() -> None:
    with pytest.raises(ConfigError, match=r"photo: a picture's file, or an array .*not list"):
        made([[1, 2], [3, 4]])
    assert made(Path("a") / "cup.png").photo == "a/cup.png"


def test_a_configuration_names_it_and_comes_back() -> None:
    config = made(pixels())
    assert isinstance(config.photo, ArrayPhoto)
    tree = dump(config)
    assert tree["photo"] == config.photo.name
    assert made(config.photo) == config
    again = build(LiftConfig, tree, source="config.yaml")
    assert dump(again) == tree
    assert again.photo_name == config.photo_name == config.photo.name.replace(":", "-")
    assert made(pixels(channels=3)).photo_name != config.photo_name


def test_the_folder_of_its_run_keeps_it(tmp_path: Path) -> None:
    for number, given in enumerate([pixels(), pixels(channels=3)]):
        photo = array_photo(given)
        run = RunDirectory.create(tmp_path / str(number), dump(made(photo)))
        with pytest.raises(RunError, match="killed before it stored"):
            stored(run, photo.name)
        store(run, photo)
        found = stored(run, photo.name)
        assert found == photo
        np.testing.assert_array_equal(found.pixels, photo.pixels)
    with pytest.raises(DataError, match=r"give the array, or that folder's photo\.png"):
        stored(None, photo.name)
    Image.fromarray(pixels(9, 9)).save(run.path / STORED)
    with pytest.raises(RunError, match=r"photo\.png is not the photo"):
        stored(run, photo.name)
