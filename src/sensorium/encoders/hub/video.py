"""Video encoders of the Hub that see all frames at once: VideoMAE, ViViT, V-JEPA 2.

A clip is one sequence of patches in space and time. VideoMAE and ViViT have a position for each frame they were trained
on and take no other number; all of them join neighbouring frames, so that the number is even.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sensorium.core.errors import ConfigError
from sensorium.encoders.hub.base import Output
from sensorium.encoders.hub.families import Shape, facts_of
from sensorium.encoders.hub.vision import HubImage, HubImageConfig
from sensorium.encoders.preparing.video import FramePreparer
from sensorium.encoders.protocol import Prepared, Preparer
from sensorium.media.moments import Rule

if TYPE_CHECKING:
    from torch import Tensor


class HubVideoConfig(HubImageConfig):
    """Options of a video encoder."""

    frames: int | None = Field(None, ge=2, description="frames of a clip; default: the model's own")
    choice: Rule = Field("uniform", description="uniform: midpoints of equal parts; center: neighbours in the middle")


class HubVideo(HubImage):
    """Any video model of the known families, by its id or folder."""

    Config: type[HubVideoConfig] = HubVideoConfig  # type: ignore[misc]
    modality = family_modality = "video"
    group_name = "hub-video"
    budget = 16

    def _make_preparer(self) -> Preparer:
        native = int(self.shape.frames or 16)
        frames = int(self.config.frames or native)
        if self.family.cls != "VJEPA2Model" and frames != native:
            raise ConfigError(f"frames: {self.family.cls} was made for {native} frames and takes no other number")
        tubelet = facts_of(self.family, self.facts).get("tubelet_size", 2)
        joined = int(tubelet[0] if isinstance(tubelet, list | tuple) else tubelet)
        if frames % joined:
            raise ConfigError(f"frames: {self.family.cls} joins {joined} frames; {frames} would leave some out")
        return FramePreparer(self._image_preparer(), frames, self.config.choice)

    def collate(self, items: Sequence[Prepared]) -> dict[str, Tensor]:
        """Stack clips: `pixels` float32 [b, T, 3, H, W]."""
        import numpy as np
        import torch

        return {"pixels": torch.from_numpy(np.stack([item.arrays["pixels"] for item in items]))}

    def run(self, batch: Mapping[str, Tensor]) -> Output:
        """Run the model on clips."""
        if self.family.cls == "VJEPA2Model":
            given: dict[str, Any] = {"pixel_values_videos": batch["pixels"], "skip_predictor": True}
        else:
            given = {"pixel_values": batch["pixels"]}
            if self._interpolate:
                given["interpolate_pos_encoding"] = True
        outputs = self.module(**given, output_hidden_states=True)
        return Output(self.states_of(outputs), None, self.pool(outputs.last_hidden_state, None))

    @classmethod
    def _frames(cls, config: Any, shape: Shape | None) -> int | None:
        return config.frames or (shape.frames if shape else None)

    @classmethod
    def _preprocessing(cls, config: Any) -> str:
        count = config.frames or "the model's number of"
        return f"{count} frames ({config.choice}), each: {super()._preprocessing(config)}"
