"""yamnet, whisper-tiny-en: encoders of sound whose weights come in packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from sensorium.core.files import read_json
from sensorium.encoders.packaged import sources
from sensorium.encoders.packaged.base import PackagedConfig, PackagedEncoder, load_own, load_pretrained
from sensorium.encoders.packaged.sizes import YAMNET_WIDTHS as WIDTHS
from sensorium.encoders.preparing.audio import RATE, WhisperPreparer, YamNetPreparer
from sensorium.encoders.protocol import Prepared

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sensorium.encoders.packaged.yamnet import YamNet

CLASSES = "classes.json"


class SoundConfig(PackagedConfig):
    """Options of a sound encoder."""

    max_seconds: float = Field(60.0, gt=0, description="longer sound is read in segments around evenly spaced moments")


class YamNetConfig(SoundConfig):
    """Options of yamnet."""

    segments: int = Field(6, ge=1, description="segments of a longer sound")
    segment_seconds: float = Field(10.0, ge=1, description="length of each, in seconds")


class WhisperConfig(SoundConfig):
    """Options of whisper-tiny-en."""

    segments: int = Field(2, ge=1, description="segments of 30 s of a longer sound")


def _split(values: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Cut rows of windows [windows, ...] into items, by `pieces`."""
    import torch

    return torch.split(values, batch["pieces"].tolist())


class YamNetEncoder(PackagedEncoder):
    """YAMNet: states are the spatial means of its 14 stages, the vector what its classifier reads; means over patches
    of .96 s."""

    Config: ClassVar[type[PackagedConfig]] = YamNetConfig
    weights = sources.YAMNET
    random = True
    layers, layer_dims, pooled_dim, pooling = tuple(range(len(WIDTHS))), WIDTHS, WIDTHS[-1], "mean over patches"
    budget = 168  # patches: 8 segments of 10 s

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.preparer = YamNetPreparer(self.config.max_seconds, self.config.segments, self.config.segment_seconds)

    @classmethod
    def _facts(cls, config: Any) -> dict[str, Any]:
        return {
            "family": "yamnet",
            "modality": "audio",
            "pooled_dim": WIDTHS[-1],
            "layers": tuple(range(len(WIDTHS))),
            "layer_dims": WIDTHS,
            "params": 3_729_481,
            "sample_rate": RATE,
            "preprocessing": "mono at 16 kHz, 64 log mel bands in patches of .96 s every .48 s; of sound over "
            f"{config.max_seconds:g} s {config.segments} segments of {config.segment_seconds:g} s",
        }

    def _build(self) -> nn.Module:
        from sensorium.encoders.packaged import yamnet

        return yamnet.random_weights(0) if self._place.folder is None else load_own(yamnet.YamNet(), self.folder)

    @property
    def network(self) -> YamNet:
        """The module, as what it is."""
        return cast("YamNet", self.module)

    def class_names(self) -> list[str]:
        """Return the names of the 521 kinds of sound."""
        return [str(name) for name in read_json(self.folder / CLASSES)]

    def collate(self, items: Sequence[Prepared]) -> dict[str, Tensor]:
        """Put patches end to end: `patches` float32 [windows, 1, 96, 64], `pieces` int64 [b]."""
        import torch

        patches = torch.cat([torch.from_numpy(item.arrays["patches"]) for item in items])
        return {"patches": patches.unsqueeze(1), "pieces": torch.tensor([item.pieces for item in items])}

    def _windows(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return states [windows, 14, 1024] and vectors [windows, 1024] of every patch."""
        import torch
        from torch.nn import functional

        maps, vectors = self.network(batch["patches"])
        means = [stage.mean((2, 3)) for stage in maps]
        padded = torch.stack([functional.pad(part, (0, WIDTHS[-1] - part.shape[1])) for part in means], dim=1)
        return padded.float(), vectors.float()

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return states [b, 14, 1024] and vectors [b, 1024]."""
        import torch

        states, vectors = self._windows(batch)
        return (
            torch.stack([part.mean(0) for part in _split(states, batch)]),
            torch.stack([part.mean(0) for part in _split(vectors, batch)]),
        )

    def tokens(self, batch: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
        """Return one state per patch [b, most patches, width] and which of them are content."""
        states = self._windows(batch)[0][:, layer, : WIDTHS[layer]]
        return _padded(_split(states, batch))

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return scores of 521 kinds of sound, means over patches, float32 [b, 521]."""
        import torch

        scores = self.network.logits(self._windows(batch)[1])
        return torch.stack([part.mean(0) for part in _split(scores, batch)])


def _padded(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pad [n_i, D] on the right to [b, n, D], with the mask [b, n]."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    lengths = torch.tensor([len(part) for part in parts], device=parts[0].device)
    states = pad_sequence(list(parts), batch_first=True)
    return states, torch.arange(states.shape[1], device=states.device) < lengths[:, None]


class WhisperTinyEn(PackagedEncoder):
    """The encoder of Whisper tiny.en: states and vector are means over the positions with sound, then over windows.

    A second of sound in its window of 30 s is 97 % silence: pooled over all positions, silence is what it would say.
    """

    Config: ClassVar[type[PackagedConfig]] = WhisperConfig
    weights = sources.WHISPER_TINY_EN
    needs = ("transformers",)
    layers, layer_dims, pooled_dim = tuple(range(5)), (384,) * 5, 384
    pooling = "mean over positions with sound"
    budget = 8

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.preparer = WhisperPreparer(self.config.max_seconds, self.config.segments)

    @classmethod
    def _facts(cls, config: Any) -> dict[str, Any]:
        return {
            "family": "whisper",
            "modality": "audio",
            "pooled_dim": 384,
            "layers": tuple(range(5)),
            "layer_dims": (384,) * 5,
            "params": 8_208_384,
            "sample_rate": RATE,
            "languages": "English",
            "preprocessing": "mono at 16 kHz, 80 log mel bands in windows of 30 s; of sound over "
            f"{config.max_seconds:g} s {config.segments} segments of 30 s",
        }

    def _build(self) -> nn.Module:
        return cast("nn.Module", load_pretrained(self.folder, "WhisperModel").encoder)

    def collate(self, items: Sequence[Prepared]) -> dict[str, Tensor]:
        """Windows end to end: `mel` float32 [windows, 80, 3000], `positions` int64 [windows], `pieces` int64 [b]."""
        import torch

        return {
            "mel": torch.cat([torch.from_numpy(item.arrays["mel"]) for item in items]),
            "positions": torch.cat([torch.from_numpy(item.arrays["positions"]) for item in items]),
            "pieces": torch.tensor([item.pieces for item in items]),
        }

    def _states(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = self.module(batch["mel"], output_hidden_states=True).hidden_states
        return found

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return states [b, 5, 384] and vectors [b, 384]."""
        import torch

        states = self._states(batch)
        with_sound = torch.arange(states[0].shape[1], device=states[0].device) < batch["positions"][:, None]
        weights = (with_sound.float() / with_sound.sum(1, keepdim=True)).unsqueeze(1)  # [windows, 1, positions]
        pooled = torch.cat([weights @ layer.float() for layer in states], dim=1)  # [windows, K, D]
        items = torch.stack([part.mean(0) for part in _split(pooled, batch)])
        return items, items[:, -1]

    def tokens(self, batch: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
        """Return the positions with sound of all windows, end to end, [b, n, 384], and the mask."""
        import torch

        states = self._states(batch)[layer].float()
        windows = _split(states, batch)
        lengths = _split(batch["positions"], batch)
        return _padded(
            [
                torch.cat([window[:length] for window, length in zip(item, counts.tolist(), strict=True)])
                for item, counts in zip(windows, lengths, strict=True)
            ]
        )
