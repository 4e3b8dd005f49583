"""Image encoders of the Hub: vision transformers, Swin and convolutional networks.

Sequences are patches, row by row, behind the class token where there is one. `mean` is the mean over patches, `cls` the
class token. The numbers of preprocessing (size, mean, standard deviation, resampling) are read from the repository's
JSON; the class that it names is not called: old files name classes that are gone, and torchvision need not be here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.files import read_json
from sensorium.encoders.base import Modality
from sensorium.encoders.hub.base import HubConfig, HubEncoder, Output
from sensorium.encoders.hub.families import Shape
from sensorium.encoders.hub.sequences import as_sequence, stacked
from sensorium.encoders.preparing.image import Geometry, ImagePreparer, Interpolation
from sensorium.encoders.protocol import Prepared, Preparer

if TYPE_CHECKING:
    from torch import Tensor

_RESAMPLE: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}
# These take any size; the others are asked to interpolate their positions.
_ANY_SIZE = ("Dinov2Model", "SwinModel", "ResNetModel", "EfficientNetModel", "ConvNextModel", "VJEPA2Model")
_FIXED = ("BeitModel", "VivitModel", "VideoMAEModel")


class HubImageConfig(HubConfig):
    """Options of an image encoder."""

    geometry: Geometry = Field("pad", description="pad: fit inside, on white; squash: stretch; crop: the middle")
    size: tuple[int, int] | None = Field(None, description="height and width in pixels; default: the model's own")
    mean: tuple[float, float, float] | None = Field(None, description="of red, green, blue; default: the repository's")
    std: tuple[float, float, float] | None = Field(None, description="likewise")
    interpolation: Interpolation | None = Field(None, description="default: the repository's, else bicubic")


class HubImage(HubEncoder):
    """Any image model of the known families, by its id or folder."""

    Config: type[HubImageConfig] = HubImageConfig  # type: ignore[misc]
    modality: ClassVar[Modality] = "image"
    family_modality: ClassVar[Modality] = "image"
    group_name = "hub-image"
    budget = 16

    def _make_preparer(self) -> Preparer:
        return self._image_preparer()

    def _image_preparer(self) -> ImagePreparer:
        numbers = read_processor(self.found.folder)
        config = self.config
        mean, std = config.mean or numbers.get("mean"), config.std or numbers.get("std")
        if mean is None or std is None:
            raise DataError(
                f"{self.found.name} does not say how pictures are normalised (no preprocessor_config.json): "
                "give mean and std"
            )
        native = self.shape.image or (224, 224)
        size = config.size or (numbers.get("size") if self.family.cls in _ANY_SIZE else None) or native
        if config.size and self.family.cls in _FIXED and tuple(config.size) != native:
            raise ConfigError(f"size: {self.family.cls} reads {native[0]} x {native[1]} pixels and no other size")
        patch = self.facts.get("patch_size") if self.family.cls == "Dinov2Model" else None
        if patch and (size[0] % patch or size[1] % patch):
            raise ConfigError(f"size: sides of {self.found.name} are multiples of {patch}, not {size[0]} x {size[1]}")
        self._interpolate = tuple(size) != native and self.family.cls not in _ANY_SIZE
        how: Interpolation = config.interpolation or numbers.get("interpolation") or "bicubic"
        return ImagePreparer(tuple(size), config.geometry, mean, std, how)

    def _model_options(self) -> dict[str, Any]:
        return {"mask_ratio": 0.0} if self.family.cls == "ViTMAEModel" else {}

    def collate(self, items: Sequence[Prepared]) -> dict[str, Tensor]:
        """Stack pictures: `pixels` float32 [b, 3, H, W]; frames: [all frames, 3, H, W] and `pieces` int64 [b]."""
        return stacked(items, "pixels")

    def run(self, batch: Mapping[str, Tensor]) -> Output:
        """Run the model on pictures."""
        import torch

        pixels = batch["pixels"]
        given: dict[str, Any] = {"pixel_values": pixels, "output_hidden_states": True}
        if self._interpolate:
            given["interpolate_pos_encoding"] = True
        if self.family.cls == "ViTMAEModel":  # it shuffles its patches by this noise, even where none is masked
            side = int(self.facts.get("patch_size", 16))
            count = (pixels.shape[2] // side) * (pixels.shape[3] // side)
            given["noise"] = torch.arange(count, dtype=pixels.dtype, device=pixels.device).expand(len(pixels), -1)
        outputs = self.module(**given)
        if self.family.pooler:
            vector = outputs.pooler_output.flatten(1)
        else:
            vector = self.pool(as_sequence(outputs.last_hidden_state), None)
        return Output(self.states_of(outputs), None, vector.float())

    @classmethod
    def _preprocessing(cls, config: Any) -> str:
        return f"upright RGB, alpha on white, {config.geometry}, the repository's mean and standard deviation"

    @classmethod
    def _resolution(cls, config: Any, shape: Shape | None) -> tuple[int, int] | None:
        return config.size or (shape.image if shape else None)


def read_processor(folder: Path) -> dict[str, Any]:
    """Return `mean`, `std`, `size`, `interpolation`, as far as a repository's JSON has them.

    What it says of the range is folded into mean and standard deviation, so that they are of values in 0..1.
    """
    names = ("preprocessor_config.json", "video_preprocessor_config.json")
    file = next((folder / name for name in names if (folder / name).is_file()), None)
    if file is None:
        return {}
    told = read_json(file)
    found: dict[str, Any] = {}
    try:
        if told.get("image_mean") is not None and told.get("image_std") is not None:
            mean, std = list(map(float, told["image_mean"])), list(map(float, told["image_std"]))
            if told.get("do_normalize") is False:
                mean, std = [0.0] * 3, [1.0] * 3
            factor = float(told.get("rescale_factor") or 1 / 255) * 255 if told.get("do_rescale", True) else 255.0
            offset = 1.0 if told.get("offset") or told.get("rescale_offset") else 0.0
            found["mean"] = tuple((offset + value) / factor for value in mean)
            found["std"] = tuple(value / factor for value in std)
        found["interpolation"] = _RESAMPLE.get(told.get("resample", -1))
        found["size"] = _size(told.get("crop_size")) or _size(told.get("size"))
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(f"{file} cannot be used: {error}") from None
    return {key: value for key, value in found.items() if value is not None}


def _size(told: Any) -> tuple[int, int] | None:
    if isinstance(told, int):
        return told, told
    if isinstance(told, list | tuple):
        return int(told[0]), int(told[1])
    if isinstance(told, dict):
        if "height" in told:
            return int(told["height"]), int(told["width"])
        if "shortest_edge" in told:
            return int(told["shortest_edge"]), int(told["shortest_edge"])
    return None
