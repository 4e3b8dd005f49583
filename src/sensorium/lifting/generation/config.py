"""Every key of one photo to a 3D asset. A preset fills in sizes; what is given beside it wins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from sensorium.core.config import Config, component, dump
from sensorium.lifting.contrastive import ContrastiveConfig, released
from sensorium.lifting.generation.given import ArrayPhoto, PhotoField, is_array
from sensorium.lifting.generation.similarity import SimilarityConfig
from sensorium.lifting.guidance.base import GROUP
from sensorium.lifting.meshing import MeshConfig
from sensorium.lifting.photo.preparation import PhotoConfig
from sensorium.lifting.presets import PRESETS, Preset, PresetName


class KnownConfig(Config):
    """The view of the photo."""

    rgb_weight: float = Field(1e4, ge=0, description="of the mean squared difference of colours, on white")
    alpha_weight: float = Field(1e3, ge=0, description="of that of coverage")
    floor: float = Field(0.2, ge=0, le=1, description="both grow with the share of the steps that is done, from this "
                         "share on; the released program has 0")  # fmt: skip


class NovelConfig(Config):
    """Views from other sides."""

    views: int = Field(2, ge=1, description="in one step")
    elevations: tuple[float, float] = Field((-30.0, 30.0), description="relative to the photo's, degrees; widened so "
                                            "that eye level is always among them")  # fmt: skip
    limit: float = Field(80.0, gt=0, lt=89.9, description="absolute elevation that is never exceeded, degrees")


class TextureConfig(Config):
    """The second stage: the texture of the mesh."""

    steps: int = Field(50, ge=0, description="of Adam")
    rate: float = Field(0.05, gt=0, description="learning rate, in logits; the released program has 0.2")
    known_weight: float = Field(4.0, ge=0, description="of the photo's view")
    refined_weight: float = Field(1.0, ge=0, description="of views that guidance refined")
    strength: tuple[float, float] = Field((0.8, 0.95), description="how much of those views is kept, at the first and "
                                          "the last step")  # fmt: skip
    skip_within: float = Field(30.0, ge=0, description="degrees around the photo where nothing is refined")
    photo_side: int = Field(512, ge=16, description="pixels of the photo that is carried onto the texture")


class OutputConfig(Config):
    """What is written beside the cloud."""

    mesh: Literal["glb", "obj"] = Field("glb", description="kind of the mesh's file")
    turntable: Literal["mp4", "gif", "none"] = Field("mp4", description="kind of the film")
    frames: int = Field(120, ge=2, description="of the film; a GIF has at most 60")
    frame_side: int = Field(512, ge=16, description="pixels along a frame; a GIF has at most 256")


class LiftConfig(Config):
    """One photo to a 3D asset."""

    kind: Literal["lift"] = Field("lift", description="which job this is")
    photo: Annotated[str | ArrayPhoto, PhotoField()] = Field(
        description="a picture of one object; in Python also an array [H, W, 3 or 4], see generation/given.py"
    )
    elevation: float | Literal["auto"] = Field(0.0, description="of the photo's camera, degrees: negative where it "
                                               "looks down; auto: estimated by the embedded prior")  # fmt: skip
    preset: PresetName = Field("cpu-fast", description="what fills in sizes: cpu-fast, cpu, gpu, test or parity")
    sizes: Preset = Field(description="Gaussians, pictures and steps; filled in by the preset")
    preparation: PhotoConfig = Field(default_factory=PhotoConfig, description="how the photo becomes a cut-out")
    guidance: component(GROUP) = Field(  # type: ignore[valid-type]
        {"name": "view-prior"}, description="who knows the other sides, and its own keys"
    )
    guidance_weight: float | Literal["views"] = Field(
        1.0, description="of the mean loss of guidance over the views of a step; views: as many as there are, their sum"
    )
    known: KnownConfig = Field(default_factory=KnownConfig, description="the view of the photo")
    novel: NovelConfig = Field(default_factory=NovelConfig, description="views from other sides")
    contrastive: ContrastiveConfig = Field(default_factory=ContrastiveConfig, description="the contrastive term")
    lpips: str | None = Field(None, description="file of a converted LPIPS; none: the AlexNet of this package")
    mesh: MeshConfig = Field(default_factory=MeshConfig, description="how the mesh is made")
    texture: TextureConfig = Field(default_factory=TextureConfig, description="how its texture is refined")
    output: OutputConfig = Field(default_factory=OutputConfig, description="what is written")
    similarity: SimilarityConfig = Field(default_factory=SimilarityConfig, description="how much it looks like its "
                                         "photo from all around, by encoders")  # fmt: skip
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where the optimisation runs")
    seed: int = Field(0, ge=0, description="decides every random draw")

    @field_validator("guidance_weight")
    @classmethod
    def _not_negative(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and not value >= 0:
            raise ValueError(f"a weight is at least 0, not {value:g}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, tree: Any) -> Any:
        if isinstance(tree, Mapping) and (name := tree.get("preset", "cpu-fast")) in FILLED:
            return laid_over(FILLED[name], tree)
        return tree

    @property
    def photo_name(self) -> str:
        """What the photo is called in titles and names of folders: its file's stem, or `array-<digits>`."""
        if isinstance(self.photo, ArrayPhoto):
            return self.photo.name.replace(":", "-")
        return self.photo.replace(":", "-") if is_array(self.photo) else Path(self.photo).stem

    @property
    def guidance_factor(self) -> float:
        """lambda_g as a number: the weight of the mean loss of guidance over the views of a step."""
        return float(self.novel.views) if isinstance(self.guidance_weight, str) else self.guidance_weight

    @property
    def lpips_net(self) -> str:
        """The network that the preset means for LPIPS."""
        return "vgg16" if self.preset in ("gpu", "parity") else "alexnet"


def laid_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree with another laid over it: mappings are merged key by key, all else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = laid_over(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _fill(name: PresetName, **more: Any) -> dict[str, Any]:
    return {"sizes": dump(PRESETS[name]), **more}


FILLED: dict[str, dict[str, Any]] = {
    "cpu-fast": _fill(
        "cpu-fast",
        mesh={"resolution": 64, "texture": 512, "view_size": 256},
        output={"frames": 60, "frame_side": 256},
    ),
    "cpu": _fill("cpu"),
    "gpu": _fill("gpu", mesh={"max_faces": 50_000}, novel={"views": 4}, contrastive={"side": 256}),
    "test": _fill(
        "test",
        mesh={"resolution": 48, "texture": 128, "view_size": 64, "max_faces": 2000},
        texture={"steps": 10, "photo_side": 128},
        output={"turntable": "gif", "frames": 8, "frame_side": 64},
        similarity={"dino": "none", "clip": "none"},
    ),
    "parity": _fill(
        "parity",
        mesh={"max_faces": 50_000, "merge": "first"},
        known={"floor": 0.0},
        guidance_weight="views",  # the released loss adds up the views of a step
        contrastive=dump(released()),
        texture={"rate": 0.2, "known_weight": 1.0, "photo_side": 1024},
    ),
}
