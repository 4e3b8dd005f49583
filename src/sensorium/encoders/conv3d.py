"""A small 3D convolutional encoder of clips (`conv3d_network.py`): it sees motion, and trains on a processor.

It comes without weights. `tools/train_conv3d.py` trains some to tell motions of drawn clips apart; random ones are for
tests and for training from scratch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sensorium.core import config as core_config
from sensorium.core.errors import DataError
from sensorium.core.files import read_safetensors, sha256_file
from sensorium.core.home import cache_home
from sensorium.encoders.base import EncoderCard, LicenceCard, WeightsCard
from sensorium.encoders.preparing.image import ImagePreparer
from sensorium.encoders.preparing.video import FramePreparer
from sensorium.encoders.protocol import Prepared, Preparer
from sensorium.media.moments import Rule

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "conv3d"
WIDTHS = (16, 32, 64)
PREP_VERSION = 1
MODEL = "model.safetensors"
PARAMETERS = sum(27 * width * (before + width) + 4 * width for before, width in zip((3, *WIDTHS), WIDTHS, strict=False))


class Conv3D:
    """A small 3D convolutional network over frames: states are the means of its 3 stages, the vector is the last."""

    class Config(core_config.Config):
        """Its keys."""

        weights: str = Field(
            "random",
            description="random: untrained; or a folder with model.safetensors, or the name of one below the cache's "
            "folder conv3d, where tools/train_conv3d.py writes them",
        )
        seed: int = Field(0, ge=0, description="of random weights")
        frames: int = Field(8, ge=4, description="frames of a clip")
        choice: Rule = Field(
            "uniform", description="uniform: midpoints of equal parts; center: neighbours in the middle"
        )
        size: int = Field(32, ge=8, description="height and width of a frame, in pixels")

    card: EncoderCard
    module: nn.Module
    preparer: Preparer
    layers: ClassVar[tuple[int, ...]] = (1, 2, 3)
    layer_dims: ClassVar[tuple[int, ...]] = WIDTHS
    pooled_dim: ClassVar[int] = WIDTHS[-1]
    pooling: ClassVar[str] = "mean"
    final_norm: ClassVar[bool] = False
    budget: int = 256  # frames times clips; they are small

    @classmethod
    def describe(cls, config: Config | None = None) -> EncoderCard:
        """Return the card."""
        config = config or cls.Config()
        random = config.weights == "random"
        file = _file(config.weights)
        return EncoderCard(
            name=NAME,
            family="conv3d",
            modality="video",
            pooled_dim=cls.pooled_dim,
            layers=cls.layers,
            layer_dims=cls.layer_dims,
            params=PARAMETERS,
            resolution=(config.size, config.size),
            frames=config.frames,
            weights=WeightsCard(
                source="random" if random else "path",
                package=None if random else str(file.parent),
                file=None if random else MODEL,
            ),
            licence=LicenceCard(weights=None),
            download_mb=0.0,
            runs_now=random or file.is_file(),
            why_not="" if random or file.is_file() else f"{file} is missing: make it with python tools/train_conv3d.py",
            trust="" if random else "trained on this machine or by whoever gave the folder",
            preprocessing=f"{config.frames} frames, {config.choice} in time, squashed to {config.size} x {config.size}",
            prep_version=PREP_VERSION,
        )

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()
        self.card = self.describe(self.config)
        if not self.card.runs_now:
            raise DataError(f"{NAME}: {self.card.why_not}")
        image = ImagePreparer((self.config.size, self.config.size), "squash")
        self.preparer = FramePreparer(image, self.config.frames, self.config.choice)
        if self.config.weights == "random":
            self.weights_hash = hashlib.sha256(f"{NAME} random {self.config.seed}".encode()).hexdigest()
        else:
            self.weights_hash = sha256_file(_file(self.config.weights))

    def load(self) -> None:
        """Build the network with its weights; a second call does nothing.

        Raises:
            DataError: The file has changed since, or does not fit the network.
        """
        if hasattr(self, "module"):
            return
        import torch

        from sensorium.encoders.conv3d_network import Conv3DNetwork

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            network = Conv3DNetwork()
        if self.config.weights != "random":
            file = _file(self.config.weights)
            if sha256_file(file) != self.weights_hash:
                raise DataError(f"{file} has changed while it was used")
            try:
                network.load_state_dict(read_safetensors(file))
            except RuntimeError as error:
                raise DataError(f"{file} does not fit {NAME}: {str(error).splitlines()[-1].strip()}") from None
        self.module = network.eval()

    def collate(self, items: Sequence[Prepared]) -> dict[str, Tensor]:
        """Stack clips: `pixels` float32 [b, T, 3, H, W]."""
        import torch

        return {"pixels": torch.from_numpy(np.stack([item.arrays["pixels"] for item in items]))}

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the stages' means, zero beyond their widths, float32 [b, 3, 64], and the last one, [b, 64]."""
        import torch
        from torch.nn import functional

        means = [stage.float().mean((2, 3, 4)) for stage in self._maps(batch)]
        wide = [functional.pad(mean, (0, WIDTHS[-1] - mean.shape[1])) for mean in means]
        return torch.stack(wide, 1), means[-1]

    def tokens(self, batch: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
        """Return the positions of one stage in time and space, [b, T' h w, its width]; all of them are content."""
        import torch

        states = self._maps(batch)[self.layers.index(layer)].float().flatten(2).transpose(1, 2)
        return states, torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)

    def _maps(self, batch: Mapping[str, Tensor]) -> list[Tensor]:
        from sensorium.encoders.conv3d_network import Conv3DNetwork

        assert isinstance(self.module, Conv3DNetwork)
        return self.module.maps(batch["pixels"])


def _file(weights: str) -> Path:
    folder = Path(weights).expanduser()
    return (folder if folder.is_dir() else cache_home() / NAME / weights) / MODEL
