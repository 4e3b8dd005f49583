"""The metric judge: one file in, one score per dimension out, with what it rests on and how far it may be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sensorium.core import config as core
from sensorium.core.errors import require
from sensorium.judging.cells import VideoCell
from sensorium.judging.dimensions import Dimension
from sensorium.judging.judges.base import Outcome
from sensorium.judging.leaderboard import METRIC_LABEL
from sensorium.judging.metric.alignment import LOOKS, PromptEncoder, measure_alignment
from sensorium.judging.metric.fitting import HIGHEST, LOWEST
from sensorium.judging.metric.weights import SHIPPED, Head, read_weights
from sensorium.judging.records import Family

STILL = 0.1  # pixels of the 95th percentile of flow, below which nothing moves

Values = dict[str, float]


@dataclass(frozen=True)
class Measured:
    """What a decoding process found in one file.

    Attributes:
        values: Signals by name.
        indices: Frames that were looked at.
        looks: Some of them for the alignment signals, uint8 [height, width, 3] each; none without an encoder.
    """

    values: Values
    indices: tuple[int, ...]
    looks: tuple[npt.NDArray[np.uint8], ...] = ()


@dataclass(frozen=True)
class MeasureVideo:
    """Read a file and measure it; sent to a decoding process.

    Attributes:
        keep: How many frames to bring along for an encoder.
    """

    keep: int = 0

    def __call__(self, cell: VideoCell) -> Measured:
        """Return the signals of a cell's file.

        Raises:
            MediaError: The file cannot be used.
        """
        from sensorium.judging.metric.looking import look
        from sensorium.judging.metric.signals import measure

        indices: list[int] = []
        kept: list[npt.NDArray[np.uint8]] = []

        def frames() -> Any:
            for frame in look(cell.path, cell.fps):
                indices.append(frame.index)
                if self.keep:
                    kept.append(frame.pixels)
                yield frame.pixels

        found = measure(frames())
        places = np.unique(np.rint(np.linspace(0, len(kept) - 1, self.keep)).astype(int))
        return Measured(dict(found.values), tuple(indices), tuple(kept[place] for place in places))


class MetricJudge:
    """The embedded judge: no network, no language model.

    Args:
        config: Which weights.
        encoder: For the alignment dimensions; without one they are unsupported.
    """

    class Config(core.Config):
        """Options of the metric judge."""

        weights: Path | None = Field(None, description="file of `judge calibrate`; null = the weights that ship")

    family: ClassVar[Family] = "metric"

    def __init__(self, config: MetricJudge.Config | None = None, encoder: PromptEncoder | None = None) -> None:
        require("cv2", extra="judge", purpose="the metric judge")
        chosen = (config or self.Config()).weights
        self._weights = read_weights(chosen or SHIPPED)
        self._encoder = encoder
        self.measure = MeasureVideo(LOOKS if encoder else 0)
        self.id = f"metric-{self._weights.key}" + (f"+{encoder.id}" if encoder else "")
        self.protocol_version = f"weights {self._weights.key}"

    def judge(self, cell: VideoCell, dimension: Dimension, measured: Any) -> Outcome:
        """Return the score of one cell in one dimension: a fraction on the dimension's own scale."""
        found: Measured = measured
        values = dict(found.values)
        if dimension.family == "alignment" and self._encoder is not None:
            values |= measure_alignment(self._encoder, cell.prompt, found.looks)
        head, why = self._head(dimension, values)
        if head is None:
            return Outcome(None, "unsupported", why, frames=found.indices)
        row = head.row(values)
        score = float(head.linear.predict(row)[0])
        notes: dict[str, Any] = {"uncertainty": round(_on_scale(LOWEST + head.residual, dimension) - dimension.low, 4)}
        if dimension.family != "alignment":
            notes["prompt"] = "not used"
        reason = _reason(head, row)
        if dimension.id == "motion_effects" and values["dynamic_degree"] < STILL:
            score = min(score, (LOWEST + HIGHEST) / 2)
            reason = f"no motion; {reason}"
        return Outcome(round(_on_scale(score, dimension), 4), "ok", reason, frames=found.indices, notes=notes)

    def _head(self, dimension: Dimension, values: Values) -> tuple[Head | None, str]:
        """Return the head of a dimension, or None and why there is none for this clip."""
        head = self._weights.heads.get(dimension.id)
        if dimension.family == "alignment":
            if self._encoder is None:
                return None, "whether a video shows its text needs an encoder of texts and pictures: there is none"
            head = head or self._weights.heads.get("alignment")
        if head is None:
            return None, f"the weights of this judge have no '{dimension.id}'"
        if dimension.family == "dynamic" and not set(head.names) <= set(values):
            return None, "change over time needs at least 3 frames"
        return head, ""


def _on_scale(score: float, dimension: Dimension) -> float:
    """Return a score of 1 to 5 on the scale of a dimension."""
    return dimension.low + (score - LOWEST) / (HIGHEST - LOWEST) * (dimension.high - dimension.low)


def _reason(head: Head, row: npt.NDArray[np.float64]) -> str:
    """Say which signals moved the score most, and by how much."""
    parts = head.linear.parts(row)[0]
    largest = np.argsort(-np.abs(parts), kind="stable")[:3]
    said = [
        f"{head.names[place].replace('_', ' ')} {parts[place]:+.2f}" for place in largest if abs(parts[place]) > 0.005
    ]
    return f"{METRIC_LABEL}: " + (", ".join(said) or "average in all signals")
