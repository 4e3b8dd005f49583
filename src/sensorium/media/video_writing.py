"""Writing video: frames in, an MP4 file of H.264 out, with sound if there is some. Import it from `media.video`."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError, require
from sensorium.core.files import atomic_path

if TYPE_CHECKING:
    from av.container import OutputContainer

Pixels = npt.NDArray[np.uint8]


def write_video(
    path: str | Path,
    frames: Iterable[Pixels],
    fps: float,
    *,
    sound: npt.NDArray[np.float32] | None = None,
    sound_rate: int = 44_100,
    quality: int = 18,
) -> None:
    """Write an MP4 file of H.264, with AAC sound if there is some, atomically; the same input gives the same bytes.

    H.264 with halved colour needs even sizes: an odd last row or column is repeated once.

    Args:
        path: The file.
        frames: Pictures of one size, each uint8 [height, width, 3], RGB; taken one at a time.
        fps: Frames per second.
        sound: float32 [samples] or [samples, channels], in -1..1.
        sound_rate: Samples per second.
        quality: Constant rate factor, 0 (lossless) to 51; 18 looks like the original.

    Raises:
        DataError: There is no frame, or frames differ in size or kind.
    """
    av: Any = require("av", extra="media", purpose="writing video")
    with atomic_path(path) as temporary, _created(temporary) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(100_000))
        # Macroblock trees are off: with AVX-512, x264 makes other bytes of the same frames from run to run.
        stream.options = {"crf": str(quality), "preset": "medium", "x264-params": "mbtree=0"}
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        track = _add_sound(container, sound, sound_rate) if sound is not None else None
        shape: tuple[int, ...] | None = None
        for pixels in frames:
            if shape is None:
                shape = pixels.shape
                stream.height, stream.width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
            if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.shape != shape:
                raise DataError(
                    f"{path}: frames are uint8 [height, width, 3] of one size; the first is {shape}, one is "
                    f"{pixels.dtype} {pixels.shape}"
                )
            even = np.pad(pixels, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")))
        if shape is None:
            raise DataError(f"{path}: a video needs at least one frame")
        container.mux(stream.encode())
        if track is not None and sound is not None:
            _write_sound(container, track, sound, sound_rate)


def _created(path: Path) -> OutputContainer:
    """Open a new file whose headers come first: a player may start, and a cut file may be read, before its end."""
    import av

    return av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})


def _add_sound(container: OutputContainer, sound: npt.NDArray[np.float32], rate: int) -> Any:
    channels = 1 if sound.ndim == 1 else sound.shape[1]
    return container.add_stream("aac", rate=rate, layout={1: "mono", 2: "stereo"}[channels])


def _write_sound(container: OutputContainer, track: Any, sound: npt.NDArray[np.float32], rate: int) -> None:
    """Encode sound in blocks of the codec's size."""
    import av

    planes = np.ascontiguousarray(np.atleast_2d(sound.T), dtype=np.float32)  # [channels, samples]
    for start in range(0, planes.shape[1], 1024):
        block = np.ascontiguousarray(planes[:, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=track.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        container.mux(track.encode(frame))
    container.mux(track.encode(None))
