"""timm's image models: an extra of its own, imported only when one is asked for.

timm requires torchvision, and does not import without it. PyPI's torchvision beside a CPU build of torch breaks the
image models of transformers as well, so nothing here installs it. Where a torchvision that matches the torch is there,
any model of timm works whose weights lie in a folder (`config.json`, `model.safetensors`) or in the Hub's cache.
States are the outputs of timm's feature stages, the vector is its pooled output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sensorium.core.errors import DataError, MissingExtraError
from sensorium.core.files import read_json, read_safetensors
from sensorium.encoders.base import EncoderCard, LicenceCard, Modality, WeightsCard
from sensorium.encoders.hub import weights as hub_weights
from sensorium.encoders.hub.base import PREP_VERSION
from sensorium.encoders.hub.sequences import as_sequence, stacked, widened
from sensorium.encoders.hub.vision import HubImageConfig
from sensorium.encoders.preparing.image import ImagePreparer
from sensorium.encoders.protocol import Prepared, Preparer

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "timm-image"
NEEDS = "needs a torchvision that matches your torch"


def why_not() -> str:
    """Return why timm cannot be used here, or nothing; imports neither timm nor torchvision."""
    if find_spec("torchvision") is None:
        return f"{NEEDS}, and timm: pip install --no-deps timm (see pytorch.org for the torchvision of your build)"
    if find_spec("timm") is None:
        return "needs the package 'timm': pip install --no-deps timm"
    ours, theirs = _build("torch"), _build("torchvision")
    if ours != theirs:
        return f"{NEEDS}: torch is {ours}, torchvision is {theirs} (see pytorch.org)"
    return ""


def _build(package: str) -> str:
    """Return which build of a package is installed, as in "+cpu"; PyPI's own carry no mark."""
    try:
        _, plus, mark = metadata.version(package).partition("+")
    except metadata.PackageNotFoundError:
        return "missing"
    return f"a build for {mark}" if plus else "the index's build"


def timm() -> Any:
    """Import timm.

    Raises:
        MissingExtraError: It, or a torchvision that fits, is not there.
    """
    if reason := why_not():
        raise MissingExtraError(f"{NAME} {reason}")
    try:
        return import_module("timm")
    except Exception as error:  # noqa: BLE001 - a torchvision of another build fails in many ways
        raise MissingExtraError(f"{NAME} {NEEDS}: importing timm fails with {type(error).__name__}: {error}") from None


class TimmConfig(HubImageConfig):
    """Options of a model of timm."""

    id: str = Field("", description="Hub id (as in timm/resnet50.a1_in1k), or a folder with config.json and weights")


class TimmImage:
    """Any image model of timm."""

    Config = TimmConfig
    modality: Modality = "image"
    budget = 16
    module: nn.Module
    preparer: Preparer
    pooling = "mean"
    final_norm = False

    def __init__(self, config: Any = None) -> None:
        self.config = config if config is not None else self.Config()
        self._timm = timm()
        self.folder, self.source, self.version = _files(self.config)
        told = read_json(self.folder / "config.json")
        self.architecture = str(told.get("architecture", ""))
        numbers = told.get("pretrained_cfg") or told
        if self.architecture not in self._timm.list_models():
            raise DataError(f"{self.folder} names the architecture '{self.architecture}', which timm does not know")
        mean, std = self.config.mean or numbers.get("mean"), self.config.std or numbers.get("std")
        side = (numbers.get("input_size") or [3, 224, 224])[1:]
        if mean is None or std is None:
            raise DataError(f"{self.folder} does not say how pictures are normalised: give mean and std")
        size = self.config.size or (int(side[0]), int(side[1]))
        how = self.config.interpolation or numbers.get("interpolation") or "bicubic"
        self.preparer = ImagePreparer(size, self.config.geometry, mean, std, how)
        shape = self._timm.create_model(self.architecture, pretrained=False, features_only=True)
        self.layer_dims = tuple(map(int, shape.feature_info.channels()))
        self.layers = tuple(range(len(self.layer_dims)))
        self._loaded = False
        self.found = hub_weights.Found(
            self.folder, self.source, str(self.config.id), self.version, (self.folder / hub_weights.WEIGHTS,)
        )
        self.weights_hash = hub_weights.weights_hash(self.found)
        whole = self._timm.create_model(self.architecture, pretrained=False, num_classes=0)
        self.pooled_dim = int(whole.num_features)
        self.card = self.describe(self.config).model_copy(
            update={"pooled_dim": self.pooled_dim, "layers": self.layers, "layer_dims": self.layer_dims}
        )

    @classmethod
    def describe(cls, config: Any) -> EncoderCard:
        """Return the card; imports neither timm nor torchvision."""
        reason = why_not()
        if not reason and not config.id:
            reason = "it reads any model of timm: give one (id: timm/NAME or a folder)"
        return EncoderCard(
            name=NAME,
            family="timm",
            modality="image",
            pooled_dim=0,
            resolution=config.size,
            weights=WeightsCard(
                source="hub", package=config.id or None, version=config.revision, file=None, sha256=None
            ),
            licence=LicenceCard(weights=None, package="Apache-2.0"),
            runs_now=not reason,
            why_not=reason,
            trust="whoever published this id",
            preprocessing=f"upright RGB, alpha on white, {config.geometry}, the model's own mean and deviation",
            prep_version=PREP_VERSION,
        )

    def load(self) -> None:
        """Verify the weights and build the model."""
        if self._loaded:
            return
        hub_weights.verify(self.found, self.weights_hash)
        self.module = self._timm.create_model(self.architecture, pretrained=False, num_classes=0)
        values = read_safetensors(self.found.files[0])
        missing = self.module.load_state_dict(values, strict=False).missing_keys
        if missing:
            raise DataError(f"the weights in {self.folder} lack {len(missing)} parameters, such as {missing[0]}")
        self.module.eval().float()
        self._loaded = True

    def collate(self, items: Sequence[Prepared]) -> dict[str, Tensor]:
        """Stack pictures: `pixels` float32 [b, 3, H, W]."""
        return stacked(items, "pixels")

    def _stages(self, batch: Mapping[str, Tensor]) -> tuple[list[Tensor], Tensor]:
        model: Any = self.module
        final, stages = model.forward_intermediates(batch["pixels"], output_fmt="NCHW")
        return [as_sequence(stage) for stage in stages[-len(self.layers) :]], model.forward_head(final)

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the means of the stages, float32 [b, K, D], and the pooled vectors, float32 [b, P]."""
        import torch

        stages, vector = self._stages(batch)
        states = [widened(stage.float().mean(1), max(self.layer_dims)) for stage in stages]
        return torch.stack(states, 1), vector.float()

    def tokens(self, batch: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
        """Return the positions of one stage, row by row."""
        import torch

        stage = self._stages(batch)[0][self.layers.index(layer)].float()
        return stage, torch.ones(stage.shape[:2], dtype=torch.bool, device=stage.device)


def _files(config: Any) -> tuple[Any, Any, str | None]:
    """Return the folder of a model of timm, where it came from, and its commit."""
    from pathlib import Path

    folder = Path(config.weights if config.weights not in ("auto", "hub", "random") else config.id).expanduser()
    if folder.is_dir():
        return folder, "path", None
    import huggingface_hub as hub

    config_file = hub.try_to_load_from_cache(config.id, "config.json", revision=config.revision)
    if not isinstance(config_file, str) or not (Path(config_file).parent / hub_weights.WEIGHTS).is_file():
        raise DataError(f"{NAME} {hub_weights.why_not(str(config.id))}")
    return Path(config_file).parent, "hub", Path(config_file).parent.name
