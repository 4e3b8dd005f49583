"""Video: any file in, upright 8-bit RGB frames out, in order and one at a time, or one named reason why not.

    probe(path)                     what the headers say, and the time stamp of every frame
    iterate_frames(path)            every frame in order, turned upright and resized
    read_frames(path, choose)       the frames that a rule picks out of the time stamps
    write_video(path, frames, fps)  an H.264 file, with sound if there is some

Frames are decoded sequentially: seeking is not exact in every container. A frame's index is its place in the order of
display. Files over 2 GB are refused before a byte is read. A file that ends early gives what it holds, and says so.

Decoders are C code that strangers' files reach: in long work, call these functions through `media.workers`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError, require
from sensorium.media.errors import MediaError
from sensorium.media.video_writing import Pixels, write_video

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "Choice",
    "Frame",
    "Frames",
    "Pixels",
    "VideoInfo",
    "decoded",
    "iterate_frames",
    "opened",
    "probe",
    "read_frames",
    "resized",
    "upright",
    "write_video",
]

MAX_BYTES = 2 * 1024**3
MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class VideoInfo:
    """What a file holds, by its headers and its packets.

    Attributes:
        width: Of the upright picture, in pixels.
        height: Of the upright picture, in pixels.
        fps: Frames per second on average; a file of variable rate has no other.
        seconds: Time stamps of the frames in order of display, from 0, float64 [n]. Damaged files may decode to fewer.
        rotation: Degrees by which players turn the stored picture clockwise: 0, 90, 180 or 270.
        codec: As in "h264".
        has_sound: Whether there is a sound track.
    """

    width: int
    height: int
    fps: float
    seconds: npt.NDArray[np.float64]
    rotation: int
    codec: str
    has_sound: bool

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.seconds)


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes:
        index: Its place in the order of display, from 0.
        seconds: Its time stamp, from 0 at the first frame.
        pixels: uint8 [height, width, 3], RGB.
    """

    index: int
    seconds: float
    pixels: Pixels


@dataclass(frozen=True)
class Frames:
    """Some frames of a video.

    Attributes:
        info: The file; its time stamps are those of the frames that could be decoded.
        indices: Which frames these are, ascending.
        pixels: Their pictures, each uint8 [height, width, 3], RGB.
        cut_short: Whether the file ends before its last frame does.
    """

    info: VideoInfo
    indices: tuple[int, ...]
    pixels: tuple[Pixels, ...]
    cut_short: bool = False


# From the time stamps of all frames [n] and the average rate to the indices that are wanted.
Choice = Callable[[npt.NDArray[np.float64], float], Sequence[int]]


def probe(path: str | Path) -> VideoInfo:
    """Read what a file says about itself: headers, packets, and of the pictures the first one alone.

    Raises:
        MediaError: With reason "missing_file", "too_large", "truncated" (an empty file), "no_video_stream" (sound
            alone), "no_frames" or "undecodable".
    """
    with opened(Path(path)) as (container, stream):
        return _info(container, stream, Path(path))


def iterate_frames(path: str | Path, *, long_side: int | None = None) -> Iterator[Frame]:
    """Decode every frame in order; memory holds one at a time.

    A file that ends early just ends: compare the last index with `probe(path).frames`.

    Args:
        path: The file.
        long_side: Frames whose longer side is above this are made smaller, to this size.

    Raises:
        MediaError: As `probe`, or not one frame can be decoded.
    """
    for index, (seconds, frame, rotation) in enumerate(decoded(Path(path))):
        yield Frame(index, seconds, upright(frame, rotation, long_side))


def read_frames(
    path: str | Path,
    choose: Choice,
    *,
    long_side: int | None = None,
    fps: float | None = None,
) -> Frames:
    """Decode the frames that a rule picks.

    The rule is asked with the time stamps that the packets tell. Where a file decodes to another number of frames, it
    is asked again with those that there are, and the file is read once more: so its choice is exact, and memory holds
    the chosen frames alone.

    Args:
        path: The file.
        choose: The rule, as in `judging.sampling`.
        long_side: As in `iterate_frames`.
        fps: The rate that the rule is told instead of the file's own.

    Raises:
        MediaError: As `iterate_frames`.
    """
    path = Path(path)
    told = probe(path)
    chosen, indices, seconds = _decode_chosen(path, told.seconds, choose, long_side, fps or told.fps)
    if len(seconds) != told.frames:
        chosen, indices, seconds = _decode_chosen(path, seconds, choose, long_side, fps or told.fps)
    info = VideoInfo(told.width, told.height, told.fps, seconds, told.rotation, told.codec, told.has_sound)
    return Frames(info, indices, tuple(chosen), cut_short=len(seconds) < told.frames)


def _decode_chosen(
    path: Path, seconds: npt.NDArray[np.float64], choose: Choice, long_side: int | None, fps: float
) -> tuple[list[Pixels], tuple[int, ...], npt.NDArray[np.float64]]:
    """Return the chosen frames, their indices, and the time stamps of all frames that could be decoded."""
    indices = tuple(choose(seconds, fps))
    wanted, pictures, found = set(indices), dict[int, Pixels](), []
    for index, (stamp, frame, rotation) in enumerate(decoded(path)):
        found.append(stamp)
        if index in wanted:
            pictures[index] = upright(frame, rotation, long_side)
    kept = tuple(index for index in indices if index in pictures)
    return [pictures[index] for index in kept], kept, np.asarray(found)


# --- decoding -------------------------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its first track of pictures; every failure inside is a MediaError."""
    av: Any = require("av", extra="media", purpose="reading video")
    _check_file(path)
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            streams = [stream for stream in container.streams.video if not _is_cover(stream)]
            if not streams:
                if not container.streams.audio:
                    raise ValueError("it holds no pictures")
                raise MediaError("no_video_stream", "it holds sound but no pictures", str(path))
            if streams[0].codec_context is None or not streams[0].width:
                raise ValueError("its pictures have no size or no known codec")
            if streams[0].width * streams[0].height > MAX_PIXELS:
                raise MediaError(
                    "too_large", f"its pictures have more than {MAX_PIXELS // 1_000_000} megapixels", str(path)
                )
            yield container, streams[0]
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> MediaError:
    """Say why a file cannot be opened; of an MP4 whose index stood at its lost end, that it was cut."""
    with path.open("rb") as handle:
        start = handle.read(512)
    if start[4:8] == b"ftyp":
        return MediaError("truncated", "the file ends before its index: it was cut short", str(path))
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return MediaError("undecodable", "this is a web page, not a video", str(path))
    return MediaError("undecodable", f"it cannot be read as video: {_words(error)}", str(path))


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise MediaError("missing_file", "there is no such file", str(path))
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise MediaError("too_large", f"the file has more than 2 GB ({size / 1024**3:.1f} GB)", str(path))
    if size == 0:
        raise MediaError("truncated", "the file is empty", str(path))
    if not os.access(path, os.R_OK):
        raise MediaError("undecodable", "there is no permission to read it", str(path))


def _is_cover(stream: VideoStream) -> bool:
    """Whether a track of pictures is the cover of a piece of music."""
    import av.stream

    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _words(error: Exception) -> str:
    """Return FFmpeg's reason without its number and the file's name."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).split("] ")[-1].split(": '")[0]


def _info(container: InputContainer, stream: VideoStream, path: Path) -> VideoInfo:
    """Read the packets of a track: their time stamps are those of the frames, in another order."""
    import av

    stamps: list[float] = []
    unit = float(stream.time_base or Fraction(1, 90_000))
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                stamps.append(packet.pts * unit if packet.pts is not None else math.nan)
    except av.FFmpegError:
        if not stamps:
            raise
    if not stamps:
        raise MediaError("no_frames", "it holds no frames", str(path))
    seconds = np.asarray(stamps)
    fps = _rate(stream, seconds)
    if np.isnan(seconds).any():  # containers without time stamps, such as raw H.264
        seconds = np.arange(len(seconds)) / fps
    seconds = np.sort(seconds) - seconds.min()
    rotation = _stored_rotation(path)
    width, height = (stream.height, stream.width) if rotation in (90, 270) else (stream.width, stream.height)
    return VideoInfo(width, height, fps, seconds, rotation, stream.codec_context.name, bool(container.streams.audio))


def _rate(stream: VideoStream, seconds: npt.NDArray[np.float64]) -> float:
    """Return the average rate: the header's where the time stamps agree or are missing, else theirs, else 25."""
    told = float(stream.average_rate or 0)
    span = np.nanmax(seconds) - np.nanmin(seconds) if np.isfinite(seconds).any() else 0.0
    measured = float((len(seconds) - 1) / span) if span > 0 else 0.0
    if told > 0 and (not measured or abs(measured - told) <= 0.01 * told):
        return told
    return measured or 25.0


def _stored_rotation(path: Path) -> int:
    """Return the rotation that the first frame carries; the track's own side data is not exposed by PyAV."""
    for _, _, rotation in decoded(path):
        return rotation
    return 0


def decoded(path: Path) -> Iterator[tuple[float, VideoFrame, int]]:
    """Yield (seconds, frame, rotation) in order of display until the file or its readable part ends."""
    import av

    with opened(path) as (container, stream):
        stream.thread_type = "NONE"  # one decoder per process: frames come out as they go in, memory stays small
        unit = float(stream.time_base or Fraction(1, 90_000))
        step = 1 / float(stream.average_rate or 25)
        first: float | None = None
        last = -step
        try:
            for frame in container.decode(stream):
                if frame.width * frame.height > MAX_PIXELS:
                    raise MediaError("too_large", "its pictures grow beyond 100 megapixels", str(path))
                stamp = frame.pts * unit if frame.pts is not None else None
                if first is None:
                    first = stamp or 0.0
                last = max(stamp - first, last) if stamp is not None else last + step
                yield last, frame, -frame.rotation % 360
        except av.FFmpegError as error:
            if first is None:
                raise MediaError("undecodable", f"not one frame can be decoded: {_words(error)}", str(path)) from None
        if first is None:
            raise MediaError("no_frames", "not one frame can be decoded", str(path))


def upright(frame: VideoFrame, rotation: int, long_side: int | None) -> Pixels:
    """Return a frame as RGB, turned clockwise by its rotation and made smaller if it is too large."""
    width, height = resized(frame.width, frame.height, long_side)
    pixels = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    turned = np.rot90(pixels, k=-(rotation // 90) % 4) if rotation else pixels
    return np.ascontiguousarray(turned, dtype=np.uint8)


def resized(width: int, height: int, long_side: int | None) -> tuple[int, int]:
    """Return the size of a picture whose longer side is at most `long_side`, its shape kept."""
    longer = max(width, height)
    if long_side is None or longer <= long_side:
        return width, height
    return max(1, round(width * long_side / longer)), max(1, round(height * long_side / longer))
