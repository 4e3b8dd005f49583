import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.judging.cells import VideoCell
from sensorium.judging.judges.base import pixels_digest
from sensorium.judging.judges.scripted import pixels
from sensorium.judging.sampling import (
    GREY,
    Grid,
    HalfSecond,
    Sampling,
    foretell,
    half_second_indices,
    indices_at_rate,
    take_pictures,
    thin,
)
from sensorium.media.errors import MediaError
from sensorium.media.video import write_video

from ..media.clips import grey, turn, write_variable_rate
from .videos import write_clip


@pytest.mark.parametrize(
    ("frames", "fps", "count"),
    [(16, 8, 5), (16, 10, 4), (29, 8, 8), (72, 24, 7), (49, 8, 13), (153, 30, 12), (256, 24, 23)],
)
def test_golden_counts(frames: int, fps: float, count: int) -> None:
    """The counts of the seven generators' formats."""
    indices = half_second_indices(frames, fps)
    assert len(indices) == count
    assert indices[0] == 1
    assert indices[-1] == frames - 1


def test_the_edges_of_the_rule() -> None:
    """N = 1 and f < 2, where the released rule never ends."""
    assert half_second_indices(1, 24) == [0]
    assert half_second_indices(2, 24) == [1]
    assert half_second_indices(3, 24) == [1, 2]
    assert half_second_indices(5, 1) == [1, 2, 3, 4]
    assert half_second_indices(4, 0.1) == [1, 2, 3]
    assert half_second_indices(16, 8) == [1, 5, 9, 13, 15]


@given(st.integers(1, 2000), st.floats(0.05, 240))
def test_indices_rise_stay_inside_and_end_with_the_last(frames: int, fps: float) -> None:
    indices = half_second_indices(frames, fps)
    assert indices[-1] == frames - 1
    assert all(first < second for first, second in pairwise(indices))
    assert min(indices) >= 0


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300, unique=True).map(sorted), st.integers(2, 40))
def test_thinning_keeps_the_ends_and_spreads_evenly(indices: list[int], most: int) -> None:
    kept = thin(indices, most)
    assert len(kept) == min(most, len(indices))
    assert (kept[0], kept[-1]) == (indices[0], indices[-1])
    places = [indices.index(index) for index in kept]
    gaps = np.diff(places)
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


def test_grid_takes_what_is_on_show_eight_times_a_second() -> None:
    assert indices_at_rate(np.arange(24) / 24, 8) == [0, 3, 6, 9, 12, 15, 18, 21]
    assert indices_at_rate(np.array([0.0, 0.1, 0.15, 0.9]), 8) == [0, 1, 2, 3][:3]
    assert Grid()(np.arange(5) / 2.0, 2.0) == [0, 1, 2, 3, 4]  # a slow video has each frame once
    assert HalfSecond(3)(np.arange(16) / 8, 8) == [1, 9, 15]


def cell(path: Path, fps: float | None = None) -> VideoCell:
    return VideoCell("m", "q", "a cat", 0, path, fps)


def test_pictures_are_known_by_their_pixels(tmp_path: Path) -> None:
    """Trap: JPEG bytes differ between versions of a library, pixels do not."""
    write_clip(tmp_path / "a.mp4", 100)
    shown = take_pictures(cell(tmp_path / "a.mp4"), Sampling())
    assert shown.indices == (1, 5, 9, 13, 15)
    assert shown.pictures[0].encoding == "jpeg-90"
    coarse = take_pictures(cell(tmp_path / "a.mp4"), Sampling(quality=30))
    assert coarse.pictures[0].pixels == shown.pictures[0].pixels
    assert coarse.pictures[0].jpeg != shown.pictures[0].jpeg
    assert coarse.pictures[0].encoding == "jpeg-30"
    assert shown.pictures[0].jpeg[:3] == b"\xff\xd8\xff"
    raw = np.full((2, 3, 3), 7, np.uint8).tobytes()
    assert pixels_digest(3, 2, raw) != pixels_digest(2, 3, raw)


def test_a_rate_of_the_manifest_overrides_the_container(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 100, fps=8)
    assert take_pictures(cell(tmp_path / "a.mp4", 1.0), Sampling()).indices == tuple(range(1, 16))


def test_strips_are_padded_with_grey_and_say_so(tmp_path: Path) -> None:
    """The released code drops a last strip that is not full."""
    write_video(tmp_path / "a.mp4", grey(200, frames=10), 8)
    shown = take_pictures(cell(tmp_path / "a.mp4"), Sampling("grid"))
    assert len(shown.pictures) == 2
    assert shown.indices == tuple(range(10))
    assert dict(shown.notes)["padded"] == "the last strip ends with 6 grey places"
    last = pixels(shown.pictures[1])
    assert last.shape == (32, 8 * 48, 3)
    assert abs(last[:, : 2 * 48].mean() - 200) < 3
    assert abs(last[:, 3 * 48 :].mean() - GREY) < 2
    one = shown.thinned(1)
    assert one.indices == tuple(range(8))


def test_what_is_foretold_is_what_is_taken(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 100, frames=29)
    for sampling in (Sampling(), Sampling("grid"), Sampling(max_pictures=3, long_side=40)):
        told = foretell(cell(tmp_path / "a.mp4"), sampling)
        shown = take_pictures(cell(tmp_path / "a.mp4"), sampling)
        assert told.pictures == len(shown.pictures)
        assert (told.width, told.height) == (shown.pictures[0].width, shown.pictures[0].height)


def test_every_odd_file_ends_in_a_result_or_a_reason_soon(tmp_path: Path) -> None:
    """Variable rate, rotated, odd-sized, 4K, one frame a second, a single frame; within 5 s each."""
    write_variable_rate(tmp_path / "variable.mp4", [0, 0.1, 0.15, 0.9, 2.0])
    write_video(tmp_path / "rotated.mp4", grey(90), 8)
    turn(tmp_path / "rotated.mp4", 90)
    write_video(tmp_path / "odd.mp4", grey(90, height=33, width=47), 8)
    write_video(tmp_path / "large.mp4", grey(90, height=2160, width=3840, frames=3), 8)
    write_video(tmp_path / "slow.mp4", grey(90, frames=4), 1)
    write_video(tmp_path / "single.mp4", grey(90, frames=1), 24)
    (tmp_path / "empty.mp4").write_bytes(b"")
    sizes = {}
    for path in sorted(tmp_path.glob("*.mp4")):
        began = time.monotonic()
        try:
            shown = take_pictures(cell(path), Sampling())
            sizes[path.stem] = (len(shown.pictures), shown.pictures[0].width, shown.pictures[0].height)
        except MediaError as error:
            sizes[path.stem] = error.reason
        assert time.monotonic() - began < 60  # it catches an endless loop
    assert sizes == {
        "variable": (4, 48, 32),
        "rotated": (5, 32, 48),
        "odd": (5, 48, 34),
        "large": (2, 768, 432),
        "slow": (3, 48, 32),
        "single": (1, 48, 32),
        "empty": "truncated",
    }
