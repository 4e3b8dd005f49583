"""Sound: any container in, mono float32 samples of one rate out, or one named reason why not.

    probe_sound(path)                         what the headers say
    read_sound(path, rate=16_000)             all of it, or evenly spaced segments of a long one
    write_sound(path, samples, rate)          WAV, FLAC, MP3, Opus, AAC

Channels are mixed to one by FFmpeg's matrix for their layout: channel 0 of a 5.1 track alone would lose the dialogue.
Loudness is left as it is. Resampler and decoders hold samples back, and are flushed at the end.

Sound up to `max_seconds` is decoded from start to end. A longer one gives segments around the midpoints of equal parts:
each is sought a little early and cut by its time stamps, so that four hours cost little more than a minute does. A file
that ends early gives what it holds, and says so; sound over four hours is refused.

Decoders are C code that strangers' files reach: in long work, call these functions through `media.workers`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError, require
from sensorium.core.files import atomic_path
from sensorium.media.errors import MediaError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

MAX_SECONDS = 4 * 3600.0
MAX_BYTES = 2 * 1024**3
EARLY = 1.0  # seconds by which a seek goes ahead of a segment: decoders need a run-up

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SoundInfo:
    """What a file says of its first sound track.

    Attributes:
        seconds: How long it is by the container; NaN where it does not say.
        rate: Samples per second as stored.
        channels: As stored.
        codec: As in "mp3float".
        has_pictures: Whether there is a video track beside it (a cover is none).
    """

    seconds: float
    rate: int
    channels: int
    codec: str
    has_pictures: bool


@dataclass(frozen=True)
class Segment:
    """A piece of sound: where it starts, in seconds from the start of the track, and its samples, float32 [n]."""

    start: float
    samples: Samples


@dataclass(frozen=True)
class Sound:
    """Sound as read.

    Attributes:
        segments: One from the start where all of it was read, else several in order.
        rate: Samples per second.
        seconds: Length of the whole track.
        cut_short: Whether the file ends before its track should.
    """

    segments: tuple[Segment, ...]
    rate: int
    seconds: float
    cut_short: bool = False


def probe_sound(source: str | Path | bytes) -> SoundInfo:
    """Read what the headers say.

    Raises:
        MediaError: With reason "missing_file", "truncated" (an empty file), "too_large", "no_sound_stream" (pictures
            alone) or "undecodable".
    """
    with _opened(source) as (container, stream):
        return _info(container, stream)


def read_sound(
    source: str | Path | bytes,
    *,
    rate: int = 16_000,
    max_seconds: float = 60.0,
    segments: int = 6,
    segment_seconds: float = 10.0,
) -> Sound:
    """Decode a track to mono.

    Args:
        source: A file, or the bytes of one.
        rate: Samples per second of the result.
        max_seconds: A longer track is read in segments.
        segments: How many.
        segment_seconds: Length of each.

    Raises:
        MediaError: As `probe_sound`; "truncated" or "undecodable" where not one sample can be decoded; "too_large" for
            more than four hours.
    """
    with _opened(source) as (container, stream):
        told = _info(container, stream).seconds
        if told > MAX_SECONDS:
            raise MediaError("too_large", f"it is longer than 4 hours ({told / 3600:.2f} h)", _name(source))
        if told > max_seconds:
            found = tuple(
                _segment(container, stream, rate, max(0.0, middle - segment_seconds / 2), segment_seconds)
                for middle in midpoints(told, segments)
            )
            full = tuple(piece for piece in found if len(piece.samples))
            if full:
                return Sound(full, rate, told, cut_short=len(full) < len(found))
            raise MediaError("truncated", "nothing can be decoded where its sound should be", _name(source))
        samples, failed = _sequential(container, stream, rate, _name(source))
    seconds = len(samples) / rate
    if seconds > max_seconds:  # the container did not say, or said too little: the same places, of what was decoded
        width = round(segment_seconds * rate)
        starts = [max(0, round((middle - segment_seconds / 2) * rate)) for middle in midpoints(seconds, segments)]
        pieces = tuple(Segment(start / rate, samples[start : start + width].copy()) for start in starts)
        return Sound(pieces, rate, seconds, cut_short=failed)
    short = failed or (math.isfinite(told) and seconds < told - max(0.25, 0.02 * told))
    return Sound((Segment(0.0, samples),), rate, seconds, cut_short=short)


def midpoints(seconds: float, parts: int) -> list[float]:
    """Return the midpoints of so many equal parts."""
    return [seconds * (2 * part + 1) / (2 * parts) for part in range(parts)]


# --- decoding -------------------------------------------------------------------------------------------------------


def _name(source: str | Path | bytes) -> str:
    return "" if isinstance(source, bytes) else str(source)


@contextmanager
def _opened(source: str | Path | bytes) -> Iterator[tuple[InputContainer, AudioStream]]:
    """Open a file and its first track of sound; every failure inside is a MediaError."""
    av: Any = require("av", extra="media", purpose="reading sound")
    name = _name(source)
    start = _check(source)
    try:
        with av.open(
            io.BytesIO(source) if isinstance(source, bytes) else str(source), metadata_errors="replace"
        ) as container:
            if not container.streams.audio:
                raise MediaError("no_sound_stream", "it holds no sound", name)
            stream = container.streams.audio[0]
            if stream.codec_context is None or not stream.codec_context.sample_rate:
                raise ValueError("its sound has no rate or no known codec")
            yield container, stream
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        raise _unreadable(start, error, name) from None


def _check(source: str | Path | bytes) -> bytes:
    """Refuse what need not be opened, and return its first bytes."""
    if isinstance(source, bytes):
        start, size = source[:512], len(source)
    else:
        path = Path(source)
        if not path.is_file():
            raise MediaError("missing_file", "there is no such file", str(path))
        size = path.stat().st_size
        try:
            with path.open("rb") as handle:
                start = handle.read(512)
        except OSError as error:
            raise MediaError("undecodable", f"it cannot be read: {error.strerror}", str(path)) from None
    if size == 0:
        raise MediaError("truncated", "the file is empty", _name(source))
    if size > MAX_BYTES:
        raise MediaError("too_large", f"the file has more than 2 GB ({size / 1024**3:.1f} GB)", _name(source))
    return start


def _unreadable(start: bytes, error: Exception, name: str) -> MediaError:
    """Say why a file cannot be opened; of an MP4 whose index stood at its lost end, that it was cut."""
    if start[4:8] == b"ftyp":
        return MediaError("truncated", "the file ends before its index: it was cut short", name)
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return MediaError("undecodable", "this is a web page, not sound", name)
    return MediaError("undecodable", f"it cannot be read as sound: {_words(error)}", name)


def _words(error: Exception) -> str:
    """Return FFmpeg's reason without its number and the file's name."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).split("] ")[-1].split(": '")[0]


def _info(container: InputContainer, stream: AudioStream) -> SoundInfo:
    import av
    import av.stream

    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        seconds = container.duration / av.time_base
    else:
        seconds = math.nan
    pictures = any(not track.disposition & av.stream.Disposition.attached_pic for track in container.streams.video)
    context = stream.codec_context
    return SoundInfo(seconds, context.sample_rate, context.channels, context.name, pictures)


def _resampler(rate: int) -> Any:
    import av

    return av.AudioResampler(format="flt", layout="mono", rate=rate)


def _sequential(container: InputContainer, stream: AudioStream, rate: int, name: str) -> tuple[Samples, bool]:
    """Decode from start to end; return the samples and whether decoding ended in an error."""
    import av

    resampler, blocks, count, failed = _resampler(rate), list[Samples](), 0, False
    try:
        for frame in container.decode(stream):
            for piece in resampler.resample(frame):
                blocks.append(_mono(piece))
                count += len(blocks[-1])
            if count > MAX_SECONDS * rate:
                raise MediaError("too_large", "it is longer than 4 hours", name)
    except av.FFmpegError as error:
        failed = True
        if not blocks:
            raise MediaError("undecodable", f"no sound can be decoded: {_words(error)}", name) from None
    blocks += [_mono(piece) for piece in resampler.resample(None)]
    if not sum(map(len, blocks)):
        raise MediaError("truncated", "no sound can be decoded", name)
    return _finite(np.concatenate(blocks)), failed


def _mono(frame: Any) -> Samples:
    return np.asarray(frame.to_ndarray(), np.float32).reshape(-1)


def _finite(samples: Samples) -> Samples:
    """Sound that is not a number is silence: a damaged float WAV must not reach a model."""
    return samples if np.isfinite(samples).all() else np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)


def _segment(container: InputContainer, stream: AudioStream, rate: int, start: float, seconds: float) -> Segment:
    """Decode one segment: seek a little early, drop what comes before by its time stamps."""
    import av

    unit = float(stream.time_base or Fraction(1, stream.codec_context.sample_rate))
    origin = (stream.start_time or 0) * unit
    resampler, blocks, begin, have = _resampler(rate), list[Samples](), math.nan, 0
    wanted = round(seconds * rate)
    try:
        container.seek(max(0, int((start + origin - EARLY) / unit)), stream=stream)
        for frame in container.decode(stream):
            moment = (frame.pts * unit - origin) if frame.pts is not None else begin
            if math.isnan(begin):
                if moment + frame.samples / frame.sample_rate <= start - 0.1:
                    continue  # not yet there; a tenth of a second warms the resampler
                begin = moment if math.isfinite(moment) else start
            frame.pts = None  # one resampler per segment: gaps in time stamps are no business of it
            for piece in resampler.resample(frame):
                blocks.append(_mono(piece))
                have += len(blocks[-1])
            if have >= wanted + max(0.0, start - begin) * rate:
                break
    except av.FFmpegError:
        pass  # the file ends, or is damaged, here: what there is of this segment counts
    if not blocks:
        return Segment(start, np.zeros(0, np.float32))
    blocks += [_mono(piece) for piece in resampler.resample(None)]
    skip = max(0, round((start - begin) * rate))
    samples = np.concatenate(blocks)[skip : skip + wanted]
    return Segment(max(start, begin), _finite(samples))


# --- writing --------------------------------------------------------------------------------------------------------

_CODECS = {
    ".wav": ("wav", "pcm_s16le", "s16"),
    ".flac": ("flac", "flac", "s16"),
    ".mp3": ("mp3", "libmp3lame", "fltp"),
    ".opus": ("ogg", "libopus", "flt"),
    ".ogg": ("ogg", "libopus", "flt"),
    ".m4a": ("mp4", "aac", "fltp"),
}
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def write_sound(path: str | Path, samples: Samples, rate: int, *, bit_rate: int = 0) -> None:
    """Write sound by the suffix of its name (.wav, .flac, .mp3, .opus, .ogg, .m4a), atomically.

    The same input gives the same bytes.

    Args:
        path: The file.
        samples: float32 [n] or [n, channels] with 1, 2 or 6 channels, in -1..1.
        rate: Samples per second; Opus knows 48,000 and a few lower ones.
        bit_rate: Bits per second of lossy kinds; 0 is the encoder's own.

    Raises:
        DataError: Another suffix, shape or number of channels, or values that are not finite.
    """
    av: Any = require("av", extra="media", purpose="writing sound")
    path = Path(path)
    if path.suffix.lower() not in _CODECS:
        raise DataError(f"{path}: sound is written as {', '.join(_CODECS)}")
    planes = np.atleast_2d(np.asarray(samples, np.float32).T)  # [channels, n]
    if planes.ndim != 2 or planes.shape[0] not in _LAYOUTS or not planes.shape[1]:
        raise DataError(f"{path}: sound is [n] or [n, channels] with 1, 2 or 6 channels, not {np.shape(samples)}")
    if not np.isfinite(planes).all():
        raise DataError(f"{path}: sound holds values that are not finite")
    kind, codec, form = _CODECS[path.suffix.lower()]
    exact = {"fflags": "+bitexact"}  # else Ogg numbers its streams by chance
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format=kind, options=exact) as container:
        stream = container.add_stream(codec, rate=rate, layout=_LAYOUTS[planes.shape[0]])
        stream.format = form
        if bit_rate:
            stream.bit_rate = bit_rate
        feeder = av.AudioResampler(format=form, layout=_LAYOUTS[planes.shape[0]], rate=rate)
        step = rate * 10
        for start in range(0, planes.shape[1], step):
            block = np.ascontiguousarray(np.clip(planes[:, start : start + step], -1, 1))
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=_LAYOUTS[planes.shape[0]])
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            for piece in feeder.resample(frame):
                container.mux(stream.encode(piece))
        for piece in feeder.resample(None):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
