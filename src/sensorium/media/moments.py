"""Frames of a clip at some moments: chosen by time stamps, never by counting frames.

    clip = read_moments(path, 8, "uniform")          # the midpoints of 8 equal parts of its time span
    clip.pictures                                    # 8 upright RGB pictures; fewer frames in the file repeat

A clip up to a minute is decoded from its start; a longer one is sought to the key frame before each moment. A picture
is handed to `convert` as soon as its place is known, so that memory holds one frame beside what `convert` returns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from sensorium.media.errors import MediaError
from sensorium.media.video import MAX_PIXELS, Pixels, decoded, opened, upright

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

SEQUENTIAL_SECONDS = 60.0

Rule = Literal["uniform", "center"]
T = TypeVar("T")
Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Clip(Generic[T]):
    """Some moments of a video.

    Attributes:
        pictures: What `convert` made of each frame, in order of time.
        seconds: Time stamp of each of these frames, from 0 at the first frame, float64 [n].
        span: From the first frame to the end of the last one, in seconds.
        partial: Whether the file ends before its last frame does, or is damaged on the way.
    """

    pictures: list[T]
    seconds: Seconds
    span: float
    partial: bool


@dataclass(frozen=True)
class _Track:
    """Time stamps of all frames, ascending from 0, in seconds; how the container counts them; whether it was cut."""

    seconds: Seconds
    step: float
    first: float
    unit: float
    stamped: bool
    cut: bool

    @property
    def span(self) -> float:
        return float(self.seconds[-1]) + self.step


def read_moments(path: str | Path, count: int, rule: Rule, convert: Callable[[Pixels], T]) -> Clip[T]:
    """Decode `count` frames of a clip.

    Args:
        path: The file.
        count: How many. A clip of fewer frames repeats them.
        rule: "uniform": the frames that are shown at the midpoints of equal parts of the time span. "center": so many
            neighbouring frames around the middle one.
        convert: From uint8 [height, width, 3], RGB, to what is kept.

    Raises:
        MediaError: With reason "missing_file", "too_large", "truncated" (an empty file), "no_video_stream" (sound
            alone), "no_frames" or "undecodable".
    """
    path = Path(path)
    track = _track(path)
    moments = _moments(track.seconds, track.span, count, rule)
    if track.stamped and track.span > SEQUENTIAL_SECONDS:
        pictures, stamps = _sought(path, moments, track, convert)
        return Clip(pictures, stamps, track.span, track.cut or bool((moments - stamps > 1.0).any()))
    pictures, stamps, end = _sequential(path, moments, convert)
    if end < track.seconds[-1] - 0.75 * track.step:  # fewer frames can be decoded than there are packets
        known = track.seconds[track.seconds <= end + 0.25 * track.step]
        moments = _moments(known, float(known[-1]) + track.step, count, rule)
        pictures, stamps, end = _sequential(path, moments, convert)
        return Clip(pictures, stamps, end + track.step, partial=True)
    return Clip(pictures, stamps, track.span, track.cut)


def _moments(seconds: Seconds, span: float, count: int, rule: Rule) -> Seconds:
    """Return the moments to look at, ascending, float64 [count]."""
    if rule == "uniform":
        return span * (2 * np.arange(count) + 1) / (2 * count)
    middle = np.arange(count) + len(seconds) // 2 - count // 2
    chosen: Seconds = seconds[np.clip(middle, 0, len(seconds) - 1)]
    return chosen


def _track(path: Path) -> _Track:
    """Read the packets of the first track of pictures."""
    import av

    with opened(path) as (container, stream):
        unit = float(stream.time_base or Fraction(1, 90_000))
        stamps: list[float] = []
        packets, failed = 0, False
        try:
            for packet in container.demux(stream):
                packets += bool(packet.size)
                if packet.size and not packet.is_discard:
                    stamps.append(packet.pts * unit if packet.pts is not None else math.nan)
        except av.FFmpegError:
            failed = True
        if not stamps:
            raise MediaError("no_frames", "it holds no frames", str(path))
        seconds = np.asarray(stamps)
        rate = float(stream.average_rate or 0)
        stamped = bool(np.isfinite(seconds).all())
        if not stamped:  # containers without time stamps, such as raw H.264
            seconds = np.arange(len(seconds)) / (rate or 25.0)
        first = float(seconds.min())
        seconds = np.sort(seconds) - first
        step = float(seconds[-1] / (len(seconds) - 1)) if len(seconds) > 1 and seconds[-1] > 0 else 1 / (rate or 25.0)
        told = float(stream.duration * unit) if stream.duration else math.nan
        if math.isnan(told) and container.duration and not container.streams.audio:
            told = container.duration / 1_000_000
        short = bool(stream.frames and packets < stream.frames) or told > seconds[-1] + step + max(0.5, 2 * step)
        return _Track(seconds, step, first, unit, stamped, failed or short)


def _sequential(path: Path, moments: Seconds, convert: Callable[[Pixels], T]) -> tuple[list[T], Seconds, float]:
    """Decode from the start; return the pictures, their time stamps, and the last time stamp of all."""
    kept: list[T] = []
    stamps: list[float] = []
    before: tuple[float, VideoFrame, int] | None = None

    def keep(until: float) -> None:
        """The frame before is shown at every moment that is left and comes before `until`."""
        if before is None or len(kept) == len(moments) or moments[len(kept)] >= until - 1e-9:
            return
        picture = convert(upright(before[1], before[2], None))
        while len(kept) < len(moments) and moments[len(kept)] < until - 1e-9:
            kept.append(picture)
            stamps.append(before[0])

    for stamp, frame, rotation in decoded(path):
        keep(stamp)
        before = stamp, frame, rotation
    keep(math.inf)
    return kept, np.asarray(stamps), 0.0 if before is None else before[0]


def _sought(path: Path, moments: Seconds, track: _Track, convert: Callable[[Pixels], T]) -> tuple[list[T], Seconds]:
    """Seek to the key frame before each moment and decode up to it. Where nothing can be decoded, the frame before."""
    kept: list[T] = []
    stamps: list[float] = []
    for moment in moments:
        best: tuple[float, Pixels] | None = None
        for stamp, pixels in _from_key_frame(path, moment, track):
            best = stamp, pixels
        if best is None and not kept:
            continue
        stamps.append(stamps[-1] if best is None else best[0])
        kept.append(kept[-1] if best is None else convert(best[1]))
    if not kept:
        raise MediaError("undecodable", "not one frame can be decoded where its pictures should be", str(path))
    missing = len(moments) - len(kept)  # the first moments: they show what comes after them
    return [kept[0]] * missing + kept, np.asarray([stamps[0]] * missing + stamps)


def _from_key_frame(path: Path, moment: float, track: _Track) -> Iterator[tuple[float, Pixels]]:
    """Yield the frame that is shown at a moment; nothing where none can be decoded."""
    import av

    with opened(path) as (container, stream):
        stream.thread_type = "NONE"
        container.seek(max(0, int((moment + track.first) / track.unit)), stream=stream, backward=True)
        shown = None
        try:
            for frame in container.decode(stream):
                if frame.width * frame.height > MAX_PIXELS:
                    raise MediaError("too_large", "its pictures grow beyond 100 megapixels", str(path))
                stamp = frame.pts * track.unit - track.first if frame.pts is not None else math.inf
                if stamp > moment + 1e-9 and shown is not None:
                    break
                shown = stamp, frame
        except av.FFmpegError:
            pass
        if shown is not None:
            yield shown[0], upright(shown[1], -shown[1].rotation % 360, None)
