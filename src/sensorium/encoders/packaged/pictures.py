"""efflite0, dinov2s-focus, frames-efflite0: encoders of pictures and clips whose weights come in packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field

from sensorium.encoders.packaged import sources
from sensorium.encoders.packaged.base import PackagedConfig, PackagedEncoder, load_own, load_pretrained
from sensorium.encoders.packaged.sizes import EFFLITE_HEAD as HEAD
from sensorium.encoders.packaged.sizes import EFFLITE_WIDTHS as WIDTHS
from sensorium.encoders.preparing.image import Geometry, ImagePreparer
from sensorium.encoders.preparing.video import FramePreparer
from sensorium.encoders.protocol import Prepared

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sensorium.encoders.packaged.efficientnet_lite import EfficientNetLite0

EFFLITE_MEAN, EFFLITE_STD = (127 / 255,) * 3, (128 / 255,) * 3
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class EffLiteConfig(PackagedConfig):
    """Options of efflite0."""

    geometry: Geometry = Field("pad", description="how a picture is brought to 224 x 224: pad, squash or crop")


class FramesConfig(EffLiteConfig):
    """Options of frames-efflite0."""

    frames: int = Field(8, ge=1, le=64, description="frames of a clip")
    choice: Literal["uniform", "center"] = Field("uniform", description="which frames")
    video_pool: Literal["mean", "mean_diff"] = Field(
        "mean", description="mean_diff appends the mean absolute difference of consecutive frames' vectors"
    )


class DinoConfig(PackagedConfig):
    """Options of dinov2s-focus."""

    size: tuple[int, int] = Field((168, 112), description="height and width, multiples of 14")
    geometry: Geometry = Field("squash", description="how a picture is brought to that size: pad, squash or crop")


def _pad_widths(states: Sequence[Tensor]) -> Tensor:
    """Stack [b, width] of several widths to [b, K, D], zero on the right."""
    import torch
    from torch.nn import functional

    widest = max(part.shape[1] for part in states)
    return torch.stack([functional.pad(part, (0, widest - part.shape[1])) for part in states], dim=1)


class EffLite0(PackagedEncoder):
    """EfficientNet-lite0: states are spatial means at the ends of its 7 stages, the vector is what its head reads."""

    Config: ClassVar[type[PackagedConfig]] = EffLiteConfig
    weights = sources.EFFLITE0
    random = True
    layers, layer_dims, pooled_dim, pooling = tuple(range(len(WIDTHS))), WIDTHS, HEAD, "spatial mean"
    final_norm = True
    budget = 16

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.preparer = ImagePreparer((224, 224), self.config.geometry, EFFLITE_MEAN, EFFLITE_STD)

    @classmethod
    def _facts(cls, config: Any) -> dict[str, Any]:
        return {
            "family": "efficientnet-lite",
            "modality": "image",
            "pooled_dim": HEAD,
            "layers": tuple(range(len(WIDTHS))),
            "layer_dims": WIDTHS,
            "params": 4_652_008,
            "resolution": (224, 224),
            "preprocessing": f"upright RGB, alpha on white, {config.geometry} to 224 x 224, (x - 127) / 128",
        }

    def _build(self) -> nn.Module:
        from sensorium.encoders.packaged import efficientnet_lite

        if self._place.folder is None:
            return efficientnet_lite.random_weights(0)
        return load_own(efficientnet_lite.EfficientNetLite0(), self.folder)

    @property
    def network(self) -> EfficientNetLite0:
        """The module, as what it is."""
        return cast("EfficientNetLite0", self.module)

    def collate(self, items: Sequence[Prepared]) -> dict[str, Tensor]:
        """Stack pictures: `pixels` float32 [b, 3, 224, 224]."""
        import torch

        return {"pixels": torch.stack([torch.from_numpy(item.arrays["pixels"]) for item in items])}

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return states [b, 7, 320] and vectors [b, 1280]."""
        maps, vector = self.network(batch["pixels"])
        return _pad_widths([stage.mean((2, 3)) for stage in maps]).float(), vector.float()

    def tokens(self, batch: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
        """Return the positions of one stage [b, h w, width]; all of them are content."""
        import torch

        for place, stage in enumerate(self.network.stage_maps(batch["pixels"])):
            if place == layer:
                states = stage.flatten(2).transpose(1, 2).float()
                return states, torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        raise ValueError(f"efflite0 has no stage {layer}")

    def probabilities(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return what it sees among 1,000 ImageNet classes, float32 [b, 1000], rows summing to 1."""
        return self.network.logits(self.network(batch["pixels"])[1]).float().softmax(1)


class FramesEffLite0(EffLite0):
    """Frames of a clip through EfficientNet-lite0: states and vectors are means over frames."""

    Config: ClassVar[type[PackagedConfig]] = FramesConfig
    pooling = "mean over frames"

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        image = ImagePreparer((224, 224), self.config.geometry, EFFLITE_MEAN, EFFLITE_STD)
        self.preparer = FramePreparer(image, self.config.frames, self.config.choice)
        if self.config.video_pool == "mean_diff":
            self.pooled_dim, self.pooling = 2 * HEAD, "mean and mean difference over frames"

    @classmethod
    def _facts(cls, config: Any) -> dict[str, Any]:
        facts = super()._facts(config)
        doubled = config.video_pool == "mean_diff"
        return {
            **facts,
            "modality": "video",
            "frames": config.frames,
            "pooled_dim": HEAD * (1 + doubled),
            "preprocessing": f"{config.frames} frames, {config.choice} in time, each: {facts['preprocessing']}",
        }

    @classmethod
    def _card(cls, config: Any, source: Any, why_not: str) -> Any:
        return super()._card(config, source, why_not).model_copy(update={"name": "frames-efflite0"})

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return states [b, 7, 320] and vectors [b, 1280] (or [b, 2560]) of clips [b, T, 3, 224, 224]."""
        import torch

        states, vectors = self._per_frame(batch)
        pooled = vectors.mean(1)
        if self.config.video_pool == "mean_diff":
            moved = vectors.diff(dim=1).abs()
            pooled = torch.cat([pooled, moved.mean(1) if moved.shape[1] else torch.zeros_like(pooled)], dim=1)
        return states.mean(1), pooled

    def _per_frame(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        clips = batch["pixels"]
        states, vectors = super().forward({"pixels": clips.flatten(0, 1)})
        n, frames = clips.shape[:2]
        return states.reshape(n, frames, *states.shape[1:]), vectors.reshape(n, frames, -1)

    def tokens(self, batch: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
        """Return one state per frame [b, T, width]."""
        import torch

        states = self._per_frame(batch)[0][:, :, layer, : WIDTHS[layer]]
        return states, torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)


class DinoFocus(PackagedEncoder):
    """A DINOv2-derived ViT-S/14: states are its class token after each block, the vector the mean of the patches of
    layer 8 (its last layers were bent to saliency: they are the worst of the upper half)."""

    Config: ClassVar[type[PackagedConfig]] = DinoConfig
    weights = sources.DINOV2S
    needs = ("transformers",)
    layers, layer_dims, pooled_dim = tuple(range(13)), (384,) * 13, 384
    pooling = "class token; vector: patch mean of layer 8"
    budget = 16
    vector_layer = 8

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.preparer = ImagePreparer(self.config.size, self.config.geometry, IMAGENET_MEAN, IMAGENET_STD)

    @classmethod
    def _facts(cls, config: Any) -> dict[str, Any]:
        height, width = config.size
        return {
            "family": "dinov2",
            "modality": "image",
            "pooled_dim": 384,
            "layers": tuple(range(13)),
            "layer_dims": (384,) * 13,
            "params": 22_056_576,
            "resolution": (height, width),
            "preprocessing": f"upright RGB, alpha on white, {config.geometry} to {height} x {width}, "
            "ImageNet mean and std",
        }

    def _build(self) -> nn.Module:
        return load_pretrained(self.folder, "Dinov2Model")

    def collate(self, items: Sequence[Prepared]) -> dict[str, Tensor]:
        """Stack pictures: `pixels` float32 [b, 3, H, W]."""
        import torch

        return {"pixels": torch.stack([torch.from_numpy(item.arrays["pixels"]) for item in items])}

    def _states(self, batch: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the hidden states, the last one after the final norm."""
        found = list(self.module(pixel_values=batch["pixels"], output_hidden_states=True).hidden_states)
        norm = cast("nn.Module", self.module.layernorm)
        found[-1] = norm(found[-1])
        return found

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return states [b, 13, 384] and vectors [b, 384]."""
        import torch

        states = self._states(batch)
        vector = states[self.vector_layer][:, 1:].mean(1)
        return torch.stack([layer[:, 0] for layer in states], dim=1).float(), vector.float()

    def tokens(self, batch: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
        """Return class token and patches of one layer [b, 1 + patches, 384]; all of them are content."""
        import torch

        states = self._states(batch)[layer].float()
        return states, torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
