"""What there is to do: units, each one pass of a protocol, in an order in which videos are read once.

A unit is one video in one dimension, or for the joint protocol all models' videos of a prompt and sample. Units of one
prompt and sample follow each other, so that its few videos are decoded, used by all dimensions, and let go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from sensorium.judging.cells import VideoCell
from sensorium.judging.dimensions import Dimension, ProtocolName
from sensorium.judging.manifest import Found
from sensorium.judging.records import CellKey


@dataclass(frozen=True)
class Unit:
    """One pass of a protocol.

    Attributes:
        dimension: In which dimension.
        protocol: How the judge is asked; "measure" for judges that measure.
        targets: The videos that get a record.
        context: Other models' videos of the same prompt and sample, whose first frames are shown beside a target.
    """

    dimension: Dimension
    protocol: ProtocolName | str
    targets: tuple[VideoCell, ...]
    context: tuple[VideoCell, ...] = ()

    @property
    def videos(self) -> tuple[VideoCell, ...]:
        """All videos that are read for it."""
        return (*self.targets, *self.context)

    @property
    def keys(self) -> list[CellKey]:
        """The cells that it judges."""
        return [key_of(self.dimension, cell) for cell in self.targets]


def key_of(dimension: Dimension, cell: VideoCell) -> CellKey:
    """Return the key of a cell's record."""
    return dimension.id, cell.prompt_id, cell.sample, cell.model


def make_units(
    found: Found, dimensions: Sequence[Dimension], *, measuring: bool, protocol: ProtocolName | None = None
) -> list[Unit]:
    """Return everything that is to be done.

    Args:
        found: The videos.
        dimensions: Of the run.
        measuring: Whether the judge measures videos instead of answering requests.
        protocol: The protocol of every dimension; None takes each dimension's own.
    """
    cells = {dimension.id: set(found.cells(dimension)) for dimension in dimensions}
    everything = sorted({video.cell for video in found.videos if video.dimensions}, key=_order)
    units: list[Unit] = []
    for _, group in groupby(everything, key=lambda cell: cell.group):
        together = list(group)
        for dimension in dimensions:
            here = [cell for cell in together if cell in cells[dimension.id]]
            if here:
                units += _units(dimension, "measure" if measuring else protocol or dimension.protocol, here)
    return units


def _order(cell: VideoCell) -> tuple[str, int, str]:
    return cell.prompt_id, cell.sample, cell.model


def _units(dimension: Dimension, protocol: str, cells: list[VideoCell]) -> Iterable[Unit]:
    if protocol == "few-shot-joint":
        return [Unit(dimension, protocol, tuple(cells))]
    if protocol == "few-shot-static":
        return [
            Unit(dimension, protocol, (cell,), tuple(other for other in cells if other is not cell)) for cell in cells
        ]
    return [Unit(dimension, protocol, (cell,)) for cell in cells]
