"""Guidance by Zero-1-to-3 (Liu et al., Zero-1-to-3: zero-shot one image to 3D object, ICCV 2023) and Stable Zero123.

Weights lie in a local folder as diffusers writes them, safetensors only (tools/convert_weights.py makes them of `.bin`
files and of an original `.ckpt`); nothing is downloaded:

    image_encoder/           CLIP's picture tower (transformers)
    vae/, unet/              autoencoder, and U-Net with 8 input channels (diffusers)
    clip_camera_projection/  Linear(768 + 4 -> 768)
    scheduler/               scheduler_config.json, for the betas

The U-Net is conditioned on Linear([CLIP(photo), tau]) and on the photo's latents as further channels, which are NOT
multiplied by the autoencoder's factor. tau = [d elevation, sin d azimuth, cos d azimuth, d radius], radians, relative
to the photo's camera; the fourth entry of Stable Zero123 is that of 90 degrees + the photo's elevation instead.
Elevations grow downwards here, which is the polar angle's sense there.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from sensorium.core.config import Config
from sensorium.core.errors import DataError, ResourceError, require
from sensorium.core.files import digest, read_json, read_safetensors, sha256_file
from sensorium.lifting.camera import RADIUS
from sensorium.lifting.guidance.base import (
    GuidanceOut,
    Pose,
    Times,
    at_side,
    check_steps,
    distil,
    times_of,
)
from sensorium.lifting.photo.cutout import on_background

logger = logging.getLogger(__name__)

SIDE, CLIP_SIDE = 256, 224
STEPS = 50  # of a DDIM run
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PARTS = ("image_encoder", "vae", "unet", "clip_camera_projection", "scheduler")
PROJECTION = "clip_camera_projection/diffusion_pytorch_model.safetensors"


class Zero123Config(Config):
    """Where the weights lie, and how they guide."""

    folder: str = Field(description="folder of weights as diffusers writes them")
    scale: float = Field(5.0, ge=0, description="g of classifier-free guidance")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where it runs; auto: a GPU if there is one")
    times: Times = Field("annealed", description="of the noise that it distils at: falling with the steps, or drawn "
                         "evenly for each picture")  # fmt: skip
    allow_slow: bool = Field(False, description="run on a CPU, where one step takes minutes")


class Zero123:
    """Distils Zero-1-to-3 in the latents of its autoencoder. See `base.Guidance`."""

    Config = Zero123Config
    name = "zero123"
    space = "latent"
    native_size = SIDE
    uses_alpha = False
    stable = False

    def __init__(self, config: Zero123Config) -> None:
        self.config = config
        self.folder = folder = Path(config.folder).expanduser()
        if not folder.is_dir():
            raise DataError(f"guidance {self.name}: {folder} is no folder of weights")
        automatic = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(automatic if config.device == "auto" else config.device)
        if self.device.type == "cpu" and not config.allow_slow:
            raise ResourceError(
                f"guidance {self.name} takes minutes for one step on a CPU: use the guidance view-prior, or set "
                "guidance.allow_slow=true"
            )
        self.dtype = torch.float16 if self.device.type == "cuda" else torch.float32  # a CPU has no fast halves
        self._load(folder)
        self._photo: Tensor | None = None
        self._clip: Tensor | None = None
        self._elevation, self._home = 0.0, torch.device("cpu")

    def _load(self, folder: Path) -> None:
        diffusers: Any = require(
            "diffusers", extra="lift-hub", purpose=f"guidance {self.name}", instead="use the guidance view-prior"
        )
        transformers: Any = require("transformers", extra="encoders", purpose=f"guidance {self.name}")
        told: Any = {"local_files_only": True, "output_loading_info": True, "use_safetensors": True}
        try:
            vae, unet, tower = (
                kind.from_pretrained(str(folder / part), **told, **{word: self.dtype})
                for kind, part, word in (
                    (diffusers.AutoencoderKL, "vae", "torch_dtype"),
                    (diffusers.UNet2DConditionModel, "unet", "torch_dtype"),
                    (transformers.CLIPVisionModelWithProjection, "image_encoder", "dtype"),
                )
            )
        except (OSError, ValueError) as error:
            raise DataError(
                f"{folder} holds no weights of {self.name} as safetensors: {' '.join(str(error).split())[:200]}. "
                "Convert .bin files by 'tools/convert_weights.py diffusers', an original .ckpt by "
                "'tools/convert_weights.py zero123'"
            ) from None
        for (_, facts), part in zip((vae, unet, tower), ("vae", "unet", "image_encoder"), strict=True):
            if lacking := sorted(facts["missing_keys"]):  # they would be random numbers
                raise DataError(f"{folder / part} lacks {len(lacking)} of its network's weights, such as {lacking[0]}")
        projection = read_safetensors(folder / PROJECTION)
        weight, bias = (projection.get(f"proj.{name}") for name in ("weight", "bias"))
        if weight is None or bias is None:
            raise DataError(f"{folder / PROJECTION} holds no proj.weight and proj.bias")
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": weight, "bias": bias})
        parts: list[Any] = [vae[0], unet[0], tower[0], linear.to(self.dtype)]
        self.vae, self.unet, self.tower, self.projection = (
            part.to(self.device).requires_grad_(False).eval() for part in parts
        )
        self.alpha_bars = _alpha_bars(folder / "scheduler" / "scheduler_config.json")

    def prepare(self, reference: Tensor, elevation: float) -> None:
        """Encode the photo on white: CLIP's vector, and latents without the factor."""
        picture = at_side(on_background(reference[None]), SIDE).to(self.device)
        with torch.no_grad():
            small = interpolate(picture, (CLIP_SIDE, CLIP_SIDE), mode="bicubic", antialias=True).clamp(0, 1)
            mean, std = (small.new_tensor(values).reshape(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
            self._clip = self.tower(pixel_values=((small - mean) / std).to(self.dtype)).image_embeds[:, None]
            self._photo = self.vae.encode((2 * picture - 1).to(self.dtype)).latent_dist.mode()
        self._elevation, self._home = elevation, reference.device

    def identity(self) -> str:
        """Return a digest of the settings and of every file that weights and schedule come from."""
        drawn = [] if self.config.times == "annealed" else [self.config.times]
        return digest(self.name, self.config.scale, self.file_hashes, *drawn)

    @cached_property
    def file_hashes(self) -> dict[str, str]:
        """SHA-256 of the files by their place in the folder; gigabytes, so they are read once."""
        found = (path for part in PARTS for path in (self.folder / part).rglob("*"))
        kept = sorted(path for path in found if path.suffix in (".safetensors", ".json"))
        return {path.relative_to(self.folder).as_posix(): sha256_file(path) for path in kept}

    def sds(self, rgba: Tensor, poses: Sequence[Pose], share: float, generator: torch.Generator) -> GuidanceOut:
        """Distil through the autoencoder, at times that are annealed or drawn; pictures lie on white or black by a
        coin."""
        white = bool(torch.rand((), generator=generator) < 0.5)
        picture = on_background(at_side(rgba, SIDE), 1.0 if white else 0.0).to(self.device)
        z = self._latents(picture)
        total, t = len(self.alpha_bars), times_of(share, len(z), self.config.times, generator)
        condition = self._condition(poses)
        if isinstance(t, Tensor):
            places = (t * total).round().long().clamp(max=total - 1)
            loss, logs = distil(
                z, self.alpha_bars[places], lambda noisy: self._predict(noisy, places, condition), generator
            )
            return GuidanceOut(loss.to(rgba.device), {"t": float(places.double().mean()) / total, **logs})
        index = min(round(t * total), total - 1)
        loss, logs = distil(
            z, float(self.alpha_bars[index]), lambda noisy: self._predict(noisy, index, condition), generator
        )
        return GuidanceOut(loss.to(rgba.device), {"t": index / total, **logs})

    @torch.no_grad()
    def refine(self, rgba: Tensor, poses: Sequence[Pose], strength: float, generator: torch.Generator) -> Tensor:
        """Noise the pictures on white and denoise them by DDIM; the result is opaque."""
        z = self._latents(on_background(at_side(rgba, SIDE)).to(self.device))
        total = len(self.alpha_bars)
        steps = [total - 1 - round(k * total / STEPS) for k in range(STEPS)][int(STEPS * strength) :]
        noise = torch.randn(z.shape, generator=generator).to(z)
        if steps:
            signal = float(self.alpha_bars[steps[0]])
            z = math.sqrt(signal) * z + math.sqrt(1 - signal) * noise
        return self._denoised(z, steps, self._condition(poses), self.config.scale).to(rgba.device)

    @torch.no_grad()
    def sample(
        self, poses: Sequence[Pose], *, steps: int = STEPS, scale: float | None = None, generator: torch.Generator
    ) -> Tensor:
        """Make views by DDIM from noise; the result is opaque, on white as the photo is. See `base.Sampler`."""
        check_steps(steps)
        condition, total = self._condition(poses), len(self.alpha_bars)
        assert self._photo is not None  # `_condition` has seen to it
        z = torch.randn((len(poses), *self._photo.shape[1:]), generator=generator).to(self.device)
        g = self.config.scale if scale is None else scale
        places = [total - 1 - round(k * total / steps) for k in range(steps)]
        return self._denoised(z, places, condition, g).to(self._home)

    def _denoised(self, z: Tensor, steps: Sequence[int], condition: Tensor, scale: float) -> Tensor:
        """DDIM without added noise from noisy latents, through these places of the schedule: RGBA [B, 4, 256, 256]."""
        for place, index in enumerate(steps):
            signal = float(self.alpha_bars[index])
            predicted = self._predict(z, index, condition, scale)
            clean = (z - math.sqrt(1 - signal) * predicted) / math.sqrt(signal)
            following = float(self.alpha_bars[steps[place + 1]]) if place + 1 < len(steps) else 1.0
            z = math.sqrt(following) * clean + math.sqrt(1 - following) * predicted
        picture = self.vae.decode((z / self.vae.config.scaling_factor).to(self.dtype)).sample.float()
        rgb = (picture / 2 + 0.5).clamp(0, 1)
        return torch.cat([rgb, torch.ones_like(rgb[:, :1])], 1)

    def _latents(self, picture: Tensor) -> Tensor:
        """Scaled latents, the mode of the posterior: float32 [B, 4, 32, 32], with the picture's graph."""
        mode = self.vae.encode((2 * picture - 1).to(self.dtype)).latent_dist.mode()
        latents: Tensor = (mode * self.vae.config.scaling_factor).float()
        return latents

    def _condition(self, poses: Sequence[Pose]) -> Tensor:
        """CLIP's vector and the relative pose, projected, [B, 1, 768]."""
        if self._clip is None:
            raise DataError("guidance has to see the photo first: call prepare")
        turned = relative_poses(poses, self._elevation, stable=self.stable).to(self.device, self.dtype)
        known = self._clip.expand(len(poses), -1, -1)
        condition: Tensor = self.projection(torch.cat([known, turned[:, None]], -1))
        return condition

    def _predict(self, noisy: Tensor, index: int | Tensor, condition: Tensor, scale: float | None = None) -> Tensor:
        """The noise that the U-Net sees in latents at a place of the schedule, one for all or [B]; float32."""
        assert self._photo is not None  # `_condition` has seen to it
        photo = self._photo.expand(len(noisy), -1, -1, -1)
        channels = torch.cat([photo, torch.zeros_like(photo)])
        states = torch.cat([condition, torch.zeros_like(condition)])
        entry = torch.cat([torch.cat([noisy, noisy]).to(self.dtype), channels], 1)
        time = torch.as_tensor(index, device=self.device).expand(len(noisy)).repeat(2)
        given, withheld = self.unet(entry, time, encoder_hidden_states=states).sample.float().chunk(2)
        g = self.config.scale if scale is None else scale
        predicted: Tensor = withheld + g * (given - withheld)
        return predicted


class StableZero123(Zero123):
    """Stable Zero123: the same network, told the photo's elevation in place of the radius."""

    name = "stable-zero123"
    stable = True


def relative_poses(poses: Sequence[Pose], elevation: float, *, stable: bool) -> Tensor:
    """Return tau of cameras, float32 [B, 4], see the module.

    Args:
        poses: Absolute, the photo's camera at azimuth 0 and radius 2.
        elevation: Of the photo's camera, degrees.
        stable: For Stable Zero123.
    """
    rows = []
    for pose in poses:
        turn = math.radians(pose.azimuth)
        last = math.radians(90 + elevation) if stable else pose.radius - RADIUS
        rows.append([math.radians(pose.elevation - elevation), math.sin(turn), math.cos(turn), last])
    return torch.tensor(rows, dtype=torch.float32)


def _alpha_bars(path: Path) -> Tensor:
    """Shares of the signal by time, float64 [T], of a scheduler's file."""
    config = read_json(path)
    first, last, count = config["beta_start"], config["beta_end"], config["num_train_timesteps"]
    if config["beta_schedule"] == "scaled_linear":
        betas = torch.linspace(first**0.5, last**0.5, count, dtype=torch.float64).square()
    elif config["beta_schedule"] == "linear":
        betas = torch.linspace(first, last, count, dtype=torch.float64)
    else:
        raise DataError(f"{path}: the schedule '{config['beta_schedule']}' is not known (linear, scaled_linear)")
    return (1 - betas).cumprod(0)
