"""Clips by any image encoder: states and vectors are averaged over the frames, in float32.

`video_pool: mean_diff` appends the mean absolute difference between the vectors of neighbouring frames: what moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sensorium.encoders.hub.families import Shape
from sensorium.encoders.hub.sequences import over_pieces
from sensorium.encoders.hub.vision import HubImage, HubImageConfig
from sensorium.encoders.preparing.video import FramePreparer
from sensorium.encoders.protocol import Preparer
from sensorium.media.moments import Rule

if TYPE_CHECKING:
    from torch import Tensor


class HubFramesConfig(HubImageConfig):
    """Options of frame pooling."""

    frames: int = Field(8, ge=1, description="frames of a clip")
    choice: Rule = Field("uniform", description="uniform: midpoints of equal parts; center: neighbours in the middle")
    video_pool: Literal["mean", "mean_diff"] = Field("mean", description="mean_diff appends how frames differ")


class HubFrames(HubImage):
    """Any image model of the known families, over the frames of a clip."""

    Config: type[HubFramesConfig] = HubFramesConfig  # type: ignore[misc]
    modality = "video"
    group_name = "hub-frames"

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.pooled_dim = self._vector_width(self.config, self.shape.vector)

    def _make_preparer(self) -> Preparer:
        return FramePreparer(self._image_preparer(), self.config.frames, self.config.choice)

    def _pooling(self) -> str:
        pooling = super()._pooling()
        return pooling if self.config.video_pool == "mean" else f"{pooling}, mean_diff"

    def pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Pool patches as the image encoder does."""
        pooling, self.pooling = self.pooling, self.pooling.removesuffix(", mean_diff")
        try:
            return super().pool(hidden, mask)
        finally:
            self.pooling = pooling

    def _vectors(self, vector: Tensor, pieces: Tensor | None) -> Tensor:
        import torch

        mean = over_pieces(vector, pieces)
        if self.config.video_pool == "mean":
            return mean
        frames = vector.float().view(len(mean), -1, vector.shape[1])  # every clip has as many frames
        if frames.shape[1] == 1:
            return torch.cat([mean, torch.zeros_like(mean)], 1)
        return torch.cat([mean, (frames[:, 1:] - frames[:, :-1]).abs().mean(1)], 1)

    @classmethod
    def _vector_width(cls, config: Any, width: int) -> int:
        return width * (2 if config.video_pool == "mean_diff" else 1)

    @classmethod
    def _frames(cls, config: Any, shape: Shape | None) -> int | None:
        return int(config.frames)

    @classmethod
    def _preprocessing(cls, config: Any) -> str:
        return f"{config.frames} frames ({config.choice}), each: {super()._preprocessing(config)}"
