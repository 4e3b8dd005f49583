"""Signals of many clips and their spoiled copies, measured in decoding processes and kept on disk.

A calibration measures each clip nine times, about two seconds each; kept signals make every later fit instant. They are
kept by the content of the file, the kind of copy and the version of the signals, so that a changed clip is measured
anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sensorium.core.errors import DataError
from sensorium.core.files import read_json, sha256_file, write_json
from sensorium.core.progress import Progress
from sensorium.judging.cells import VideoCell
from sensorium.judging.metric import signals
from sensorium.judging.metric.distortions import DYNAMIC, STATIC, distort
from sensorium.judging.metric.looking import look
from sensorium.judging.metric.signals import Signals
from sensorium.media.workers import Workers

ORIGINAL = "original"
SEED = 0  # of the distortions: one copy of each kind


@dataclass(frozen=True)
class Piece:
    """One clip in one state: as it is, or spoiled."""

    cell: VideoCell
    kind: str = ORIGINAL

    def path(self, kept: Path) -> Path:
        """Where its signals are kept."""
        name = f"{sha256_file(self.cell.path)[:24]}-{self.kind}"
        rate = f"-{self.cell.fps:g}fps" if self.cell.fps else ""
        return kept / f"{name}{rate}-{signals.LONG_SIDE}px-v{signals.VERSION}.json"


def measure_piece(piece: Piece) -> Signals:
    """Read a file and measure its signals, of the clip itself or of a copy that is spoiled here: of a copy only
    those that its kind is about.

    Raises:
        MediaError: The file cannot be used.
    """
    frames = (frame.pixels for frame in look(piece.cell.path, piece.cell.fps))
    if piece.kind == ORIGINAL:
        return signals.measure(frames)
    spoiled = distort(piece.kind, list(frames), seed=SEED, clip=piece.cell.name)
    return signals.measure(spoiled, pictures=piece.kind in STATIC, movement=piece.kind in DYNAMIC)


def measure_all(
    cells: Sequence[VideoCell], kinds: Sequence[str], kept: str | Path, *, processes: int = 2
) -> dict[str, list[Signals]]:
    """Return the signals of each clip in each state, in the order of the clips.

    Args:
        cells: The clips.
        kinds: `ORIGINAL`, names of distortions, or both.
        kept: The folder of kept signals; what lies there is not measured again.
        processes: Decoding processes that work side by side.

    Raises:
        DataError: A clip cannot be used; the message names the file.
    """
    kept = Path(kept)
    pieces = [Piece(cell, kind) for kind in kinds for cell in cells]
    missing = [piece for piece in pieces if not piece.path(kept).exists()]
    with (
        Workers(processes) as workers,
        ThreadPoolExecutor(processes) as pool,
        Progress(len(missing), "signals", unit="clips") as bar,
    ):

        def work(piece: Piece) -> None:
            found = workers.call(measure_piece, piece, source=str(piece.cell.path))
            write_json(piece.path(kept), {"frames": found.frames, "values": _without_nan(found.values)})
            bar.advance()

        for _ in pool.map(work, missing):
            pass
    return {kind: [_read(Piece(cell, kind).path(kept)) for cell in cells] for kind in kinds}


def _without_nan(values: object) -> dict[str, float | None]:
    return {name: None if value != value else float(value) for name, value in dict(values).items()}  # type: ignore[call-overload]


def _read(path: Path) -> Signals:
    tree = read_json(path)
    try:
        values = {name: float("nan") if value is None else float(value) for name, value in tree["values"].items()}
        return Signals(signals.with_defects(values), int(tree["frames"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} holds no signals ({error}): remove it, and it is measured again") from None
