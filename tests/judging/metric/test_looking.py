"""Which frames are looked at, and which part of them."""

from pathlib import Path

import numpy as np
import pytest

from sensorium.judging.metric.looking import MOST, inner_part, look, without_bars
from sensorium.media.errors import MediaError
from sensorium.media.video import write_video

from .clips import pan


@pytest.mark.parametrize(
    ("fps", "frames", "expected"), [(10, 12, 12), (30, 30, 10), (25, 25, 10), (5, 6, 6), (10, 60, 48)]
)
def test_at_most_ten_a_second_by_time_stamp(tmp_path: Path, fps: float, frames: int, expected: int) -> None:
    """Section 3.5: repeated frames of a higher container rate would read as stillness."""
    write_video(tmp_path / "x.mp4", pan(frames, speed=1)[:frames] if frames <= 60 else [], fps)
    found = list(look(tmp_path / "x.mp4"))
    assert len(found) == expected <= MOST
    assert found[0].index == 0
    stamps = [frame.seconds for frame in found]
    assert min(np.diff(stamps)) > 0.05


def test_a_rate_that_is_told_is_believed(tmp_path: Path) -> None:
    write_video(tmp_path / "x.mp4", pan(20, speed=1), 40)
    assert len(list(look(tmp_path / "x.mp4"))) == 5
    assert [frame.index for frame in look(tmp_path / "x.mp4", fps=10)] == list(range(20))


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"")
    with pytest.raises(MediaError):
        list(look(tmp_path / "x.mp4"))


def test_bars_are_cut_off_and_dark_pictures_are_not() -> None:
    """Trap 10."""
    grey = [frame[..., 0] for frame in pan(4)]
    barred = []
    for frame in grey:
        frame = np.pad(frame, ((10, 6), (0, 0)))
        barred.append(frame)
    crop = without_bars(barred)
    assert (crop.top, crop.bottom, crop.left, crop.right) == (10, 106, 0, 96)
    assert without_bars(grey).of(grey[0]).shape == (96, 96)
    night = [np.zeros((96, 96), np.uint8) for _ in range(4)]
    night[1][40:50, 40:50] = 200
    assert without_bars(night).of(night[0]).shape == (96, 96)


def test_the_margin_is_four_percent() -> None:
    rows, columns = inner_part(100, 250)
    assert (rows, columns) == (slice(4, 96), slice(10, 240))
