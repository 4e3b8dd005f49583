"""What all packaged encoders share: where their weights are found, and the card that says so.

    weights: auto       the same bytes in the Hub's cache; else a package; else the Hub, where it can be reached
    weights: packaged   a package alone
    weights: hub        the Hub alone (encoders whose bytes are upstream's)
    weights: random     untrained, for tests (networks that are defined here)
    weights: FOLDER     a folder with the same files as a converted one

The source used stands in the card of the instance. Only bytes with the pinned hash are loaded, wherever they lie; a
folder that the user names is taken as it is, under the hash of what it holds.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from sensorium.core.config import Config
from sensorium.core.errors import DataError, require
from sensorium.core.files import read_safetensors, sha256_file
from sensorium.encoders.packaged.prepare import install_line, is_available, prepare
from sensorium.encoders.packaged.sources import CONVERTER, PackagedWeights
from sensorium.encoders.protocol import EncoderCard, LicenceCard, Preparer, WeightsCard
from sensorium.encoders.weights.files import verify
from sensorium.encoders.weights.store import is_converted, open_converted, weights_home

if TYPE_CHECKING:
    from torch import nn

MODEL = "model.safetensors"
PREP_VERSION = 1
HUB_FILES = (MODEL, "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
Source = Literal["hub", "packaged", "path", "random"]


class PackagedConfig(Config):
    """Options of every packaged encoder."""

    weights: str = Field("auto", description="auto, packaged, hub, random, or a folder of converted files")


@dataclass(frozen=True)
class Place:
    """Where weights were found: the folder (None for random ones), the kind of place, and their hash."""

    folder: Path | None
    source: Source
    sha256: str


def find(weights: PackagedWeights, choice: str, *, random: bool) -> Place:
    """Find weights; convert a package's on first use.

    Args:
        weights: Which ones.
        choice: See the module.
        random: Whether this encoder can go without trained weights.

    Raises:
        DataError: They are not here; the message says what to install, fetch or pass.
    """
    if choice == "random":
        if not random:
            raise DataError(
                f"{weights.name} needs the files of its weights (a tokeniser, sizes): it has no random ones"
            )
        return Place(None, "random", hashlib.sha256(f"{weights.name} untrained, seed 0".encode()).hexdigest())
    if choice not in ("auto", "hub", "packaged"):
        return _given(weights, Path(choice).expanduser())
    if choice == "hub" and not weights.hub:
        raise DataError(f"the weights of {weights.name} are on no Hub that is known here: use weights=packaged")
    if choice != "packaged" and (cached := hub_folder(weights, download=False)):
        return Place(cached, "hub", weights.sha256)
    if choice != "hub" and is_available(weights.name):
        there = is_converted(weights.sha256, CONVERTER)  # its hashes are compared when it is loaded
        folder = weights_home() / weights.sha256 if there else prepare(weights.name).folder
        return Place(folder, "packaged", weights.sha256)
    if choice != "packaged" and (fetched := hub_folder(weights, download=True)):
        return Place(fetched, "hub", weights.sha256)
    raise DataError(f"the weights of {weights.name} are not on this machine: {install_line(weights.name)}")


def _given(weights: PackagedWeights, folder: Path) -> Place:
    if not (folder / MODEL).is_file():
        raise DataError(
            f"weights of {weights.name}: {folder} holds no {MODEL} "
            "(weights are auto, packaged, hub, random, or a folder)"
        )
    return Place(folder, "path", sha256_file(folder / MODEL))


def hub_folder(weights: PackagedWeights, *, download: bool) -> Path | None:
    """Return the folder of the Hub's cache with the files of these weights, or None.

    Without `download` nothing is asked of the network. With it, and unless the Hub is switched off by its own variable,
    missing files are fetched.
    """
    if not weights.hub or find_spec("huggingface_hub") is None:
        return None
    offline = any(
        os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )
    if download and offline:
        return None
    import huggingface_hub

    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                weights.hub, allow_patterns=list(HUB_FILES), local_files_only=not download, etag_timeout=3
            )
        )
    except Exception as error:  # not in the cache, no network, or one of the many that its HTTP library has
        if isinstance(error, MemoryError):
            raise
        return None
    return folder if all((folder / name).is_file() for name in (MODEL, "config.json", "tokenizer.json")) else None


def peek(weights: PackagedWeights, choice: str, *, random: bool, needs: tuple[str, ...]) -> tuple[Source, str]:
    """Return where weights would come from, and why they can't be used now ("" = they can). Converts nothing."""
    missing = [library for library in needs if find_spec(library) is None]
    source: Source = "packaged"
    if choice == "random":
        source, why = "random", "" if random else "it has no random weights"
    elif choice not in ("auto", "hub", "packaged"):
        source, why = "path", "" if (Path(choice).expanduser() / MODEL).is_file() else f"{choice} holds no {MODEL}"
    elif choice != "packaged" and hub_folder(weights, download=False):
        source, why = "hub", ""
    elif choice == "hub":
        source, why = (
            "hub",
            f"{weights.hub or 'it'} is not in the Hub's cache: run once online" if weights.hub else "it is on no Hub",
        )
    else:
        why = "" if is_available(weights.name) else install_line(weights.name)
        if not is_converted(weights.sha256, CONVERTER):
            converters = {"gguf": ("gguf", "accelerate"), "dinov2_onnx": ("onnx",), "yamnet_onnx": ("onnx",)}
            missing += [library for library in converters.get(weights.recipe, ()) if find_spec(library) is None]
    if missing:
        why = f"pip install 'sensorium[offline]' (for {', '.join(missing)})" + (f" and {why}" if why else "")
    return source, why


class PackagedEncoder:
    """Base of the packaged encoders: all that does not depend on the kind of content.

    A subclass sets the attributes of `protocol.FoundationEncoder` in `__init__` and builds its module in `_build`.
    """

    Config: ClassVar[type[PackagedConfig]] = PackagedConfig
    weights: ClassVar[PackagedWeights]
    random: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()

    module: nn.Module
    preparer: Preparer
    layers: tuple[int, ...]
    layer_dims: tuple[int, ...]
    pooled_dim: int
    pooling: str
    final_norm: bool = True
    budget: int

    def __init__(self, config: Any = None) -> None:
        self.config: Any = config if config is not None else self.Config()
        for library in self.needs:
            if find_spec(library) is None:  # looked for, not imported: that takes seconds
                require(library, extra="encoders", purpose=f"the encoder {self.weights.name}")
        self._place = find(self.weights, self.config.weights, random=self.random)
        self.weights_hash = self._place.sha256
        self.card = self._card(self.config, self._place.source, "")
        self._loaded = False

    @classmethod
    def describe(cls, config: Any = None) -> EncoderCard:
        """Return the card: loads and converts nothing, opens no connection."""
        config = config if config is not None else cls.Config()
        source, why = peek(cls.weights, config.weights, random=cls.random, needs=cls.needs)
        return cls._card(config, source, why)

    @classmethod
    def _card(cls, config: Any, source: Source, why_not: str) -> EncoderCard:
        known = cls.weights
        first = known.files[0]
        where: dict[Source, tuple[str | None, str | None, str | None]] = {
            "packaged": (first.package, first.version, first.path),
            "hub": (known.hub, None, MODEL),
            "path": (config.weights, None, MODEL),
            "random": (None, None, None),
        }
        package, version, file = where[source]
        pinned = source in ("packaged", "hub")
        return EncoderCard(
            name=known.name,
            weights=WeightsCard(
                source=source, package=package, version=version, file=file, sha256=known.sha256 if pinned else None
            ),
            licence=LicenceCard(weights=known.licence, package=known.package_licence if source == "packaged" else None),
            download_mb=known.download_mb if why_not else 0.0,
            runs_now=not why_not,
            why_not=why_not,
            trust=known.trust if pinned else "",
            prep_version=PREP_VERSION,
            **cls._facts(config),
        )

    @classmethod
    def _facts(cls, config: Any) -> dict[str, Any]:
        """Return the fields of the card that the kind of encoder knows."""
        raise NotImplementedError

    @property
    def folder(self) -> Path:
        """The folder of converted files.

        Raises:
            DataError: The weights are random: there is none.
        """
        if self._place.folder is None:
            raise DataError(f"{self.weights.name} has random weights, and no files")
        return self._place.folder

    def load(self) -> None:
        """Verify the weights and build `module`; a second call does nothing.

        Raises:
            DataError: A file has changed since it was converted, or has another hash than the pinned one.
        """
        if self._loaded:
            return
        if self._place.source == "packaged":
            open_converted(self.weights.sha256, CONVERTER, self.weights.name)
        elif self._place.folder is not None:
            verify(self._place.folder / MODEL, self._place.sha256)
        self.module = self._build().eval().float().requires_grad_(False)
        self._loaded = True

    def _build(self) -> nn.Module:
        """Return the module with its weights."""
        raise NotImplementedError


def load_own(module: nn.Module, folder: Path) -> nn.Module:
    """Fill a network that is defined here from a converted folder.

    Raises:
        DataError: A tensor is missing, superfluous or of another shape.
    """
    try:
        module.load_state_dict(read_safetensors(folder / MODEL), strict=True)
    except RuntimeError as error:
        raise DataError(f"{folder / MODEL} does not fit its network: {str(error).splitlines()[-1].strip()}") from None
    return module


def load_pretrained(folder: Path, architecture: str, *, part: bool = False, **options: Any) -> nn.Module:
    """Build a model of transformers from a folder: no code of the folder runs, no network, safetensors alone.

    Args:
        folder: Of configuration and weights.
        architecture: A class of transformers.
        part: Whether the folder may hold more than the model takes, as one tower of two.
        options: Of the class.

    Raises:
        DataError: A tensor is missing, superfluous or of another shape.
    """
    transformers = require("transformers", extra="encoders", purpose=f"building a {architecture}")
    import torch

    transformers.utils.logging.disable_progress_bar()  # a bar of its own in the middle of ours
    model, report = getattr(transformers, architecture).from_pretrained(
        str(folder),
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.float32,
        output_loading_info=True,
        **options,
    )
    superfluous = [] if part else report["unexpected_keys"]
    if wrong := [*report["missing_keys"], *superfluous, *report["mismatched_keys"]]:
        raise DataError(f"{folder} does not fit a {architecture}: {len(wrong)} tensors differ, among them {wrong[0]}")
    built: nn.Module = model
    return built


__all__ = [
    "MODEL",
    "PackagedConfig",
    "PackagedEncoder",
    "Place",
    "find",
    "hub_folder",
    "load_own",
    "load_pretrained",
    "peek",
    "weights_home",
]
